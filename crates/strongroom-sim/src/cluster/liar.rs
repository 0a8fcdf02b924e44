//! A host that lies: its replica works on, so that it is heard; beside that it does with its own
//! HSM and its own messages whatever may harm others. What it cannot do is speak for another
//! member, whose messages come by a channel of their own, or sign for an HSM.

use super::dice::Dice;
use super::disk::Synced;
use super::site::Site;
use super::{Cluster, Event};
use std::collections::{BTreeMap, VecDeque};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_replica::{Append, Certificate, Hands as _, Logged, Message};
use strongroom_wire::entry::{EntryHeader, Kind, OfficerSignature, Promised, Signed, Tip};
use strongroom_wire::frame::{Place, Request, Response};
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::{Digest, Epoch, LogIndex, PublicKey, Signature, encode};

/// Messages and entries that it remembers.
const MEMORY: usize = 96;

/// What it saw.
#[derive(Default)]
pub(super) struct Liar {
    messages: VecDeque<Message>,
    entries: VecDeque<Logged>,
    promises: VecDeque<Signed<Promised>>,
    /// Votes for a place, as many as came by.
    votes: BTreeMap<(Epoch, LogIndex, Digest), Certificate>,
    disk: Option<Synced>,
}

impl Liar {
    /// A message came by, to it or from it.
    pub(super) fn hears(&mut self, message: &Message) {
        keep(&mut self.messages, message.clone());
        match message {
            Message::Append(append) => {
                for logged in &append.entries {
                    keep(&mut self.entries, logged.clone());
                }
                for promise in &append.promises {
                    keep(&mut self.promises, promise.clone());
                }
                for vote in &append.certificate {
                    self.counts(vote);
                }
            }
            Message::Fetched { entries, .. } => {
                for logged in entries {
                    keep(&mut self.entries, logged.clone());
                }
            }
            Message::Promise(promise) => keep(&mut self.promises, promise.clone()),
            Message::Sealed {
                vote: Some(vote), ..
            } => self.counts(vote),
            _ => {}
        }
    }

    fn counts(&mut self, vote: &Signed<strongroom_wire::entry::Notarised>) {
        let tip = &vote.statement.tip;
        let votes = self.votes.entry((tip.epoch, tip.index, tip.hash));
        let votes = votes.or_default();
        if !votes.contains(vote) {
            votes.push(vote.clone());
        }
        while self.votes.len() > MEMORY {
            self.votes.pop_first();
        }
    }

    /// Too few votes for something, or one of them twice.
    fn too_few(&self, quorum: usize, dice: &Dice) -> Option<(Tip, Certificate)> {
        let places = self.votes.len();
        let recent = places.saturating_sub(3);
        let (place, votes) = self
            .votes
            .iter()
            .nth(recent + dice.place(places - recent))?;
        let mut votes = votes.clone();
        votes.truncate(quorum - 1);
        if dice.one_in(2) {
            let first = votes.first()?.clone();
            votes.resize(quorum, first);
        }
        let (epoch, index, hash) = *place;
        Some((Tip { epoch, index, hash }, votes))
    }

    /// A certificate that holds, old or new.
    fn enough(&self, quorum: usize, dice: &Dice) -> Option<(Tip, Certificate)> {
        let whole = self.votes.iter().filter(|(_, votes)| votes.len() >= quorum);
        let whole: Vec<_> = whole.collect();
        let (place, votes) = whole.get(dice.place(whole.len()))?;
        let (epoch, index, hash) = **place;
        Some((Tip { epoch, index, hash }, (*votes).clone()))
    }

    fn entry(&self, dice: &Dice) -> Option<Logged> {
        self.entries.get(dice.place(self.entries.len())).cloned()
    }

    fn at(&self, tip: &Tip) -> Option<&Logged> {
        let mut entries = self.entries.iter();
        entries.rfind(|it| it.header().tip() == *tip)
    }

    /// The header before an entry, if its host could go on from there, or any other.
    fn start(&self, first: &EntryHeader, site: &Site, dice: &Dice) -> Option<EntryHeader> {
        let mut headers = self.entries.iter().map(Logged::header);
        let before = headers.find(|it| it.hash() == first.previous).cloned();
        let applied = site.store.standing().header().tip();
        let before = before.filter(|it| site.store.chain(&applied, &it.tip()).is_some());
        let other = || self.entry(dice).map(|it| it.header().clone());
        let other = || other().filter(|it| it.hash() != first.previous);
        match dice.one_in(3) {
            true => other(),
            false => before.or_else(other),
        }
    }

    fn promises_of(&self, epoch: Epoch) -> Vec<Signed<Promised>> {
        let promises = self.promises.iter();
        let mut of = promises.filter(|it| it.statement.epoch == epoch).cloned();
        let mut distinct: Vec<Signed<Promised>> = Vec::new();
        for promise in of.by_ref() {
            if !distinct.contains(&promise) {
                distinct.push(promise);
            }
        }
        distinct
    }

