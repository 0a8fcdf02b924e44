//! What goes wrong, and how a run draws it.

use super::dice::Dice;
use super::{Cluster, Copy, Cut, Event, Millis, Setting};
use crate::platform::AnchorFault;
use strongroom_vault::Platform as _;
use strongroom_wire::UnixMs;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Messages lost, of a thousand.
    pub loss: u64,
    /// Messages that come twice, of a thousand.
    pub doubled: u64,
    /// How long messages take at most; some take twenty times as long.
    pub delay_ms: Millis,
    /// Kinds of [`Kind`], as bits.
    pub kinds: u16,
    /// How often something goes wrong, on average.
    pub every_ms: Millis,
    /// Hosts that lie.
    pub liars: usize,
    /// Members whose anchor and disk may be put back to a copy.
    pub rollbacks: usize,
    /// Members whose disk alone may be.
    pub damaged: usize,
}

const KINDS: [Kind; 9] = [
    Kind::Crash,
    Kind::Cut,
    Kind::PowerCut,
    Kind::Partition,
    Kind::Hang,
    Kind::Clock,
    Kind::Away,
    Kind::Anchor,
    Kind::Copies,
];

/// One kind of fault.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Crash,
    Cut,
    PowerCut,
    Partition,
    Hang,
    Clock,
    Away,
    Anchor,
    Copies,
}

impl Faults {
    /// Nothing.
    pub fn none() -> Self {
        Self {
            loss: 0,
            doubled: 0,
            delay_ms: 5,
            kinds: 0,
            every_ms: 1_000,
            liars: 0,
            rollbacks: 0,
            damaged: 0,
        }
    }
}

impl Setting {
    /// Calm: this many members, nothing goes wrong but what a test does.
    pub fn calm(seed: u64, members: usize, rollbacks: u8) -> Self {
        Self {
            seed,
            members,
            rollbacks,
            clients: 3,
            kept: 512,
            changes_ms: 0,
            members_least: 1,
            faults: Faults::none(),
        }
    }

    /// What a seed draws; of so many members, if that is given. In one run of four members come and
    /// go.
    pub fn drawn(seed: u64, members: Option<usize>) -> Self {
        let changes = seed % 4 == 3 && members.is_none();
        let dice = Dice::new(seed.wrapping_add(1 << 40));
        let sizes: &[(usize, u8)] = match changes {
            true => &[(1, 0), (3, 0), (3, 0), (3, 1), (5, 0), (5, 1)],
            false => &[(3, 0), (3, 0), (3, 1), (5, 0), (5, 1), (5, 2), (4, 1)],
        };
        let fits = |size: &&(usize, u8)| members.is_none_or(|n| n == size.0);
        let sizes: Vec<_> = sizes.iter().filter(fits).copied().collect();
        let (n, r) = match sizes.len() {
            0 => (members.unwrap_or(3), 0),
            some => sizes[dice.place(some)],
        };
        let quorum = (n + usize::from(r)) / 2 + 1;
        // What is sealed is on the disks of a quorum; one that nobody put back must remain. Of few
        // members there is none to spare.
        let spare = match changes {
            true => 0,
            false => (quorum - 1 - usize::from(r)).min(n - quorum),
        };
        let intense = [0, 5, 30, 100][dice.place(4)];
        Self {
            seed,
            members: n,
            rollbacks: r,
            clients: 3 + dice.place(4),
            kept: [6, 20, 512][dice.place(3)],
            changes_ms: if changes { 4_000 } else { 0 },
            members_least: 1 + usize::from(r),
            faults: Faults {
                loss: intense,
                doubled: [0, 20, 100][dice.place(3)],
                delay_ms: [2, 10, 60][dice.place(3)],
                kinds: u16::try_from(dice.below(1 << KINDS.len())).expect("few kinds"),
                every_ms: [300, 1_000, 4_000][dice.place(3)],
                liars: if dice.one_in(2) { dice.place(n) } else { 0 },
                rollbacks: usize::from(r),
                damaged: spare,
            },
        }
    }
}

