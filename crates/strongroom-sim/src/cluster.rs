//! A whole fleet in one thread under virtual time: the real vaults, the real replication of the
//! hosts, and everything between them that can fail or lie (DESIGN §14.2).
//!
//! | part | what it is |
//! | --- | --- |
//! | `disk`, `site`, `member` | store, HSM and process of one member, as the node has them |
//! | `network` | messages that are late, lost, doubled, out of order, or cut off one way |
//! | `client` | users that send again what is not answered, to whichever member |
//! | `faults` | crashes at any call, power cuts, rollbacks, hangs, clocks |
//! | `operator` | members that come and go |
//! | `liar` | a host that does with its HSM and its messages what it likes |
//! | `watch`, `promises` | what must hold after every event |
//! | `settle` | what must come back once everything is mended |
//!
//! One seed is one run: nothing here has other randomness, clocks or threads.

mod client;
mod dice;
mod disk;
mod faults;
mod founding;
mod liar;
mod member;
mod network;
mod operator;
mod promises;
mod serve;
mod settle;
mod site;
mod watch;

pub use faults::Faults;
pub use member::Copy;
pub use network::Event;
pub use watch::Cut;

use self::client::Client;
use self::dice::Dice;
use self::disk::Standing;
use self::liar::Liar;
use self::member::Member;
use self::site::Fault;
use self::watch::Shared;
use crate::fleet::Change;
use crate::platform::START;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_replica::{Logged, Message, News};
use strongroom_vault::Platform as _;
use strongroom_wire::UnixMs;
use strongroom_wire::entry::Tip;
use strongroom_wire::frame::{Place, Request, Response};
use strongroom_wire::manifest::Manifest;

/// Milliseconds of virtual time.
pub type Millis = u64;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Members.
    pub members: usize,
    /// How many may be rolled back.
    pub rollbacks: u8,
    /// Users.
    pub clients: usize,
    /// Applied entries kept in a log.
    pub kept: u64,
    /// How often the operator looks whether members are to come or go, ms at most; 0 for never.
    pub changes_ms: Millis,
    /// Members that it leaves.
    pub members_least: usize,
    /// What goes wrong.
    pub faults: Faults,
}

/// A message that does not go through: from, to, what.
type Filter = Box<dyn Fn(usize, usize, &Message) -> bool>;

/// Changes a message on its way out: from, to, what.
type Tamper = Box<dyn Fn(usize, usize, &mut Message)>;

/// See the module.
pub struct Cluster {
    setting: Setting,
    manifest: Manifest,
    dice: Dice,
    now: Millis,
    queue: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    events: u64,
    members: Vec<Member>,
    liars: BTreeMap<usize, Liar>,
    clients: Vec<Client>,
    watch: Shared,
    blocked: BTreeSet<(usize, usize)>,
    filter: Option<Filter>,
    tamper: Option<Tamper>,
    /// Faults are drawn.
    wild: bool,
    /// Users begin new things.
    busy: bool,
    copies: Vec<(usize, Copy)>,
    /// Where every store begins.
    genesis: Standing,
    /// The change of members that is to come.
    pending: Option<Change>,
    damage: usize,
    tracing: bool,
    seen: BTreeMap<&'static str, u64>,
}

