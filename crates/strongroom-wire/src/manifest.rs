//! What a fleet is: its manifest (DESIGN §9).
//!
//! `fleet id = H(genesis manifest without signatures)`, so a client that knows the id knows the
//! keys and the policy. The manifest of a later epoch may only tighten what the genesis says.

use crate::codec::{Malformed, digest};
use crate::entry::OfficerSignature;
use crate::limits::{KEM_PUBLIC_BYTES, MEMBERS_MAX};
use crate::{Digest, FleetId, KeyId, MemberId, PublicKey, Signature, UnixMs};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// What root on a member's machine gets (DESIGN §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum PlatformClass {
    /// Everything: development.
    #[n(0)]
    None,
    /// Everything while it runs; nothing from a stolen disk.
    #[n(1)]
    AtRest,
    /// Nothing but denial of service.
    #[n(2)]
    Isolating,
}

/// An HPKE public key of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FleetKey {
    /// Its name.
    #[n(0)]
    pub id: KeyId,
    /// X-Wing public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public: [u8; KEM_PUBLIC_BYTES],
}

/// A member's slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// The slot's number.
    #[n(0)]
    pub id: MemberId,
    /// The identity key, made inside.
    #[n(1)]
    pub identity: PublicKey,
    /// Platform name: `software`, `tpm2`, `pkcs11`, `nitro`, ...
    #[n(2)]
    pub platform: String,
    /// What that platform is worth.
    #[n(3)]
    pub class: PlatformClass,
    /// Measurement of the image, zero where the platform has none.
    #[n(4)]
    pub measurement: Digest,
    /// Where it stands.
    #[n(5)]
    pub site: String,
    /// SHA-256 of the `SubjectPublicKeyInfo` by which its host is known to the other hosts.
    #[n(6)]
    pub host: Digest,
    /// `host:port` at which other hosts dial it, where their configuration names no other.
    #[n(7)]
    pub address: Option<String>,
}

/// The attempt policy and its companions (DESIGN §5). Genesis decides; later only tighter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    /// Guesses between two successes, 1 to 10.
    #[n(0)]
    pub attempts_max: u8,
    /// Wait in ms after the third unfinished guess, the fourth, and so on; the last value repeats.
    #[n(1)]
    pub delays_ms: Vec<u64>,
    /// How long a record with no guess left lives on, ms.
    #[n(2)]
    pub last_chance_ms: u64,
    /// A reset's waiting period, ms.
    #[n(3)]
    pub reset_wait_ms: u64,
    /// Records per account.
    #[n(4)]
    pub slots_max: u8,
    /// Life of a registration ticket, ms.
    #[n(5)]
    pub register_ticket_ms: u64,
    /// Life of a recovery ticket, ms. Long: only the newest attempt's is accepted anyway.
    #[n(6)]
    pub recover_ticket_ms: u64,
    /// Longest accepted life of a vault token (`exp − iat`), ms.
    #[n(7)]
    pub token_ms_max: u64,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            // 7 days, 14 hours and 16 minutes from the third wrong guess to the tenth.
            delays_ms: [
                MINUTE,
                15 * MINUTE,
                2 * HOUR,
                12 * HOUR,
                DAY,
                2 * DAY,
                4 * DAY,
            ]
            .into(),
            last_chance_ms: DAY,
            reset_wait_ms: 7 * DAY,
            slots_max: 4,
            register_ticket_ms: HOUR,
            recover_ticket_ms: 30 * DAY,
            token_ms_max: 15 * MINUTE,
        }
    }
}

/// Which rule a policy or manifest breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// `attempts_max` is not 1 to 10.
    AttemptsOutOfRange,
    /// More than 16 delays, or `slots_max` or a duration is zero.
    PolicyOutOfRange,
    /// Looser than the manifest before: attempts, slots or token life up, a wait down.
    Loosened,
    /// No members, too many, or two in one slot or with one key.
    Members,
    /// Q > n: it could never answer (DESIGN §6).
    QuorumUnreachable,
    /// A genesis names a fleet or a manifest before it, or a later one names none.
    FleetId,
    /// More officers or auditors are needed than there are.
    Thresholds,
    /// A format version or a number of cells that this code does not know.
    Unsupported,
    /// No fleet key, or two of one id.
    FleetKeys,
    /// Not the next epoch of the same fleet, after the manifest in force.
    NotNext,
    /// The fleet's keys, R, cells or auditors are others than before.
    Changed,
    /// A slot that stays has another identity, platform, class or measurement.
    SlotExchanged,
    /// A new slot's number was used before, or its class is below all others.
    SlotUnfit,
}

