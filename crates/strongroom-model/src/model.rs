//! The scenario as Stateright runs it.

use crate::reduce::list;
use crate::rules::Scenario;
use crate::state::{CHAINS, EPOCHS, NONE, State};
use crate::step::Action;
use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// No two decided entries lie on different chains.
pub const AGREEMENT: &str = "all that is decided lies on one chain";
/// Every epoch has one leader and one chain.
pub const ONE_LEADER: &str = "an epoch has one chain";
/// What is certified is in every chain of a later epoch.
pub const NOTHING_LOST: &str = "nothing certified is missing from a later chain";
/// Anchors go forward.
pub const FORWARD: &str = "no anchor goes back";
/// There is always a way on.
pub const NO_DEAD_END: &str = "there is no dead end";
/// The model does what it is there for.
pub const GOES_ON: &str = "a later epoch goes on with what an earlier one decided";
/// The same, for changes of members.
pub const CHANGES: &str = "a new configuration decides alone";

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.steps(s, actions);
    }

    fn next_state(&self, s: &State, action: Action) -> Option<State> {
        let mut next = self.take(s, action);
        self.reduce(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(AGREEMENT, |_, s: &State| agrees(s)),
            Property::always(ONE_LEADER, |_, s: &State| {
                s.sessions.iter().all(|it| it[1].leader == NONE)
            }),
            Property::always(NOTHING_LOST, |_, s: &State| nothing_is_lost(s)),
            Property::always(FORWARD, |_, s: &State| !s.back),
            Property::sometimes(GOES_ON, |_, s: &State| goes_on(s)),
        ];
        if self.configs.len() > 1 {
            properties.push(Property::sometimes(CHANGES, |_, s: &State| changes(s)));
        }
        if self.dead_ends {
            properties.push(Property::always(NO_DEAD_END, |model: &Self, s: &State| {
                model.dead_end(s).is_none()
            }));
        }
        properties.retain(|it| self.only.is_none_or(|only| it.name == only));
        properties
    }
}

fn agrees(s: &State) -> bool {
    let decided = s.certified | s.released;
    State::entries(decided).all(|a| State::entries(decided).all(|b| s.one_chain(a, b)))
}

fn nothing_is_lost(s: &State) -> bool {
    let later = |epoch: u8| {
        let epochs = (epoch + 1)..=EPOCHS as u8;
        epochs.flat_map(|e| (0..CHAINS).filter_map(move |it| s.session(e, it)))
    };
    let mut certified = State::entries(s.certified);
    certified.all(|x| later(x.epoch()).all(|it| s.contains(it.start, x)))
}

fn goes_on(s: &State) -> bool {
    let certified = || State::entries(s.certified).filter(|it| it.epoch() > 0);
    certified().any(|a| certified().any(|b| b.epoch() > a.epoch()))
}

fn changes(s: &State) -> bool {
    let mut certified = State::entries(s.certified);
    certified.any(|it| !s.deciders(it).joint() && s.deciders(it).new != 0)
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// The property that does not hold, and how.
    pub broken: Option<(&'static str, Counterexample)>,
    /// Properties of the other kind that no state had.
    pub never: Vec<&'static str>,
}

/// A way to a state that must not be.
#[derive(Debug)]
pub struct Counterexample {
    /// Its steps.
    pub steps: Vec<Action>,
    /// To read.
    pub text: String,
}

/// Limits of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Steps from the start, at most; 0 for no limit.
    pub depth: usize,
    /// Threads; 1 finds the shortest counterexample, 0 is 1.
    pub threads: usize,
}

/// Checks a scenario with Stateright, and prints what it came to.
pub fn check(name: &str, scenario: &Scenario, limits: Limits) -> Report {
    let began = Instant::now();
    let checker = scenario
        .clone()
        .checker()
        .threads(limits.threads.max(1))
        .target_max_depth(limits.depth)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut never: Vec<&'static str> = Vec::new();
    let mut broken = None;
    let mut found = checker.discoveries();
    for property in scenario.properties() {
        match (
            property.expectation.discovery_is_failure(),
            found.remove(property.name),
        ) {
            (true, Some(path)) => broken = Some((property.name, counterexample(scenario, path))),
            (false, None) => never.push(property.name),
            _ => {}
        }
    }
    let report = Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        time: began.elapsed(),
        broken,
        never,
    };
    let Report {
        states,
        depth,
        time,
        ..
    } = &report;
    println!(
        "{name}: {states} states, depth {depth}, {:.1} s",
        time.as_secs_f64()
    );
    if let Some((property, counterexample)) = &report.broken {
        println!("  not so: {property}\n{}", counterexample.text);
    }
    report
}

/// The path goes through states whose members were put in order, so its steps name now this one,
/// now that. The same steps are found again with every member under one name.
fn counterexample(scenario: &Scenario, path: Path<State, Action>) -> Counterexample {
    let mut last = State::default();
    let mut steps = Vec::new();
    for reduced in path.into_states().into_iter().skip(1) {
        let mut possible = Vec::new();
        scenario.steps(&last, &mut possible);
        let (step, next) = possible
            .into_iter()
            .find_map(|step| {
                let mut next = scenario.take(&last, step);
                scenario.forget(&mut next);
                let mut same = next.clone();
                scenario.reduce(&mut same);
                (same == reduced).then_some((step, next))
            })
            .expect("members of one role may do the same");
        steps.push(step);
        last = next;
    }
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "  {:>2}. {step}", number + 1);
    }
    text.push_str(&picture(&last));
    Counterexample { steps, text }
}

/// A state in words.
pub fn picture(s: &State) -> String {
    let mut text = String::new();
    for x in s.proposed() {
        let deciders = s.deciders(x);
        let by = match deciders.joint() {
            true => format!(", decided by sets {} and {}", deciders.old, deciders.new),
            false => format!(", decided by set {}", deciders.new),
        };
        let certified = if s.is_certified(x) { ", certified" } else { "" };
        let _ = writeln!(text, "      {x} on {}{by}{certified}", s.previous(x));
    }
    for (m, member) in s.members.iter().enumerate() {
        let ram = if member.leading != 0 { ", leads" } else { "" };
        let lost = if member.lost { ", header lost" } else { "" };
        let retired = if member.retired { ", retired" } else { "" };
        let votes = list(member.votes);
        let _ = writeln!(
            text,
            "      member {m}: promised {}, tip {}, open votes [{votes}]{ram}{lost}{retired}",
            member.promised, member.tip
        );
    }
    text
}
