//! Steps: what the host, who is the adversary, can make happen next.

use crate::ballot::Next;
use crate::rules::{Leaders, Mutant, Scenario};
use crate::state::{CHAINS, Entry, GHOST, Leader, State};
use std::fmt;

/// One step. Every one is one request to one member, or something that happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A member promises an epoch.
    Promise(usize, u8, Leader),
    /// A leader collects promises and begins its chain.
    Lead(Leader, u8, Entry),
    /// A leader proposes.
    Propose(u8, usize, Next),
    /// A member notarises the run that ends here.
    Notarise(usize, Entry),
    /// A member adopts a certificate.
    Adopt(usize, Entry),
    /// A member restarts: RAM is gone.
    Restart(usize),
    /// A member is shown that its removal is certified.
    Retire(usize),
    /// A host loses the header of its member's tip: the disk was restored under a newer anchor.
    Lose(usize),
    /// Broken rules: a second chain of the same leader.
    Fork(u8),
    /// Broken rules: a member moves to the start of an epoch, and votes for it.
    MoveToStart(usize, u8),
    /// Broken rules: answers leave.
    Release(Entry),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |l: &Leader| match *l {
            GHOST.. => format!("process {}", char::from(b'a' + (*l - GHOST))),
            member => format!("member {member}"),
        };
        match self {
            Self::Promise(m, e, l) => write!(f, "member {m} promises epoch {e} to {}", name(l)),
            Self::Lead(l, e, start) => write!(f, "{} leads epoch {e} from {start}", name(l)),
            Self::Propose(e, chain, next) => {
                let mark = if *chain == 0 { "" } else { "'" };
                write!(f, "the leader of {e}{mark} proposes: {next:?}")
            }
            Self::Notarise(m, x) => write!(f, "member {m} notarises up to {x}"),
            Self::Adopt(m, x) => write!(f, "member {m} adopts {x} by its certificate"),
            Self::Restart(m) => write!(f, "member {m} restarts"),
            Self::Retire(m) => write!(f, "member {m} retires"),
            Self::Lose(m) => write!(f, "member {m}'s host loses the header of its tip"),
            Self::Fork(e) => write!(f, "the leader of {e} begins a second chain"),
            Self::MoveToStart(m, e) => write!(f, "member {m} moves to the start of {e}, and votes"),
            Self::Release(x) => write!(f, "the answers of {x} leave"),
        }
    }
}

impl Scenario {
    /// Steps that are possible.
    pub fn steps(&self, s: &State, steps: &mut Vec<Action>) {
        for m in self.honest() {
            self.member_steps(s, m, steps);
        }
        for e in 1..=self.epochs {
            self.leader_steps(s, e, steps);
        }
        if self.broken.has(Mutant::ReleaseEarly) {
            let held = s.proposed().filter(|it| s.released & it.bit() == 0);
            steps.extend(held.map(Action::Release));
        }
    }

    fn member_steps(&self, s: &State, m: usize, steps: &mut Vec<Action>) {
        let member = &s.members[m];
        for e in 1..=self.epochs {
            let candidates = match self.promise(s, m, e, GHOST + 2) {
                Ok(()) => self.candidates(s, e),
                Err(_) => Vec::new(),
            };
            for l in candidates {
                if self.promise(s, m, e, l).is_ok() {
                    steps.push(Action::Promise(m, e, l));
                }
            }
        }
        for x in s.proposed().filter(|it| *it != member.tip) {
            let first = Self::first_of_run(s, member.tip, x);
            if self.notarise(s, m, first, x).is_ok() {
                steps.push(Action::Notarise(m, x));
            }
            if self.adopt(s, m, x).is_ok() {
                steps.push(Action::Adopt(m, x));
            }
        }
        let forgets = self.broken.has(Mutant::PromiseNotAnchored);
        let ram = member.here != 0
            || member.leading != 0
            || (forgets && member.promised > member.tip.epoch());
        if s.restarts < self.restarts && ram {
            steps.push(Action::Restart(m));
        }
        if self.retire && !member.retired && self.is_removed(s, m) {
            steps.push(Action::Retire(m));
        }
        if s.losses < self.losses && member.tip != Entry::ROOT && !member.lost {
            steps.push(Action::Lose(m));
        }
        if self.broken.has(Mutant::StartIsVote) {
            let epochs = member.promised.max(1)..=self.epochs;
            let moves = epochs.filter(|e| {
                member.tip.epoch() < *e && s.session(*e, 0).is_some_and(|it| it.start != member.tip)
            });
            steps.extend(moves.map(|e| Action::MoveToStart(m, e)));
        }
    }