impl Policy {
    /// A policy whose waits a person can sit out; for `strongroom dev` and the demo.
    pub fn development() -> Self {
        Self {
            delays_ms: [2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000].into(),
            last_chance_ms: 10 * MINUTE,
            reset_wait_ms: MINUTE,
            ..Self::default()
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        if !(1..=10).contains(&self.attempts_max) {
            return Err(ManifestError::AttemptsOutOfRange);
        }
        let durations = [
            self.last_chance_ms,
            self.reset_wait_ms,
            self.register_ticket_ms,
            self.recover_ticket_ms,
            self.token_ms_max,
        ];
        if self.delays_ms.len() > 16 || self.slots_max == 0 || durations.contains(&0) {
            return Err(ManifestError::PolicyOutOfRange);
        }
        Ok(())
    }

    /// Checks that this policy is nowhere looser than `before` (REVIEW C3).
    ///
    /// # Errors
    /// [`ManifestError::Loosened`].
    pub fn check_tightens(&self, before: &Self) -> Result<(), ManifestError> {
        // Past the end of either list too: a delay appended below the one that repeats would
        // shorten every wait from there on.
        let listed = self.delays_ms.len().max(before.delays_ms.len());
        let waits_kept = (0..listed).all(|i| self.delay_at(i) >= before.delay_at(i));
        let tighter = waits_kept
            && self.attempts_max <= before.attempts_max
            && self.slots_max <= before.slots_max
            && self.reset_wait_ms >= before.reset_wait_ms
            && self.last_chance_ms <= before.last_chance_ms
            && self.register_ticket_ms <= before.register_ticket_ms
            && self.recover_ticket_ms <= before.recover_ticket_ms
            && self.token_ms_max <= before.token_ms_max;
        if tighter {
            Ok(())
        } else {
            Err(ManifestError::Loosened)
        }
    }

    /// How long to wait for the next guess after the `unfinished`-th one since the last success.
    pub fn delay_after(&self, unfinished: u32) -> u64 {
        let Some(position) = unfinished.checked_sub(3) else {
            return 0;
        };
        self.delay_at(usize::try_from(position).unwrap_or(usize::MAX))
    }

    /// The delay at a position of the list; its last one repeats.
    fn delay_at(&self, position: usize) -> u64 {
        self.delays_ms
            .get(position)
            .or(self.delays_ms.last())
            .copied()
            .unwrap_or(0)
    }
}

/// A fleet's manifest, without signatures.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Manifest {
    /// Format version, 1.
    #[n(0)]
    pub version: u8,
    /// The fleet; absent in the genesis, whose digest it is.
    #[n(1)]
    pub fleet: Option<FleetId>,
    /// 0 for the genesis, then one more each time.
    #[n(2)]
    pub epoch: u64,
    /// Digest of the manifest before.
    #[n(3)]
    pub previous: Option<Digest>,
    /// HPKE keys, newest first.
    #[n(4)]
    pub keys: Vec<FleetKey>,
    /// OPAQUE server public key (ristretto255), 32 bytes.
    #[n(5)]
    pub opaque: PublicKey,
    /// The members.
    #[n(6)]
    pub members: Vec<Member>,
    /// R: members that may have been rolled back or cloned, over all time.
    #[n(7)]
    pub rollback_tolerance: u8,
    /// The policy.
    #[n(8)]
    pub policy: Policy,
    /// Cells, 1.
    #[n(9)]
    pub cells: u16,
    /// Resurrections allowed for ever.
    #[n(10)]
    pub resurrections_max: u8,
    /// Creates tenants, nothing else.
    #[n(11)]
    pub admin: PublicKey,
    /// Signs manifests for the operator.
    #[n(12)]
    pub operator: PublicKey,
    /// Officers.
    #[n(13)]
    pub officers: Vec<PublicKey>,
    /// Officers needed.
    #[n(14)]
    pub officers_threshold: u8,
    /// Auditors.
    #[n(15)]
    pub auditors: Vec<PublicKey>,
    /// Auditors needed.
    #[n(16)]
    pub auditors_threshold: u8,
    /// When the fleet stops serving, if it is to be retired.
    #[n(17)]
    pub not_after: Option<UnixMs>,
}