    /// What it gives out as its store: as it is, changed, or an old one.
    pub(super) fn gives(&mut self, now: Synced, dice: &Dice) -> Synced {
        match dice.below(3) {
            0 => now,
            1 => self.disk.get_or_insert(now).clone(),
            _ => {
                let mut changed = now;
                if let Some(leaf) = changed.leaves.values_mut().next() {
                    leaf.push(0);
                }
                changed
            }
        }
    }

    /// One of its messages, changed.
    fn changed(&self, quorum: usize, dice: &Dice) -> Option<Message> {
        let message = self.messages.get(dice.place(self.messages.len()))?;
        Some(match message.clone() {
            Message::Append(append) => Message::Append(self.lie(append, quorum, dice)),
            Message::Sealed { epoch, end, vote } => Message::Sealed {
                epoch: Epoch(epoch.0 + dice.below(2)),
                end: self.entry(dice).map_or(end, |it| it.header().tip()),
                vote: vote.map(|mut vote| {
                    vote.statement.tip = end;
                    vote
                }),
            },
            Message::Canvassed {
                round, promised, ..
            } => Message::Canvassed {
                round,
                yes: true,
                promised: Epoch(promised.0 + dice.below(1_000)),
            },
            Message::Stale { epoch, promised } => Message::Stale {
                epoch,
                promised: Epoch(promised.0 + dice.below(1_000)),
            },
            Message::Promise(mut promise) => {
                promise.statement.tip.index = LogIndex(dice.below(1_000));
                Message::Promise(promise)
            }
            Message::AskPromise { epoch, process } => Message::AskPromise {
                epoch: Epoch(epoch.0 + dice.below(3)),
                process,
            },
            Message::Fetched { upto, mut entries } => {
                entries.reverse();
                Message::Fetched { upto, entries }
            }
            Message::Want { epoch, after } => Message::Want {
                epoch,
                after: self.entry(dice).map_or(after, |it| it.header().tip()),
            },
            _ => Message::Behind,
        })
    }

    fn lie(&self, mut append: Append, quorum: usize, dice: &Dice) -> Append {
        match dice.below(10) {
            0 => append.epoch = Epoch(append.epoch.0 + dice.below(3)),
            1 => append.entries.reverse(),
            2 => drop(append.entries.pop()),
            3 => append.entries.extend(self.entry(dice)),
            4 => {
                if let Some((_, votes)) = self.too_few(quorum, dice) {
                    append.certificate = votes;
                }
            }
            5 => {
                for vote in &mut append.certificate {
                    vote.statement.tip = append
                        .entries
                        .last()
                        .map_or(append.start, |it| it.header().tip());
                }
            }
            7 => {
                let last = append.entries.last_mut();
                last.into_iter().for_each(make_up_manifest);
            }
            8 => {
                let change = self.entries.iter().find_map(|it| it.manifest.clone());
                if let Some(last) = append.entries.last_mut() {
                    last.manifest = change;
                }
            }
            6 => {
                let entry = append.entries.first_mut();
                let write = entry.and_then(|it| it.entry.writes.first_mut());
                if let Some(write) = write {
                    write.leaf.push(1);
                }
            }
            _ => {
                if let Some(entry) = self.entry(dice) {
                    append.start = entry.header().tip();
                    append.previous = append.start;
                }
            }
        }
        append
    }
}

/// An entry with what its state names, as far as this host has it.
fn place(site: &Site, logged: &Logged) -> Place {
    let standing = site.store.standing();
    let tail = std::slice::from_ref(logged);
    standing.place(tail, &logged.entry.proposal, &logged.entry.state)
}

/// Makes a change of members of an entry, as if officers had wanted it: its host's own keys, or no
/// signatures at all.
fn make_up_manifest(logged: &mut Logged) {
    let state = &mut logged.entry.state;
    let key = SigningKey::from_seed(&[66; 32]);
    let Some(before) = state.manifest else { return };
    let manifest = encode(&("a manifest of the host's own", before));
    let signature = Signature(statement::sign(&key, Label::Officers, &manifest));
    let officers = vec![OfficerSignature {
        officer: PublicKey(key.public()),
        signature,
    }];
    state.before = Some(before);
    state.manifest = Some(Digest([66; 32]));
    logged.entry.proposal.header.state = state.digest();
    logged.entry.proposal.header.kind = Kind::Reconfigure;
    logged.manifest = Some(SignedManifest {
        manifest,
        officers,
        operator: signature,
    });
}

fn keep<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() >= MEMORY {
        memory.pop_front();
    }
    memory.push_back(item);
}