    fn is_removed(&self, s: &State, m: usize) -> bool {
        let mut certified = s.proposed().filter(|it| s.is_certified(*it));
        match self.unshown && !self.broken.has(Mutant::RetireOnChange) {
            false => certified.any(|it| self.removes(s.deciders(it), m)),
            true => certified.any(|it| self.is_settled_without(s, it, m)),
        }
    }

    /// Whether one set decides an entry, above a change that takes that member out.
    fn is_settled_without(&self, s: &State, entry: Entry, m: usize) -> bool {
        let deciders = s.deciders(entry);
        let stays = deciders.joint() || self.config(deciders.new).members >> m & 1 == 1;
        let mut changes = s.proposed().filter(|it| s.contains(entry, *it));
        !stays && changes.any(|it| self.removes(s.deciders(it), m))
    }

    fn leader_steps(&self, s: &State, e: u8, steps: &mut Vec<Action>) {
        let ghosts = self.leaders == Leaders::Ghosts || self.rolled != 0;
        let members = match self.leaders {
            Leaders::Members => self.honest().map(|it| it as Leader).collect(),
            Leaders::Ghosts => Vec::new(),
        };
        let ghosts = [GHOST, GHOST + 1].into_iter().filter(|_| ghosts);
        for l in members.into_iter().chain(ghosts) {
            let starts = self.starts(s, l, e);
            steps.extend(starts.into_iter().map(|it| Action::Lead(l, e, it)));
        }
        for chain in 0..CHAINS {
            let changes = (0..self.configs.len() as u8).map(Next::Reconfigure);
            for next in [Next::Batch, Next::Unshown].into_iter().chain(changes) {
                if self.propose(s, e, chain, next).is_ok() {
                    steps.push(Action::Propose(e, chain, next));
                }
            }
        }
        let forks = self.broken.has(Mutant::TwoChains) && s.session(e, 1).is_none();
        if forks && s.session(e, 0).is_some() {
            steps.push(Action::Fork(e));
        }
    }

    /// Takes a step that is possible.
    pub fn take(&self, s: &State, action: Action) -> State {
        let mut s = s.clone();
        let before = s.clone();
        self.change(&mut s, action);
        self.certify(&mut s);
        for m in self.honest() {
            let (new, old) = (&s.members[m], &before.members[m]);
            s.back |= new.promised < old.promised || s.order(new.tip) < before.order(old.tip);
            let member = &mut s.members[m];
            // Leadership of an epoch below the promise is over.
            member.here = if member.here < member.promised {
                0
            } else {
                member.here
            };
            let over = member.leading < member.promised;
            member.leading = if over { 0 } else { member.leading };
        }
        s
    }

    fn change(&self, s: &mut State, action: Action) {
        match action {
            Action::Promise(m, e, l) => self.do_promise(s, m, e, l),
            Action::Lead(l, e, start) => self.do_lead(s, l, e, start),
            Action::Propose(e, chain, next) => {
                let deciders = self.propose(s, e, chain, next);
                self.do_propose(s, e, chain, deciders.expect("the step is possible"));
            }
            Action::Notarise(m, x) => self.do_notarise(s, m, x),
            Action::Adopt(m, x) => self.do_adopt(s, m, x),
            Action::Restart(m) => {
                let member = &mut s.members[m];
                (member.here, member.leading) = (0, 0);
                if self.broken.has(Mutant::PromiseNotAnchored) {
                    member.promised = member.tip.epoch();
                }
                s.restarts += 1;
            }
            Action::Retire(m) => s.members[m].retired = true,
            Action::Lose(m) => {
                s.members[m].lost = true;
                (s.members[m].here, s.members[m].leading) = (0, 0);
                s.losses += 1;
            }
            Action::Fork(e) => {
                let [chain, fork] = &mut s.sessions[usize::from(e) - 1];
                *fork = *chain;
                fork.len = 0;
            }
            Action::MoveToStart(m, e) => {
                let start = s.session(e, 0).expect("the step is possible").start;
                self.do_notarise(s, m, start);
                s.members[m].promised = e;
            }
            Action::Release(x) => s.released |= x.bit(),
        }
    }
}