impl Manifest {
    /// Digest of the manifest.
    pub fn digest(&self) -> Digest {
        digest("strongroom/v1 manifest", self)
    }

    /// The fleet id: as named, or for a genesis its own digest.
    pub fn fleet_id(&self) -> FleetId {
        self.fleet.unwrap_or_else(|| FleetId(self.digest().0))
    }

    /// Q = ⌊(n + R)/2⌋ + 1 (DESIGN §6).
    pub fn quorum(&self) -> usize {
        (self.members.len() + usize::from(self.rollback_tolerance)) / 2 + 1
    }

    /// The member of that slot.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// Checks what a manifest must be, whoever signed it.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        self.policy.check()?;
        if self.version != 1 || self.cells != 1 {
            return Err(ManifestError::Unsupported);
        }
        let genesis = self.epoch == 0;
        if genesis != self.fleet.is_none() || genesis != self.previous.is_none() {
            return Err(ManifestError::FleetId);
        }
        if usize::from(self.officers_threshold) > self.officers.len()
            || usize::from(self.auditors_threshold) > self.auditors.len()
        {
            return Err(ManifestError::Thresholds);
        }
        let n = self.members.len();
        let unique = |i: usize, m: &Member| {
            self.members
                .iter()
                .skip(i + 1)
                .all(|o| o.id != m.id && o.identity != m.identity)
        };
        if n == 0 || n > MEMBERS_MAX || !self.members.iter().enumerate().all(|(i, m)| unique(i, m))
        {
            return Err(ManifestError::Members);
        }
        if self.quorum() > n {
            return Err(ManifestError::QuorumUnreachable);
        }
        let distinct = |i: usize, k: &FleetKey| self.keys.iter().skip(i + 1).all(|o| o.id != k.id);
        if self.keys.is_empty() || !self.keys.iter().enumerate().all(|(i, k)| distinct(i, k)) {
            return Err(ManifestError::FleetKeys);
        }
        Ok(())
    }
}

impl Manifest {
    /// Checks that this may follow `before`: the next epoch of the same fleet, nowhere looser.
    /// Officers, operator and admin key may be others: the officers of `before` say so.
    ///
    /// `greatest`: the greatest number that any member ever had.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_follows(&self, before: &Self, greatest: MemberId) -> Result<(), ManifestError> {
        self.check()?;
        let next = before.epoch.checked_add(1) == Some(self.epoch)
            && self.fleet == Some(before.fleet_id())
            && self.previous == Some(before.digest());
        if !next {
            return Err(ManifestError::NotNext);
        }
        self.policy.check_tightens(&before.policy)?;
        let same = self.keys == before.keys
            && self.opaque == before.opaque
            && self.rollback_tolerance == before.rollback_tolerance
            && self.cells == before.cells
            && self.auditors == before.auditors
            && self.auditors_threshold == before.auditors_threshold;
        if !same {
            return Err(ManifestError::Changed);
        }
        let later = |at: UnixMs| before.not_after.is_some_and(|before| at > before);
        let looser = self.resurrections_max > before.resurrections_max
            || (self.officers_threshold == 0 && before.officers_threshold != 0)
            || before.not_after.is_some() && self.not_after.is_none_or(later);
        if looser {
            return Err(ManifestError::Loosened);
        }
        let lowest = before.members.iter().map(|slot| slot.class).min();
        for slot in &self.members {
            match before.member(slot.id) {
                Some(old) if !slot.is_same(old) => return Err(ManifestError::SlotExchanged),
                Some(_) => {}
                None => {
                    let known = before.members.iter().any(|o| o.identity == slot.identity);
                    // One great leap, and nobody could join after it.
                    let most = greatest.0.saturating_add(MEMBERS_MAX as u8);
                    let unfit = slot.id <= greatest || slot.id.0 > most;
                    if known || unfit || Some(slot.class) < lowest {
                        return Err(ManifestError::SlotUnfit);
                    }
                }
            }
        }
        Ok(())
    }

    /// The greatest number of a member here.
    pub fn greatest_member(&self) -> MemberId {
        let numbers = self.members.iter().map(|slot| slot.id);
        numbers.max().unwrap_or_default()
    }
}

