//! Fewer states for the same question: what nobody can use any more is forgotten, and members of
//! the same role are put in order.
//!
//! Both keep every verdict. A promise matters for leading its epoch only; a statement matters for
//! its entry's certificate only; both are kept until that is out of reach *whatever* happens. Where
//! a broken rule brings it within reach again, they are kept for ever.

use crate::bytes::Bytes;
use crate::rules::{Leaders, Mutant, Scenario};
use crate::state::{CHAINS, EPOCHS, Entry, GHOST, Leader, MEMBERS, Member, NONE, Promise, State};

/// With these broken, a member may vote for an entry after all.
const VOTES_MATTER: [Mutant; 8] = [
    Mutant::BelowPromise,
    Mutant::IndexOnly,
    Mutant::MoveWithinEpoch,
    Mutant::NotariseTwice,
    Mutant::PromiseNotAnchored,
    Mutant::RunBackwards,
    Mutant::SkipPrevious,
    Mutant::StartIsVote,
];

impl Scenario {
    /// The same state, forgetful and in order.
    pub fn reduced(&self, s: &State) -> State {
        let mut s = s.clone();
        self.reduce(&mut s);
        s
    }

    /// Forgets, and puts in order.
    pub(crate) fn reduce(&self, s: &mut State) {
        self.forget(s);
        match self.leaders {
            Leaders::Ghosts => self.sort_by_member(s),
            Leaders::Members => self.sort_by_permutation(s),
        }
    }

    /// Forgets what nobody can use any more.
    pub(crate) fn forget(&self, s: &mut State) {
        if !self.broken.any(&VOTES_MATTER) {
            self.forget_votes(s);
        }
        self.forget_promises(s);
    }

    fn forget_votes(&self, s: &mut State) {
        let votes = self.honest().fold(0, |set, it| set | s.members[it].votes);
        let dead = State::entries(votes)
            .filter(|it| !self.may_be_certified(s, *it))
            .fold(0, |set, it| set | it.bit());
        s.members.iter_mut().for_each(|it| it.votes &= !dead);
    }

    fn forget_promises(&self, s: &mut State) {
        for epoch in 0..EPOCHS {
            let e = epoch as u8 + 1;
            let mut seen: Vec<Leader> = Vec::new();
            for m in self.honest() {
                for Promise { leader, .. } in s.members[m].promises[epoch] {
                    if leader != NONE && !seen.contains(&leader) {
                        seen.push(leader);
                    }
                }
            }
            for leader in seen {
                if !self.may_still_lead(s, leader, e) {
                    s.members.iter_mut().for_each(|it| it.forget(epoch, leader));
                }
            }
        }
    }

    fn may_still_lead(&self, s: &State, l: Leader, e: u8) -> bool {
        let has = |mutant| self.broken.has(mutant);
        let may_promise = |m: usize| {
            let member = &s.members[m];
            let forgets = has(Mutant::PromiseNotAnchored) && member.tip.epoch() < e;
            let again = has(Mutant::PromiseTwice) && member.promised == e;
            (member.promised < e || forgets || again) && !member.retired
        };
        let process = if l >= GHOST {
            has(Mutant::PromiseToMember)
                || !(0..CHAINS).any(|it| s.session(e, it).is_some_and(|it| it.leader == l))
        } else {
            let m = usize::from(l);
            let again = has(Mutant::LeadAgain) && s.members[m].promised == e;
            s.members[m].here == e || may_promise(m) || again
        };
        let promises = self
            .honest()
            .filter(|it| s.members[*it].promise_to(e, l).is_some() || may_promise(*it));
        let promises = promises.fold(self.rolled, |set, it| set | 1 << it);
        let less = u8::from(self.broken.has(Mutant::PromisesLessOne));
        let enough = |config: &crate::rules::Config| {
            (promises & config.members).count_ones() >= u32::from(config.quorum - less)
        };
        let free = s.session(e, CHAINS - 1).is_none();
        process && free && self.configs.iter().any(enough)
    }

    /// Which configurations a member is in: members with the same answer are alike.
    fn role(&self, m: usize) -> u32 {
        let is_in = |it: &crate::rules::Config| u32::from(it.members >> m & 1);
        self.configs
            .iter()
            .fold(0, |role, it| role << 1 | is_in(it))
    }

    /// Nothing outside a member names it, so sorting is enough.
    fn sort_by_member(&self, s: &mut State) {
        let packed = |member: &Member| {
            let mut bytes = Bytes::default();
            member.pack(&mut bytes);
            bytes
        };
        let honest: Vec<usize> = self.honest().collect();
        let mut keys = [Bytes::default(); MEMBERS];
        honest
            .iter()
            .for_each(|it| keys[*it] = packed(&s.members[*it]));
        // Insertion sort: a handful, mostly in order.
        for at in 1..honest.len() {
            let mut at = at;
            while at > 0 {
                let (a, b) = (honest[at - 1], honest[at]);
                if self.role(a) != self.role(b) || keys[a] <= keys[b] {
                    break;
                }
                keys.swap(a, b);
                s.members.swap(a, b);
                at -= 1;
            }
        }
    }

    /// Leaders are members: of all ways to number those of one role, the one with the least bytes.
    fn sort_by_permutation(&self, s: &mut State) {
        let honest: Vec<usize> = self.honest().collect();
        let mut orders = vec![Vec::new()];
        for place in &honest {
            let mut longer = Vec::new();
            for order in &orders {
                for m in &honest {
                    if !order.contains(m) && self.role(*m) == self.role(*place) {
                        longer.push(order.iter().copied().chain([*m]).collect());
                    }
                }
            }
            orders = longer;
        }
        let renumbered = orders.iter().map(|order: &Vec<usize>| {
            let state = renumber(s, &honest, order);
            let mut bytes = Bytes::default();
            honest
                .iter()
                .for_each(|it| state.members[*it].pack(&mut bytes));
            state.pack_rest(&mut bytes);
            (bytes, state)
        });
        let least = renumbered.min_by(|a, b| a.0.cmp(&b.0));
        *s = least.expect("there is the order as it is").1;
    }
}

/// Member `order[i]` becomes member `places[i]`.
fn renumber(s: &State, places: &[usize], order: &[usize]) -> State {
    let mut to = [NONE; 32];
    for (place, from) in places.iter().zip(order) {
        to[*from] = *place as Leader;
    }
    let name = |leader: &mut Leader| {
        if *leader < GHOST {
            *leader = to[usize::from(*leader)];
        }
    };
    let mut state = s.clone();
    for (place, from) in places.iter().zip(order) {
        state.members[*place] = s.members[*from];
        let promises = &mut state.members[*place].promises;
        promises
            .iter_mut()
            .flatten()
            .for_each(|it| name(&mut it.leader));
    }
    let sessions = state.sessions.iter_mut().flatten();
    sessions.for_each(|it| name(&mut it.leader));
    state
}

/// Entries of a set, for messages.
pub(crate) fn list(set: u32) -> String {
    let entries: Vec<String> = State::entries(set).map(|it| it.to_string()).collect();
    entries.join(", ")
}

const _: () = assert!(
    Entry::ROOT.0 == 0,
    "no promise and no vote names what is not there"
);