impl Cluster {
    pub(super) fn mischief(&mut self, m: usize) {
        if !self.wild {
            return;
        }
        self.after_ms(self.dice.between(5, 400), Event::Mischief(m));
        if self.hangs(m).is_some() || self.members[m].replica.is_none() {
            return;
        }
        let liar = self.liars.remove(&m).expect("it lies");
        if self.dice.one_in(2) {
            self.lie_to_others(m, &liar);
        } else {
            self.lie_to_hsm(m, &liar);
        }
        self.liars.insert(m, liar);
    }

    /// What it had its HSM seal beside its replica is on its disk, whatever that applied meanwhile:
    /// so that its HSM can go on when it is honest again.
    pub(super) fn remember(&mut self, m: usize) {
        if let Some(liar) = self.liars.get(&m) {
            let entries = liar.entries.iter().filter(|it| it.is_whole());
            self.members[m].store.append(&entries.collect::<Vec<_>>());
        }
    }

    fn lie_to_others(&mut self, m: usize, liar: &Liar) {
        let quorum = self.manifest.quorum();
        let message = match self.dice.one_in(3) {
            true => {
                let place = self.dice.place(liar.messages.len());
                liar.messages.get(place).cloned()
            }
            false => liar.changed(quorum, &self.dice),
        };
        let Some(message) = message else { return };
        self.count("lie");
        for to in 0..self.members.len() {
            if to != m && self.dice.one_in(2) {
                self.send(m, to, message.clone());
            }
        }
    }

    fn lie_to_hsm(&mut self, m: usize, liar: &Liar) {
        let Some(request) = self.wrong_request(m, liar) else {
            return;
        };
        self.members[m].at(self.now);
        let Some(replica) = &mut self.members[m].replica else {
            return;
        };
        let site = replica.hands();
        if let Request::Notarise { .. } = request {
            // So that what its HSM stands at can be had when it is honest again.
            let entries: Vec<&Logged> = liar.entries.iter().filter(|it| it.is_whole()).collect();
            let _ = site.append(&entries);
        }
        let response = site.ask(&request);
        let done = !matches!(response, Response::Error(_));
        self.count(if done { "lie done" } else { "lie refused" });
        if let Response::Proposed { .. } = response {
            // Its log lacks what its HSM builds on: this leadership comes to nothing.
            self.crash(m);
            self.restart_soon(m);
        }
        if let Response::Promised(promise) = response {
            // Its own HSM's promise, for whoever likes it.
            let to = self.dice.place(self.members.len());
            if to != m {
                self.send(m, to, Message::Promise(promise));
            }
        }
    }

    /// A request that no honest host makes.
    fn wrong_request(&mut self, m: usize, liar: &Liar) -> Option<Request> {
        let quorum = self.manifest.quorum();
        let dice = &self.dice;
        let replica = self.members[m].replica.as_mut()?;
        let epoch = replica.leads();
        let site = replica.hands();
        Some(match dice.below(9) {
            0 | 1 => Request::Release {
                certificate: liar.too_few(quorum, dice)?.1,
            },
            2 => {
                let (tip, certificate) = match dice.one_in(2) {
                    true => liar.too_few(quorum, dice)?,
                    false => liar.enough(quorum, dice)?,
                };
                Request::Adopt {
                    place: place(site, liar.at(&tip)?),
                    certificate,
                }
            }
            3 => {
                // An entry of whichever leader, alone or with what followed.
                let first = liar.entry(dice)?;
                Request::Notarise {
                    start: liar.start(first.header(), site, dice),
                    run: vec![first.entry.proposal],
                }
            }
            4 => {
                let entry = liar.entry(dice)?;
                let newest = liar.promises.back()?.statement.epoch;
                Request::Lead {
                    epoch: epoch.unwrap_or(newest),
                    promises: liar.promises_of(epoch.unwrap_or(newest)),
                    start: place(site, &entry),
                }
            }
            6 => {
                let (tip, certificate) = match dice.one_in(2) {
                    true => liar.too_few(quorum, dice)?,
                    false => liar.enough(quorum, dice)?,
                };
                Request::Retire {
                    place: place(site, liar.at(&tip)?),
                    certificate,
                }
            }
            7 => {
                let mut change = self.pending.clone()?.signed;
                change.officers.truncate(1);
                Request::ProposeMembers {
                    change,
                    ready: Vec::new(),
                }
            }
            5 => Request::Promise {
                epoch: Epoch(liar.promises.back()?.statement.epoch.0 + dice.below(3)),
                leader: site.id,
                process: liar.promises.back()?.statement.process,
            },
            _ => Request::Propose {
                handles: Vec::new(),
                proof: site.trie.prove(&[], &[]).expect("memory does not fail"),
                leaves: Vec::new(),
            },
        })
    }
}
