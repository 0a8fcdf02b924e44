//! The rules, their breaches, and the bounds of a scenario.

use crate::state::{ConfigId, MEMBERS, Set};

/// A rule broken on purpose, or one as a text before this model had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    // Ballots.
    /// A member promises one epoch to two leaders.
    PromiseTwice,
    /// A restart forgets what was promised above the tip.
    PromiseNotAnchored,
    /// A leader proposes two chains in its epoch.
    TwoChains,
    /// A leader that restarted leads its epoch again, with the same promises.
    LeadAgain,
    /// `Promised` names a member, not one start of its process.
    PromiseToMember,
    /// The start is the promised tip with the greatest index.
    StartByIndex,
    /// The start is any promised tip.
    StartAny,
    /// One promise fewer is enough.
    PromisesLessOne,
    // Notarising.
    /// A member notarises entries of epochs below its promise.
    BelowPromise,
    /// Two entries at one (epoch, index).
    NotariseTwice,
    /// A tip of the same epoch, too, is moved to the leader's start.
    MoveWithinEpoch,
    /// A run that ends below the tip moves it back.
    RunBackwards,
    /// `previous` is not looked at, only the index.
    SkipPrevious,
    /// Moving to the leader's start is anchored by itself, and stated as a vote.
    StartIsVote,
    /// No ballots: the highest index wins everywhere.
    IndexOnly,
    // Certificates.
    /// Q-1 statements are a certificate.
    QuorumLessOne,
    /// A statement shown twice counts twice.
    Duplicates,
    /// Statements of members outside the configuration count.
    NonMembers,
    /// Answers leave when an entry is proposed.
    ReleaseEarly,
    /// Any certificate moves a member.
    AdoptBackwards,
    /// A certificate with a greater index moves a member, whatever its epoch.
    AdoptByIndex,
    /// Adopting an entry does not raise the promise to its epoch.
    AdoptKeepsPromise,
    // Change of members.
    /// The old quorum certifies a change.
    OldQuorumOnly,
    /// The new quorum certifies a change.
    NewQuorumOnly,
    /// A majority of both sets together certifies a change.
    UnionQuorum,
    /// The new set decides what is proposed above a change that is not certified.
    NoGate,
    /// A leader that starts at an uncertified change needs promises of the old set only.
    PromisesOfOld,
    /// The same, of the new set only.
    PromisesOfNew,
    /// The old set decides after the change.
    OldSetStays,
    // Texts before this model.
    /// Nothing at all is proposed above a change that is not certified.
    NothingAbove,
    /// A member retires when it notarises its removal.
    RetireOnNotarise,
    /// A member retires on the certificate of its removal, while both sets decide: of the rules as
    /// coded, where a leader above it may need its promise.
    RetireOnChange,
    /// Only its own certificate shows that an entry which both sets decided is settled, not that of
    /// the change below it.
    SettledByItself,
}

/// A set of breaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken(u64);

impl Broken {
    /// Breaks these.
    pub fn these(mutants: &[Mutant]) -> Self {
        Self(mutants.iter().fold(0, |set, it| set | 1 << *it as u64))
    }

    /// Whether that rule is broken.
    pub fn has(self, mutant: Mutant) -> bool {
        self.0 & 1 << mutant as u64 != 0
    }

    /// Whether any of these is.
    pub fn any(self, mutants: &[Mutant]) -> bool {
        mutants.iter().any(|it| self.has(*it))
    }
}

/// One set of members and its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its members.
    pub members: Set,
    /// Q.
    pub quorum: u8,
}

impl Config {
    /// Q = ⌊(n + R) / 2⌋ + 1.
    pub fn new(members: &[u8], rollbacks: u8) -> Self {
        let n = u8::try_from(members.len()).expect("a handful");
        Self {
            members: set(members),
            quorum: (n + rollbacks) / 2 + 1,
        }
    }
}

/// A set of members.
pub fn set(members: &[u8]) -> Set {
    members.iter().fold(0, |set, it| set | 1 << it)
}

/// Who may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaders {
    /// Members that were not rolled back, with RAM and restarts; and ghosts for the others, if any.
    Members,
    /// Ghosts: a superset of the above in fewer states.
    Ghosts,
}

