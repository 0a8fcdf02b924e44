//! Everything is mended: before long one member leads, all stand at one entry, and users get back
//! what they stored.

use super::{Cluster, Event, Millis};
use strongroom_vault::Platform as _;

/// Within that time of the mending, ms.
const SETTLES_WITHIN: Millis = 60_000;
/// Within that time all users have recovered, ms.
const RECOVERED_WITHIN: Millis = 60_000;
/// Followers know of the newest certificate after that, ms.
const BEATS: Millis = 1_500;

impl Cluster {
    /// Mends everything, and lets time pass until the fleet is whole; gives how long that took.
    ///
    /// # Panics
    /// If it does not become whole, or a user's secret is gone.
    pub fn settle(&mut self) -> Millis {
        self.mend();
        let mended = self.now;
        self.run_until(SETTLES_WITHIN / 2, Self::is_whole);
        self.show_out();
        let whole = self.run_until(SETTLES_WITHIN, Self::is_whole);
        assert!(whole, "mended, and not whole: {}", self.standing());
        let took = self.now - mended;
        self.recover_all();
        self.run_for(BEATS);
        let whole = self.run_until(SETTLES_WITHIN, Self::is_whole);
        assert!(whole, "not whole any more: {}", self.standing());
        took
    }

    /// Who left while it was away, and knows nobody who leads now, is given a store that says so.
    fn show_out(&mut self) {
        let left: Vec<usize> = self.removed();
        let Some(leader) = self.leader() else { return };
        for m in left
            .into_iter()
            .filter(|m| !self.has_retired(*m))
            .collect::<Vec<_>>()
        {
            self.count("shown out");
            self.take_copy(m, leader);
        }
    }

    /// Nothing goes wrong from now on; what is down starts.
    pub fn mend(&mut self) {
        self.wild = false;
        self.busy = false;
        self.pending = None;
        self.heal();
        self.watch.borrow_mut().cut = None;
        for m in 0..self.members.len() {
            self.members[m].set_clock(self.now);
            self.members[m].hangs_until = self.members[m].hangs_until.min(self.now);
            let lied = std::mem::take(&mut self.members[m].lies);
            if lied {
                // What it told its HSM beside its replica, an honest host would not have.
                self.crash(m);
                self.remember(m);
                self.liars.remove(&m);
            }
            if let Some(replica) = &mut self.members[m].replica {
                replica.hands().cut = None;
            }
            self.after_ms(1, Event::Start(m));
        }
    }

    /// One leads, and all members stand where it stands; whoever left has retired.
    pub fn is_whole(&self) -> bool {
        let newest = self.newest();
        let there = |m: usize| self.applied(m) == Some(newest);
        let mut removed = self.removed().into_iter();
        self.leader().is_some()
            && self.named().into_iter().all(there)
            && removed.all(|m| self.has_retired(m))
            && self.roots_are_one()
    }

    /// One that was named, and had not joined when it was none any more, never was a member.
    fn has_retired(&self, m: usize) -> bool {
        let anchor = self.members[m].platform.anchor();
        anchor.ok().flatten().is_none_or(|it| it.retired)
    }

    fn roots_are_one(&self) -> bool {
        let named = self.named().into_iter();
        let mut roots = named.map(|m| self.members[m].store.standing().header().root);
        let first = roots.next();
        roots.all(|root| Some(root) == first)
    }

    /// Each user who was told that something is stored gets it back, if guesses are left.
    fn recover_all(&mut self) {
        let end = self.now + RECOVERED_WITHIN;
        // What is under way comes to its end.
        self.run_until(RECOVERED_WITHIN / 2, |it| {
            it.clients.iter().all(super::client::Client::rests)
        });
        for c in 0..self.clients.len() {
            let Some((_, receipt)) = &self.clients[c].registered else {
                continue;
            };
            let (id, generation) = (receipt.record, receipt.generation);
            let before = self.clients[c].recovered;
            while self.clients[c].recovered == before && self.has_guesses(&id, generation) {
                assert!(self.now < end, "user {c} does not recover");
                let now = self.wall();
                if self.clients[c].rests() {
                    self.clients[c].guess(true, now);
                    self.wake_client(c, 1);
                }
                self.run_for(500);
            }
        }
    }

    /// Whether a record of that generation is there, with guesses left.
    ///
    /// # Panics
    /// If it was acknowledged and is gone.
    fn has_guesses(
        &self,
        id: &strongroom_wire::RecordId,
        generation: strongroom_wire::Generation,
    ) -> bool {
        let watch = self.watch.borrow();
        let record = watch.promises.record(id);
        let record = record.expect("a registration was acknowledged, and is lost");
        assert!(record.generation >= generation, "a generation is lost");
        let live = record.live().filter(|_| record.generation == generation);
        live.is_some_and(|it| it.attempts_left > 0)
    }

    /// Most guesses of one record that were answered between two proofs; records destroyed;
    /// answers.
    pub fn answered(&self) -> (usize, u32, u64) {
        let watch = self.watch.borrow();
        let promises = &watch.promises;
        (promises.most, promises.destroyed(), promises.answers)
    }

    /// Where everybody stands, for people.
    pub fn standing(&self) -> String {
        let members = (0..self.members.len()).map(|m| {
            let replica = self.members[m].replica.as_ref();
            let standing = replica.map(|it| (it.applied().index.0, it.leads(), it.leader()));
            format!("\n  member {m}: {standing:?}")
        });
        let of = format!("members {:?}, left {:?}", self.named(), self.removed());
        let members = members.collect::<String>();
        format!("sealed {:?}; {of}{members}", self.newest())
    }
}
