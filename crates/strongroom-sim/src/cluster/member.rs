//! One member over its starts: machine, disk, clock, and the process that runs now.

use super::Millis;
use super::disk::{Store, Synced};
use super::site::Site;
use super::watch::Shared;
use crate::phone::Letter;
use crate::platform::{Memory, START, Snapshot};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use strongroom_replica::{Beginning, Certificate, Logged, Replica, Timing};
use strongroom_vault::Vault;
use strongroom_wire::entry::Tip;
use strongroom_wire::frame::{FRAME_VERSION, HsmError, Phase, Request, Response, SealedSecret};
use strongroom_wire::{Epoch, Handle, MemberId, UnixMs};

/// A client's operation that an HSM holds open.
pub(super) struct Open {
    pub(super) handle: Handle,
    pub(super) client: usize,
    pub(super) letter: Rc<Letter>,
    pub(super) keys: Vec<[u8; 32]>,
}

/// A copy of a machine, as its operator makes it.
pub struct Copy {
    pub(super) machine: Snapshot,
    pub(super) disk: Synced,
}

/// A clock that is a little fast or slow.
#[derive(Clone, Copy, Default)]
struct Clock {
    began: Millis,
    /// Per mille.
    rate: u64,
    /// How far the machine's own clocks went.
    passed: Millis,
}

/// See the module.
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) platform: Arc<Memory>,
    pub(super) store: Store,
    pub(super) replica: Option<Replica<Site>>,
    clock: Clock,
    /// Until then nothing happens here: the HSM hangs.
    pub(super) hangs_until: Millis,
    /// The wake-up that is on its way.
    pub(super) wakes: Option<Millis>,
    pub(super) start: u64,
    /// Its disk was put back: what its HSM stands at may be gone.
    pub(super) damaged: bool,
    pub(super) lies: bool,
    /// It lies, or did: what its HSM was made to seal need not be on its disk.
    pub(super) lied: bool,
    /// The secret that was handed over to it, for a machine that is to join.
    pub(super) joining: Option<SealedSecret>,
    pub(super) waiting: VecDeque<Open>,
    pub(super) under_way: HashMap<Handle, Open>,
}

/// Why a process does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its HSM stands at an entry that the store has not.
    Behind,
    /// The anchor failed.
    Anchor,
    /// It is a member no more.
    Retired,
}

impl Member {
    pub(super) fn new(id: MemberId, platform: Arc<Memory>, store: Store) -> Self {
        Self {
            id,
            platform,
            store,
            replica: None,
            clock: Clock {
                rate: 1_000,
                ..Clock::default()
            },
            hangs_until: 0,
            wakes: None,
            start: 0,
            damaged: false,
            lies: false,
            lied: false,
            joining: None,
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
        }
    }

    /// Brings the machine's clocks to now; gives the process's clock.
    pub(super) fn at(&mut self, now: Millis) -> Millis {
        let clock = &mut self.clock;
        let local = (now - clock.began) * clock.rate / 1_000;
        if local > clock.passed {
            self.platform.pass(local - clock.passed);
            clock.passed = local;
        }
        local
    }

    /// When the process's clock shows that.
    pub(super) fn when(&self, local: Millis) -> Millis {
        if local > Millis::MAX / 4 {
            return Millis::MAX;
        }
        self.clock.began + (local * 1_000).div_ceil(self.clock.rate)
    }

    /// Sets the wall clock right.
    pub(super) fn set_clock(&mut self, now: Millis) {
        self.at(now);
        self.platform.set_wall_clock(UnixMs(START.0 + now));
    }

    /// The process ends, of HSM and host: what was not synced is gone.
    pub(super) fn stop(&mut self) {
        self.replica = None;
        self.wakes = None;
        self.start += 1;
        self.waiting.clear();
        self.under_way.clear();
        self.store.crash();
    }

    /// A new process, which begins where store and HSM are, as the node's driver does.
    pub(super) fn begin(&mut self, now: Millis, rate: u64, watch: &Shared) -> Result<(), Stop> {
        self.at(now);
        self.clock = Clock {
            began: now,
            rate,
            passed: 0,
        };
        let vault = Vault::start(self.platform.clone()).expect("what it stored is whole");
        let mut site = Site::new(self.id, vault, self.store.clone(), watch.clone());
        site.lies = self.lies;
        let version = FRAME_VERSION;
        let Response::Welcome(welcome) = site.ask(&Request::Hello { version }) else {
            panic!("a vault that started welcomes");
        };
        let standing = self.store.standing();
        let (anchor, promised, tail) = match welcome.phase {
            Phase::Waiting { tip, promised, .. } => {
                let (anchor, tail) = resume(&self.store, &mut site, &tip)?;
                (anchor, promised.max(anchor.epoch), tail)
            }
            Phase::Drafted => (standing.header().tip(), Epoch(0), Vec::new()),
            Phase::Retired { .. } => return Err(Stop::Retired),
            other => panic!("neither a member nor to be one: {other:?}"),
        };
        let drafted = welcome.phase == Phase::Drafted;
        let seed = welcome.process.0.iter();
        let seed = seed.fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let beginning = Beginning {
            me: self.id,
            manifests: standing.manifests,
            joining: self.joining.clone().filter(|_| drafted),
            process: welcome.process,
            anchor,
            promised,
            proposal: standing.proposal,
            state: standing.state,
            certificate: standing.certificate,
            tail,
            seed,
        };
        let replica = Replica::new(site, Timing::default(), beginning, 0);
        self.replica = Some(replica.expect("what it applied has its manifests"));
        Ok(())
    }

    pub(super) fn leads(&self) -> bool {
        self.replica.as_ref().is_some_and(|it| it.leads().is_some())
    }

    /// Copies the machine and its disk.
    pub(super) fn copy(&self) -> Copy {
        Copy {
            machine: self.platform.snapshot(),
            disk: self.store.snapshot(),
        }
    }
}

/// Has the HSM go on where it stands; gives that and what lies between it and what is applied.
fn resume(store: &Store, site: &mut Site, tip: &Tip) -> Result<(Tip, Vec<Logged>), Stop> {
    let standing = store.standing();
    let (tail, certificate) = since(store, tip).ok_or(Stop::Behind)?;
    let newest = tail.last().map(|it| (&it.entry.proposal, &it.entry.state));
    let (proposal, state) = newest.unwrap_or((&standing.proposal, &standing.state));
    let anchor = proposal.header.tip();
    let resume = Request::Resume {
        place: standing.place(&tail, proposal, state),
        certificate,
    };
    match site.ask(&resume) {
        Response::Standing { .. } => Ok((anchor, tail)),
        Response::Error(HsmError::AnchorFailed) => Err(Stop::Anchor),
        other => panic!("its own store brings it back: {other:?}"),
    }
}

/// What lies between the entry applied last and the HSM's tip, or the certificate by which the HSM
/// moves up to what is applied.
fn since(store: &Store, tip: &Tip) -> Option<(Vec<Logged>, Certificate)> {
    let standing = store.standing();
    let applied = standing.header().tip();
    if let Some(tail) = store.chain(&applied, tip) {
        return Some((tail, Certificate::new()));
    }
    let newer = (applied.epoch, applied.index) > (tip.epoch, tip.index);
    (newer && !standing.certificate.is_empty()).then(|| (Vec::new(), standing.certificate))
}