impl Cluster {
    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Virtual time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// What happened how often.
    pub fn seen(&self) -> &BTreeMap<&'static str, u64> {
        &self.seen
    }

    /// Lets things go wrong, and users begin.
    pub fn go_wild(&mut self) {
        self.wild = true;
        self.go_busy();
        self.after_ms(self.dice.between(10, 500), Event::Fault);
        for m in self.liars.keys().copied().collect::<Vec<_>>() {
            self.after_ms(self.dice.between(10, 500), Event::Mischief(m));
        }
    }

    /// Lets users begin.
    pub fn go_busy(&mut self) {
        self.busy = true;
        for c in 0..self.clients.len() {
            self.wake_client(c, self.dice.between(1, 500));
        }
        if self.setting.changes_ms > 0 {
            self.after_ms(self.dice.between(1, 1_000), Event::Operator);
        }
    }

    /// Takes events until that much time has passed.
    pub fn run_for(&mut self, duration: Millis) {
        let end = self.now + duration;
        self.run_until(duration, |_| false);
        self.now = self.now.max(end);
    }

    /// Takes events until something holds, or time is over: whether it holds.
    pub fn run_until(&mut self, within: Millis, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + within;
        loop {
            if holds(self) {
                return true;
            }
            let Some(next) = self.queue.first_entry() else {
                return false;
            };
            if next.key().0 > end {
                return false;
            }
            self.step();
        }
    }

    /// Takes the next event.
    pub fn step(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        self.events += 1;
        self.take(event);
        self.check();
    }

    fn take(&mut self, event: Event) {
        if let Some(until) = event.place().and_then(|m| self.hangs(m)) {
            return self.at_ms(until, event);
        }
        match event {
            Event::Message { from, to, message } => self.deliver(from, to, message),
            Event::Wake(m, start) => self.wake(m, start),
            Event::Start(m) => self.start(m),
            Event::Client(c, turn) => self.client(c, turn),
            Event::Answer(c, letter, answer) => self.answer(c, &letter, *answer),
            Event::Fault => self.fault(),
            Event::Mischief(m) => self.mischief(m),
            Event::Heal => self.heal(),
            Event::Operator => self.operate(),
        }
    }

    fn hangs(&self, m: usize) -> Option<Millis> {
        let until = self.members[m].hangs_until;
        (until > self.now).then_some(until)
    }

    fn deliver(&mut self, from: usize, to: usize, message: Box<Message>) {
        if self.is_blocked(from, to, &message) {
            return;
        }
        let sender = self.members[from].id;
        if let Some(liar) = self.liars.get_mut(&to) {
            liar.hears(&message);
        }
        let member = &mut self.members[to];
        let local = member.at(self.now);
        let Some(replica) = &mut member.replica else {
            return;
        };
        if self.tracing {
            println!(
                "{:>9} {} → {}  {}",
                self.now,
                from,
                to,
                network::describe(&message)
            );
        }
        let result = replica.receive(local, sender, *message);
        self.after(to, result);
    }

    fn wake(&mut self, m: usize, start: u64) {
        let member = &mut self.members[m];
        if member.start != start {
            return;
        }
        member.wakes = None;
        let local = member.at(self.now);
        let Some(replica) = &mut member.replica else {
            return;
        };
        let due = replica.wakes_at() <= local;
        let result = if due { replica.tick(local) } else { Ok(()) };
        self.after(m, result);
    }

    /// What follows a call of a member's replica: messages, answers, proposals, or its end.
    fn after(&mut self, m: usize, result: Result<(), Fault>) {
        let result = result.and_then(|()| self.propose(m));
        self.post(m);
        self.give_out(m);
        if let Err(fault) = result {
            self.fails(m, fault);
        } else {
            self.hear_news(m);
        }
        if std::mem::take(&mut self.watch.borrow_mut().struck) {
            self.say(m, "the power fails everywhere");
            for m in 0..self.members.len() {
                self.crash(m);
                self.restart_soon(m);
            }
        }
        self.wake_member(m);
    }

    /// Its process ended by itself.
    fn fails(&mut self, m: usize, fault: Fault) {
        self.say(m, &format!("ends: {fault:?}"));
        let honest = !self.members[m].lies;
        assert!(
            fault != Fault::Root || !honest,
            "member {m} was stopped by what it was sent"
        );
        self.crash(m);
        self.restart_soon(m);
    }

    fn hear_news(&mut self, m: usize) {
        while let Some(news) = self.news(m) {
            self.say(m, &format!("{news:?}"));
            let word = match news {
                News::Leads(_) => "leads",
                News::Deposed(_) => {
                    self.members[m].under_way.clear();
                    "deposed"
                }
                News::Follows(..) => "follows",
                News::Joined => "joined",
                News::Retired => {
                    // Whoever keeps it running may go on saying what it likes.
                    if !self.members[m].lies {
                        self.crash(m);
                    }
                    "retired"
                }
                News::Refused(_) => "refused",
                News::Behind(from) => {
                    if !self.members[m].leads() {
                        let from = self.members.iter().position(|it| it.id == from);
                        self.take_copy(m, from.expect("members alone are heard"));
                    }
                    "behind"
                }
            };
            self.count(word);
        }
    }

    fn news(&mut self, m: usize) -> Option<News> {
        let replica = self.members[m].replica.as_mut()?;
        replica.hands().news.pop_front()
    }

    /// What must hold between any two events.
    fn check(&self) {
        let watch = self.watch.borrow();
        for member in &self.members {
            if let Some(replica) = &member.replica {
                watch.applied(&replica.applied());
            }
        }
    }

    /// The member that leads and serves, if one does.
    pub fn leader(&self) -> Option<usize> {
        let serving = self.members.iter().enumerate().filter_map(|(m, it)| {
            let replica = it.replica.as_ref().filter(|it| it.is_ready());
            Some((replica?.leads()?, m))
        });
        // One that hangs believes that it leads on.
        serving.max().map(|(_, m)| m)
    }

    /// The newest entry that a quorum sealed.
    pub fn newest(&self) -> Tip {
        self.watch.borrow().newest()
    }

    /// What a member applied last.
    pub fn applied(&self, m: usize) -> Option<Tip> {
        let replica = self.members[m].replica.as_ref();
        replica.map(strongroom_replica::Replica::applied)
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Whether a member leads an epoch, served or not.
    pub fn leads(&self, m: usize) -> bool {
        self.members[m].leads()
    }

    /// The leader, when there is one.
    ///
    /// # Panics
    /// If none comes.
    pub fn leader_soon(&mut self) -> usize {
        let led = self.run_until(30_000, |it| it.leader().is_some());
        assert!(led, "nobody leads: {}", self.standing());
        self.leader().expect("it is there")
    }

    /// At how many different entries the anchors stand.
    ///
    /// # Panics
    /// If memory fails.
    pub fn tips_differ(&self) -> usize {
        let anchors = self.members.iter().map(|it| it.platform.anchor());
        let anchors = anchors.map(|it| it.expect("memory does not fail").expect("a member"));
        anchors.map(|it| it.tip.hash).collect::<BTreeSet<_>>().len()
    }

    /// An entry, as a member's host shows it to its HSM.
    pub fn place(&self, m: usize, logged: &Logged) -> Place {
        let standing = self.members[m].store.standing();
        let tail = std::slice::from_ref(logged);
        standing.place(tail, &logged.entry.proposal, &logged.entry.state)
    }

    /// Asks a member's HSM beside its replica, as its host may. None if it is down.
    pub fn ask(&mut self, m: usize, request: &Request) -> Option<Response> {
        let replica = self.members[m].replica.as_mut()?;
        Some(replica.hands().ask(request))
    }

    fn wall(&self) -> UnixMs {
        UnixMs(START.0 + self.now)
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn say(&self, m: usize, what: &str) {
        if self.tracing {
            println!("{:>9} member {m}  {what}", self.now);
        }
    }
}