impl Member {
    /// Whether this is the same HSM in the same slot. Its host, site and address may be others.
    fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.platform == other.platform
            && self.class == other.class
            && self.measurement == other.measurement
    }
}

/// A manifest and the officers who want it. A genesis needs none: its digest is the fleet's id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedManifest {
    /// Canonical bytes of the [`Manifest`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// Distinct officers of the manifest before, as many as its threshold (label
    /// `strongroom/v1 officers`).
    #[n(1)]
    pub officers: Vec<OfficerSignature>,
    /// The signature of the operator that it names (label `strongroom/v1 manifest signature`).
    #[n(2)]
    pub operator: Signature,
}

impl SignedManifest {
    /// Decodes and checks the manifest, not its signatures.
    ///
    /// # Errors
    /// [`Malformed`], also for a manifest that breaks a rule.
    pub fn manifest(&self) -> Result<Manifest, Malformed> {
        let manifest: Manifest = crate::decode(&self.manifest)?;
        manifest.check().map_err(|_| Malformed::OutOfBounds)?;
        Ok(manifest)
    }
}

/// What `GET /v1/fleet` serves: the manifest and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Bundle {
    /// Canonical bytes of the [`Manifest`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// The operator's signature over it.
    #[n(1)]
    pub operator: Signature,
    /// Every manifest from the genesis on, this one last; none while this one is the genesis.
    #[n(2)]
    pub history: Option<Vec<SignedManifest>>,
}

impl Bundle {
    /// Decodes and checks the manifest (not its signatures, not its fleet id).
    ///
    /// # Errors
    /// [`Malformed`], also for a manifest that breaks a rule.
    pub fn manifest(&self) -> Result<Manifest, Malformed> {
        let manifest: Manifest = crate::decode(&self.manifest)?;
        manifest.check().map_err(|_| Malformed::OutOfBounds)?;
        Ok(manifest)
    }

    /// The manifests of a fleet from its genesis to this one, each of which may follow the one
    /// before. `signed` says whether the officers of one signed the next. None if this is no
    /// manifest of that fleet: a later one says itself which fleet it is of, and could lie.
    pub fn chain(
        &self,
        fleet: FleetId,
        signed: impl Fn(&Manifest, &SignedManifest) -> bool,
    ) -> Option<Vec<Manifest>> {
        let newest = self.manifest().ok()?;
        let Some(history) = &self.history else {
            let genesis = newest.epoch == 0 && newest.fleet_id() == fleet;
            return genesis.then(|| [newest].into());
        };
        let (genesis, changes) = history.split_first()?;
        let genesis = genesis.manifest().ok()?;
        if genesis.epoch != 0 || genesis.fleet_id() != fleet {
            return None;
        }
        let mut greatest = genesis.greatest_member();
        let mut chain: Vec<Manifest> = [genesis].into();
        for change in changes {
            let next = change.manifest().ok()?;
            let before = chain.last()?;
            next.check_follows(before, greatest).ok()?;
            if !signed(before, change) {
                return None;
            }
            greatest = greatest.max(next.greatest_member());
            chain.push(next);
        }
        (chain.last() == Some(&newest)).then_some(chain)
    }

    /// The bundle after a change.
    #[must_use]
    pub fn after(&self, change: &SignedManifest) -> Self {
        let first = || SignedManifest {
            manifest: self.manifest.clone(),
            officers: Vec::new(),
            operator: self.operator,
        };
        let mut history = self.history.clone().unwrap_or_else(|| [first()].into());
        history.push(change.clone());
        Self {
            manifest: change.manifest.clone(),
            operator: change.operator,
            history: Some(history),
        }
    }
}
