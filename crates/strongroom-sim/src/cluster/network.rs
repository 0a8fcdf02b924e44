//! What is on its way, and when it comes.

use super::{Cluster, Millis};
use crate::phone::Letter;
use std::rc::Rc;
use strongroom_replica::Message;
use strongroom_wire::answer::Answer;

/// Something that happens at a time.
pub enum Event {
    /// A message comes.
    Message {
        /// From that member's host.
        from: usize,
        /// To that one's.
        to: usize,
        /// What it says.
        message: Box<Message>,
    },
    /// A replica's timer, of that start.
    Wake(usize, u64),
    /// A process begins.
    Start(usize),
    /// A user's timer, of that turn.
    Client(usize, u64),
    /// An answer reaches its user.
    Answer(usize, Rc<Letter>, Box<Answer>),
    /// Something goes wrong.
    Fault,
    /// A host lies.
    Mischief(usize),
    /// The network is whole again.
    Heal,
    /// The operator looks at the members.
    Operator,
}

impl Event {
    /// Whose process it needs.
    pub(super) fn place(&self) -> Option<usize> {
        match self {
            Self::Message { to, .. } => Some(*to),
            Self::Wake(m, _) => Some(*m),
            _ => None,
        }
    }
}

impl Cluster {
    pub(super) fn at_ms(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    pub(super) fn after_ms(&mut self, wait: Millis, event: Event) {
        self.at_ms(self.now + wait, event);
    }

    /// How long something is on its way.
    pub(super) fn delay(&self) -> Millis {
        let most = if self.wild {
            self.setting.faults.delay_ms
        } else {
            5
        };
        match self.wild && self.dice.one_in(50) {
            true => self.dice.between(1, most * 20),
            false => self.dice.between(1, most),
        }
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize, message: &Message) -> bool {
        let filtered = self.filter.as_ref();
        self.blocked.contains(&(from, to)) || filtered.is_some_and(|it| it(from, to, message))
    }

    /// Sends what a member's replica wants sent.
    pub(super) fn post(&mut self, m: usize) {
        let Some(replica) = &mut self.members[m].replica else {
            return;
        };
        for (to, message) in std::mem::take(&mut replica.hands().out) {
            let to = self.members.iter().position(|it| it.id == to);
            let to = to.expect("only members are written to");
            if let Some(liar) = self.liars.get_mut(&m) {
                liar.hears(&message);
            }
            self.send(m, to, message);
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, mut message: Message) {
        if let Some(tamper) = &self.tamper {
            tamper(from, to, &mut message);
        }
        let faults = &self.setting.faults;
        let lost = self.wild && self.dice.permille(faults.loss);
        if lost || self.is_blocked(from, to, &message) {
            return;
        }
        let message = Box::new(message);
        if self.wild && self.dice.permille(faults.doubled) {
            let message = message.clone();
            self.after_ms(self.delay(), Event::Message { from, to, message });
        }
        self.after_ms(self.delay(), Event::Message { from, to, message });
    }

    /// Has a member's timer go off when its replica wants it.
    pub(super) fn wake_member(&mut self, m: usize) {
        let member = &mut self.members[m];
        let Some(replica) = &member.replica else {
            return;
        };
        let at = member.when(replica.wakes_at()).max(self.now);
        if at == Millis::MAX || member.wakes.is_some_and(|wakes| wakes <= at) {
            return;
        }
        member.wakes = Some(at);
        let start = member.start;
        self.at_ms(at, Event::Wake(m, start));
    }

    /// Nothing from one member reaches the other any more.
    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    /// Nothing reaches a member, nor leaves it.
    pub fn isolate(&mut self, m: usize) {
        for other in 0..self.members.len() {
            self.block(m, other);
            self.block(other, m);
        }
    }

    /// What a member may say to which one, from now on; the rest is lost.
    pub fn lose(&mut self, lost: impl Fn(usize, usize, &Message) -> bool + 'static) {
        self.filter = Some(Box::new(lost));
    }

    /// How hosts change what they send, from now on.
    pub fn tamper(&mut self, change: impl Fn(usize, usize, &mut Message) + 'static) {
        self.tamper = Some(Box::new(change));
    }

    /// The network is whole, and nobody changes anything.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.filter = None;
        self.tamper = None;
    }
}

/// A message in a line.
pub(super) fn describe(message: &Message) -> String {
    let name = message.name();
    match message {
        Message::AskPromise { epoch, .. } => format!("{name} of epoch {epoch}"),
        Message::Promise(promise) => format!("{name} of epoch {}", promise.statement.epoch),
        Message::Stale { epoch, promised } => format!("{name}: {epoch}, promised {promised}"),
        Message::Append(it) => format!(
            "{name} in epoch {}: {} after {} (certified {})",
            it.epoch,
            it.entries.len(),
            it.previous.index,
            it.certificate
                .first()
                .map_or(0, |vote| vote.statement.tip.index.0)
        ),
        Message::Sealed { epoch, end, vote } => format!(
            "{name} in epoch {epoch}: end {}, vote {:?}",
            end.index,
            vote.as_ref().map(|vote| vote.statement.tip.index.0)
        ),
        Message::Want { epoch, after } => format!("{name} in epoch {epoch} after {}", after.index),
        Message::Fetch { after, upto } => format!("{name} {} to {}", after.index, upto.index),
        Message::Fetched { entries, .. } => format!("{name}: {}", entries.len()),
        Message::Canvassed { yes, promised, .. } => format!("{name}: {yes}, promised {promised}"),
        Message::Canvass { .. } | Message::Behind => name.to_owned(),
    }
}
