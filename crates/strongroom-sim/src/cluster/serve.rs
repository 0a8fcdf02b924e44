//! Users at a member: open, evaluate, decide in batches, answer what is released.

use super::member::Open;
use super::site::Fault;
use super::{Cluster, Event};
use crate::phone::Letter;
use std::collections::BTreeSet;
use std::rc::Rc;
use strongroom_replica::{Hands as _, Trouble};
use strongroom_wire::answer::Answer;
use strongroom_wire::entry::Entry;
use strongroom_wire::frame::{LeafBytes, Request, Response};

/// Operations in one batch.
const BATCH: usize = 8;

impl Cluster {
    /// Sets a user's timer; one set before is void.
    pub(super) fn wake_client(&mut self, c: usize, wait: u64) {
        self.clients[c].turn += 1;
        let turn = self.clients[c].turn;
        self.after_ms(wait, Event::Client(c, turn));
    }

    pub(super) fn client(&mut self, c: usize, turn: u64) {
        if self.clients[c].turn != turn {
            return;
        }
        let now = self.wall();
        if self.busy {
            self.clients[c].begin(&self.dice, now);
        }
        let Some(letter) = self.clients[c].sends(&self.dice, now) else {
            if self.busy {
                self.wake_client(c, self.dice.between(100, 3_000));
            }
            return;
        };
        self.watch.borrow_mut().promises.made(&letter);
        let target = self.clients[c].target;
        // Unless an answer comes before, the same again, from another member.
        let members = self.named();
        self.clients[c].target = members[self.dice.place(members.len())];
        self.wake_client(c, self.dice.between(300, 1_500));
        if self.wild && self.dice.permille(self.setting.faults.loss) {
            return;
        }
        if self.members[target].replica.is_none() || self.hangs(target).is_some() {
            return;
        }
        let result = self.serve(target, c, &letter);
        self.after(target, result);
    }

    /// A request reaches a member.
    fn serve(&mut self, m: usize, c: usize, letter: &Rc<Letter>) -> Result<(), Fault> {
        let member = &mut self.members[m];
        member.at(self.now);
        let replica = member.replica.as_mut().expect("it runs");
        if replica.leads().is_none() && !self.dice.one_in(8) {
            let leader = replica.leader();
            let leader = self.members.iter().position(|it| Some(it.id) == leader);
            if let Some(leader) = leader {
                self.clients[c].target = leader;
                self.wake_client(c, 10);
            }
            return Ok(());
        }
        let site = replica.hands();
        let envelope = letter.envelope.clone();
        let opened = match site.hsm(&Request::Open { envelope }) {
            Ok(opened) => opened,
            Err(Trouble::Refused(_)) => return Ok(()),
            Err(Trouble::Fault(fault)) => return Err(fault),
        };
        let (handle, record, tenant) = match opened {
            Response::Opened {
                handle,
                record,
                tenant,
            } => (handle, record, tenant),
            Response::Evaluated {
                answer: Some(answer),
            } => {
                self.leaves(c, letter, &answer.0);
                return Ok(());
            }
            other => panic!("opening does not give {other:?}"),
        };
        let evaluate = Request::Evaluate {
            handle,
            record: site.store.leaf(&record.0).map(LeafBytes),
            tenant: tenant.and_then(|it| site.store.leaf(&it.0)).map(LeafBytes),
        };
        match site.hsm(&evaluate) {
            Ok(Response::Evaluated {
                answer: Some(answer),
            }) => self.leaves(c, letter, &answer.0),
            Ok(_) => member.waiting.push_back(Open {
                handle,
                client: c,
                letter: letter.clone(),
                keys: [Some(record.0), tenant.map(|it| it.0)]
                    .into_iter()
                    .flatten()
                    .collect(),
            }),
            Err(Trouble::Refused(_)) => {}
            Err(Trouble::Fault(fault)) => return Err(fault),
        }
        Ok(())
    }

    /// Proposes what waits, while this member leads and nothing else is under way.
    pub(super) fn propose(&mut self, m: usize) -> Result<(), Fault> {
        loop {
            let member = &mut self.members[m];
            let Some(replica) = &mut member.replica else {
                return Ok(());
            };
            if replica.leads().is_none() {
                // They come again, here or at another host.
                member.waiting.clear();
                return Ok(());
            }
            if !replica.is_ready() || member.waiting.is_empty() {
                return Ok(());
            }
            let many = member.waiting.len().min(BATCH);
            let batch: Vec<Open> = member.waiting.drain(..many).collect();
            let keys: BTreeSet<[u8; 32]> = batch.iter().flat_map(|it| it.keys.clone()).collect();
            let keys: Vec<[u8; 32]> = keys.into_iter().collect();
            let site = replica.hands();
            let leaves = keys.iter().filter_map(|key| site.store.leaf(key));
            let leaves = leaves.map(LeafBytes).collect();
            let propose = Request::Propose {
                handles: batch.iter().map(|it| it.handle).collect(),
                proof: site.trie.prove(&keys, &[]).expect("memory does not fail"),
                leaves,
            };
            let proposed = match site.hsm(&propose) {
                Ok(proposed) => proposed,
                Err(Trouble::Refused(_)) => return Ok(()),
                Err(Trouble::Fault(fault)) => return Err(fault),
            };
            let Response::Proposed {
                proposal,
                state,
                writes,
                ..
            } = proposed
            else {
                panic!("proposing does not give {proposed:?}");
            };
            let entry = Entry {
                proposal,
                state,
                writes,
            };
            member.under_way = batch.into_iter().map(|it| (it.handle, it)).collect();
            replica.replicate(entry.into())?;
            self.post(m);
            self.give_out(m);
        }
    }

    /// Gives out what the HSM let go of.
    pub(super) fn give_out(&mut self, m: usize) {
        let member = &mut self.members[m];
        let Some(replica) = &mut member.replica else {
            return;
        };
        for released in std::mem::take(&mut replica.hands().released) {
            if let Some(open) = self.members[m].under_way.remove(&released.handle) {
                self.leaves(open.client, &open.letter, &released.answer.0);
            }
        }
    }

    /// An answer left an HSM.
    fn leaves(&mut self, c: usize, letter: &Rc<Letter>, answer: &[u8]) {
        let answer = letter.read(answer).expect("an answer is to its letter");
        self.watch.borrow_mut().promises.left(letter, &answer);
        let lost = self.wild && self.dice.permille(self.setting.faults.loss * 3);
        if !lost {
            let answer = Event::Answer(c, letter.clone(), Box::new(answer));
            self.after_ms(self.delay(), answer);
        }
    }

    pub(super) fn answer(&mut self, c: usize, letter: &Rc<Letter>, answer: Answer) {
        let now = self.wall();
        if self.tracing {
            println!("{:>9} user {c}  hears {answer:?}", self.now);
        }
        if let Some(wait) = self.clients[c].hears(letter, answer, now) {
            self.wake_client(c, wait);
        }
    }
}
