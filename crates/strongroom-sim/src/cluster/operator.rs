//! The operator who changes the members, with the officers' keys, while everything goes on: new
//! machines, removed ones, and one for another. As the tools do it: hand over, ready, copy, start,
//! propose; and propose again, whoever leads, until the change is in force or another one is.

use super::disk::{Standing, Store};
use super::founding::machine_seed;
use super::member::Member;
use super::{Cluster, Event};
use crate::fleet::{self, Change, Fleet, id};
use std::sync::Arc;
use strongroom_replica::{Hands as _, Logged, Trouble};
use strongroom_wire::entry::Entry;
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::manifest::{self, Manifest};
use strongroom_wire::{Digest, MemberId, encode};

/// Members at most, and machines in one run.
const MEMBERS_MOST: usize = 7;
const MACHINES_MOST: usize = 12;

impl Cluster {
    /// Time to look at the members.
    pub(super) fn operate(&mut self) {
        if !self.busy {
            return;
        }
        let every = self.setting.changes_ms;
        self.after_ms(self.dice.between(every / 4, every), Event::Operator);
        let Some(leader) = self.leader().filter(|m| self.hangs(*m).is_none()) else {
            return;
        };
        let Some(in_force) = self.in_force_at(leader) else {
            return;
        };
        if self.pending.is_none() {
            let next = self.drawn_members(&in_force);
            self.begin_change(leader, &in_force, &next);
        }
        self.propose_change(leader, &in_force);
    }

    /// The manifest in force at a member, if its change is settled.
    fn in_force_at(&self, m: usize) -> Option<Arc<Manifest>> {
        let standing = self.members[m].store.standing();
        let settled = standing.state.before.is_none();
        settled.then(|| standing.in_force())
    }

    /// Who is to be a member next.
    fn drawn_members(&self, in_force: &Manifest) -> Vec<MemberId> {
        let mut members: Vec<MemberId> = in_force.members.iter().map(|it| it.id).collect();
        let n = members.len();
        let least = self.setting.members_least;
        let machines = MACHINES_MOST.saturating_sub(self.members.len());
        let room = machines.min(MEMBERS_MOST - n.min(MEMBERS_MOST));
        let (add, remove) = match self.dice.below(6) {
            0 | 1 => (2, 0),
            2 => (1, 0),
            3 => (0, 2),
            4 => (0, 1),
            _ => (1, 1),
        };
        for _ in 0..add.min(room) {
            let m = self.members.len() + members.len().saturating_sub(n);
            members.push(id(m));
        }
        for _ in 0..remove {
            if members.len() > least {
                members.remove(self.dice.place(n.min(members.len())));
            }
        }
        members
    }

    /// Changes the members to these, as soon as somebody leads; new numbers are new machines.
    ///
    /// # Panics
    /// If nobody leads, or another change is under way.
    pub fn change_members(&mut self, members: &[usize]) {
        let leader = self.leader_soon();
        let in_force = self.in_force_at(leader).expect("no change is under way");
        let members: Vec<MemberId> = members.iter().map(|m| id(*m)).collect();
        self.pending = None;
        self.begin_change(leader, &in_force, &members);
        self.propose_change(leader, &in_force);
    }

    /// Proposes the change again, if it is not in force yet; whether it is.
    pub fn press_on(&mut self) -> bool {
        let leader = self.leader().filter(|m| self.hangs(*m).is_none());
        if let Some(leader) = leader
            && let Some(in_force) = self.in_force_at(leader)
        {
            self.propose_change(leader, &in_force);
        }
        self.pending.is_none()
    }

    fn begin_change(&mut self, leader: usize, in_force: &Manifest, members: &[MemberId]) {
        let slot = in_force.members[0].clone();
        let mut manifest = Manifest {
            fleet: Some(in_force.fleet_id()),
            previous: Some(in_force.digest()),
            epoch: in_force.epoch + 1,
            ..in_force.clone()
        };
        let mut machines = Vec::new();
        let slots = members.iter().map(|member| {
            in_force.member(*member).cloned().unwrap_or_else(|| {
                let m = usize::from(member.0);
                let machine = fleet::Member::drafted(machine_seed(self.setting.seed, m));
                let identity = machine.drafted.identity;
                machines.push((*member, machine));
                manifest::Member {
                    id: *member,
                    identity,
                    ..slot.clone()
                }
            })
        });
        manifest.members = slots.collect();
        let mut change = Change {
            signed: Fleet::signed(&manifest, &[1, 2]),
            manifest,
            joiners: Vec::new(),
            ready: Vec::new(),
        };
        for (member, machine) in machines {
            if !self.install(leader, &mut change, member, machine) {
                return;
            }
        }
        self.count("change begun");
        self.pending = Some(change);
    }