impl Cluster {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) {
        if !self.wild {
            return;
        }
        let every = self.setting.faults.every_ms;
        self.after_ms(self.dice.between(1, 2 * every), Event::Fault);
        let chosen = self.dice.place(KINDS.len());
        if self.setting.faults.kinds & (1 << chosen) == 0 {
            return;
        }
        let m = self.dice.place(self.members.len());
        let kind = KINDS[chosen];
        self.say(m, &format!("fault: {kind:?}"));
        match kind {
            Kind::Crash => {
                self.crash(m);
                self.restart_soon(m);
            }
            Kind::Cut => {
                let cut = if self.dice.one_in(2) {
                    Cut::Before
                } else {
                    Cut::After
                };
                self.cut(m, self.dice.below(12), cut);
            }
            Kind::PowerCut => {
                let cut = if self.dice.one_in(2) {
                    Cut::Before
                } else {
                    Cut::After
                };
                self.cut_all(self.dice.below(20), cut);
            }
            Kind::Partition => self.partition(),
            Kind::Hang => self.hang(m, self.dice.between(100, 5_000)),
            Kind::Clock => self.jump(m),
            Kind::Away => {
                self.crash(m);
                self.after_ms(self.dice.between(5_000, 30_000), Event::Start(m));
            }
            Kind::Anchor => self.fail_anchor(m),
            Kind::Copies => self.copies(m),
        }
    }

    /// The process of a member ends, and with it what was not synced: host and HSM, or the HSM
    /// alone, after which its host opens the store anew.
    pub fn crash(&mut self, m: usize) {
        self.say(m, "crashes");
        self.post(m);
        self.count("crash");
        self.members[m].stop();
    }

    /// The power fails at a member's call of HSM or disk after so many.
    pub fn cut(&mut self, m: usize, calls: u64, cut: Cut) {
        if let Some(replica) = &mut self.members[m].replica {
            replica.hands().cut = Some((calls, cut));
        }
    }

    /// The power fails everywhere, at the call after so many, of whichever member.
    pub fn cut_all(&mut self, calls: u64, cut: Cut) {
        let mut watch = self.watch.borrow_mut();
        watch.cut = Some((watch.calls + 1 + calls, cut));
    }

    /// Whether a cut that was ordered is still to come.
    pub fn is_cut_ahead(&self) -> bool {
        let watch = self.watch.borrow();
        watch.cut.is_some_and(|(at, _)| at > watch.calls)
    }

    fn fail_anchor(&mut self, m: usize) {
        let fault = match self.dice.one_in(2) {
            true => AnchorFault::Refused,
            false => AnchorFault::Unacknowledged,
        };
        self.members[m].platform.fail_next_swap(fault);
    }

    /// A member's HSM does not answer, and its host waits for it.
    pub fn hang(&mut self, m: usize, duration: Millis) {
        self.members[m].hangs_until = self.now + duration;
    }

    fn partition(&mut self) {
        let n = self.members.len();
        let inside = self.dice.below(1 << n);
        let one_way = self.dice.one_in(3);
        for (from, to) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
            let leaves = inside & (1 << from) != 0 && inside & (1 << to) == 0;
            if leaves {
                self.block(from, to);
                if !one_way {
                    self.block(to, from);
                }
            }
        }
        self.after_ms(self.dice.between(200, 8_000), Event::Heal);
    }

    /// A wall clock jumps, as far as clocks may differ.
    fn jump(&mut self, m: usize) {
        let member = &mut self.members[m];
        member.set_clock(self.now);
        let right = member.platform.wall_clock().0;
        let jumped = right + self.dice.below(40_000) - 20_000;
        member.platform.set_wall_clock(UnixMs(jumped));
    }

    /// Copies a machine, or puts an earlier copy back.
    fn copies(&mut self, m: usize) {
        if self.copies.len() < 4 {
            let copy = self.members[m].copy();
            self.copies.push((m, copy));
            return;
        }
        let (m, copy) = self.copies.remove(self.dice.place(self.copies.len()));
        let id = self.members[m].id;
        let rolled = self.watch.borrow().rolled_back.clone();
        let may = rolled.contains(&id) || rolled.len() < self.setting.faults.rollbacks;
        if may && self.dice.one_in(2) {
            self.roll_back(m, &copy);
        } else if !rolled.contains(&id)
            && (self.members[m].damaged || self.damage < self.setting.faults.damaged)
        {
            self.damage += usize::from(!self.members[m].damaged);
            self.roll_back_disk(m, &copy);
        } else {
            return;
        }
        self.restart_soon(m);
    }

    /// Copies a machine with its disk.
    pub fn copy(&self, m: usize) -> Copy {
        self.members[m].copy()
    }

    /// Puts anchor and disk back, as the operator of a machine without a real anchor can.
    pub fn roll_back(&mut self, m: usize, copy: &Copy) {
        self.crash(m);
        self.say(m, "is rolled back, anchor and disk");
        self.count("rolled back");
        self.members[m].platform.roll_back(&copy.machine);
        self.members[m].store.restore(&copy.disk);
        self.members[m].damaged = true;
        let id = self.members[m].id;
        self.watch.borrow_mut().rolled_back.insert(id);
    }

    /// Puts the disk back under a newer anchor.
    pub fn roll_back_disk(&mut self, m: usize, copy: &Copy) {
        self.crash(m);
        self.say(m, "has an old disk again");
        self.count("disk put back");
        self.members[m].store.restore(&copy.disk);
        self.members[m].damaged = true;
    }
}