/// What is checked, and its bounds.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The first one is in force at the genesis; any other may follow any.
    pub configs: Vec<Config>,
    /// Members that may be rolled back at any time to any anchor they ever had.
    pub rolled: Set,
    /// Epochs, at most `EPOCHS - 1`.
    pub epochs: u8,
    /// Entries of one epoch, all of them ahead of any certificate if the leader likes.
    pub length: u8,
    /// Who may lead.
    pub leaders: Leaders,
    /// Ghosts that may be promised one epoch: 2, or 1 where that is too many. One is enough where
    /// an epoch is known to have one leader: call it a. A promise to anyone else then only takes
    /// steps away from who gave it.
    pub ghosts: u8,
    /// Restarts, all members together.
    pub restarts: u8,
    /// Hosts that lose the header of a tip.
    pub losses: u8,
    /// Removed members retire when shown their removal's certificate. (They need not be shown it,
    /// so for safety this only takes steps away.)
    pub retire: bool,
    /// Members that left may be taken in again under the same identity. (The rules never do this:
    /// an identity is used once. It is safe all the same, but for one that retired.)
    pub returns: bool,
    /// As the code has it: no leader is shown that its start is settled, so above one that both
    /// sets decide it needs promises of both, and its first entry is decided by both; and a member
    /// retires only above an entry that the new set decided alone.
    pub unshown: bool,
    /// Check for dead ends in every state.
    pub dead_ends: bool,
    /// Broken rules.
    pub broken: Broken,
    /// Check this property alone. (Stateright keeps the first counterexample, the shortest, only
    /// where there is one property; of several it keeps one of the first thousand or so.)
    pub only: Option<&'static str>,
}

impl Scenario {
    /// One configuration of n for ever.
    pub fn fixed(n: u8, rollbacks: u8) -> Self {
        let all: Vec<u8> = (0..n).collect();
        Self {
            configs: vec![Config::new(&all, rollbacks)],
            rolled: all
                .iter()
                .rev()
                .take(usize::from(rollbacks))
                .fold(0, |set, it| set | 1 << it),
            epochs: 2,
            length: 2,
            leaders: Leaders::Ghosts,
            ghosts: 2,
            restarts: 0,
            losses: 0,
            retire: false,
            returns: false,
            unshown: false,
            dead_ends: false,
            broken: Broken::default(),
            only: None,
        }
    }

    /// Changes of members between sets of honest members.
    pub fn changing(sets: &[&[u8]]) -> Self {
        let configs = sets.iter().map(|it| Config::new(it, 0)).collect();
        Self {
            configs,
            ..Self::fixed(3, 0)
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn bounds(self, epochs: u8, length: u8) -> Self {
        Self {
            epochs,
            length,
            ..self
        }
    }

    /// The same, led by members that may restart so often.
    #[must_use]
    pub fn led_by_members(self, restarts: u8) -> Self {
        Self {
            leaders: Leaders::Members,
            restarts,
            ..self
        }
    }

    /// The same, with changes of members as the code has them.
    #[must_use]
    pub fn as_coded(self) -> Self {
        let unshown = true;
        Self { unshown, ..self }
    }

    /// The same with one ghost.
    #[must_use]
    pub fn one_ghost(self) -> Self {
        Self { ghosts: 1, ..self }
    }

    /// The same with rules broken, and only agreement checked.
    #[must_use]
    pub fn breaking(self, mutants: &[Mutant]) -> Self {
        Self {
            broken: Broken::these(mutants),
            only: Some(crate::model::AGREEMENT),
            ..self
        }
    }

    /// The same with rules broken, and only that property checked.
    #[must_use]
    pub fn against(self, mutant: Mutant, only: &'static str) -> Self {
        Self {
            broken: Broken::these(&[mutant]),
            only: Some(only),
            ..self
        }
    }

    /// The same with these members rolled back.
    #[must_use]
    pub fn rolling_back(self, members: &[u8]) -> Self {
        Self {
            rolled: set(members),
            ..self
        }
    }

    /// The same, checking for dead ends.
    #[must_use]
    pub fn with_dead_ends(self) -> Self {
        Self {
            dead_ends: true,
            retire: true,
            ..self
        }
    }

    /// Every member of any configuration.
    pub fn everyone(&self) -> Set {
        self.configs.iter().fold(0, |set, it| set | it.members)
    }

    /// Members that were not rolled back.
    pub fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        let honest = self.everyone() & !self.rolled;
        (0..MEMBERS).filter(move |it| honest >> it & 1 == 1)
    }

    /// A configuration.
    pub fn config(&self, id: ConfigId) -> Config {
        self.configs[usize::from(id)]
    }
}