    /// A new machine: the secret, its word, and a host that follows. False if the leader's HSM does
    /// not give the secret out: it leads no more, and its host does not know yet.
    fn install(
        &mut self,
        leader: usize,
        change: &mut Change,
        member: MemberId,
        mut machine: fleet::Member,
    ) -> bool {
        let hand_over = Request::HandOver {
            member,
            key: machine.drafted.handover.clone(),
            signature: machine.drafted.signature,
            next: Some(change.signed.clone()),
        };
        let handed = self.ask(leader, &hand_over);
        let Some(Response::HandedOver { secret }) = handed else {
            return false;
        };
        let ready = Request::Ready {
            manifest: encode(&change.manifest),
            secret: secret.clone(),
        };
        let Ok(Response::Ready(ready)) = machine.ask(ready) else {
            panic!("the secret is its fleet's");
        };
        change.ready.push(ready);
        let m = self.members.len();
        assert_eq!(id(m), member, "numbers go on");
        let store = Store::new(self.genesis.clone(), self.setting.kept);
        if self.dice.one_in(2)
            && let Some(copy) = self.members[leader]
                .store
                .snapshot()
                .copied(&store.snapshot())
        {
            store.restore(&copy);
        }
        let mut joiner = Member::new(member, machine.platform.clone(), store);
        joiner.joining = Some(secret);
        self.members.push(joiner);
        self.after_ms(self.dice.between(1, 500), Event::Start(m));
        true
    }

    fn propose_change(&mut self, leader: usize, in_force: &Manifest) {
        let Some(change) = self.pending.clone() else {
            return;
        };
        if in_force.epoch >= change.manifest.epoch {
            let same = in_force.digest() == change.manifest.digest();
            self.count(if same {
                "change in force"
            } else {
                "change overtaken"
            });
            self.manifest = in_force.clone();
            self.pending = None;
            return;
        }
        let member = &mut self.members[leader];
        let local = member.at(self.now);
        let Some(replica) = member.replica.as_mut().filter(|it| it.is_ready()) else {
            return;
        };
        // As the node does: a replica knows what time it is before it is given something.
        if let Err(fault) = replica.tick(local) {
            return self.after(leader, Err(fault));
        }
        let replica = self.members[leader].replica.as_mut().expect("it ticks");
        if !replica.is_ready() {
            return self.after(leader, Ok(()));
        }
        let proposed = match replica.hands().hsm(&change.request()) {
            Ok(Response::Proposed {
                proposal,
                state,
                writes,
                ..
            }) => {
                let entry = Entry {
                    proposal,
                    state,
                    writes,
                };
                let manifest = Some(change.signed.clone());
                replica.replicate(Logged {
                    manifest,
                    ..entry.into()
                })
            }
            Ok(other) => panic!("a change does not give {other:?}"),
            Err(Trouble::Refused(_)) => Ok(()),
            Err(Trouble::Fault(fault)) => Err(fault),
        };
        self.count("change proposed");
        self.after(leader, proposed);
    }

    /// The members that the newest sealed entry names.
    pub fn named(&self) -> Vec<usize> {
        let watch = self.watch.borrow();
        let manifest = watch.in_force();
        manifest
            .members
            .iter()
            .map(|it| usize::from(it.id.0))
            .collect()
    }

    /// Members once, and no more.
    pub(super) fn removed(&self) -> Vec<usize> {
        let named = self.named();
        let watch = self.watch.borrow();
        let once = watch.ever_named().into_iter();
        let once = once.map(|member| usize::from(member.0));
        once.filter(|m| !named.contains(m)).collect()
    }
}

impl Standing {
    /// The manifest in force.
    pub(super) fn in_force(&self) -> Arc<Manifest> {
        let named: Option<Digest> = self.state.manifest;
        let mut known = self.manifests.iter();
        let found = known.find(|it| Some(it.digest()) == named);
        found.expect("a store has what it applied").clone()
    }
}
