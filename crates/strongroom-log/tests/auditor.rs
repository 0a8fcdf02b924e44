//! What the auditor logs, and what it refuses.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use strongroom_crypto::statement::{Label, SigningKey, sign};
use strongroom_log::auditor::{Auditor, AuditorError, Logged};
use strongroom_log::entry::{Entry, Release, SignedManifest, Transcript};
use strongroom_log::files::Disk;
use strongroom_log::log::{Log, default_state};
use strongroom_log::note::Signer;
use strongroom_log::policy::TrustedLog;
use strongroom_log::registry::Denied;
use strongroom_log::submission::{Submission, Unwelcome};
use strongroom_wire::entry::OfficerSignature;
use strongroom_wire::limits::KEM_PUBLIC_BYTES;
use strongroom_wire::manifest::{FleetKey, Manifest, ManifestError, Member, PlatformClass, Policy};
use strongroom_wire::{Digest, KeyId, MemberId, PublicKey, Signature, UnixMs, encode};

const ORIGIN: &str = "log.example/strongroom";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey(key(seed).public())
}

const OPERATOR: u8 = 10;
const SUBMITTER: u8 = 20;
const OFFICERS: [u8; 3] = [31, 32, 33];

fn genesis() -> Manifest {
    let member = Member {
        id: MemberId(0),
        identity: public(1),
        platform: "software".to_owned(),
        class: PlatformClass::None,
        measurement: Digest([0; 32]),
        site: "here".to_owned(),
        address: None,
        host: Digest([9; 32]),
    };
    Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![FleetKey {
            id: KeyId(1),
            public: [7; KEM_PUBLIC_BYTES],
        }],
        opaque: PublicKey([5; 32]),
        members: vec![member],
        rollback_tolerance: 0,
        policy: Policy::default(),
        cells: 1,
        resurrections_max: 0,
        admin: public(2),
        operator: public(OPERATOR),
        officers: OFFICERS.map(public).to_vec(),
        officers_threshold: 2,
        auditors: vec![],
        auditors_threshold: 0,
        not_after: None,
    }
}

fn next(before: &Manifest) -> Manifest {
    Manifest {
        fleet: Some(before.fleet_id()),
        epoch: before.epoch + 1,
        previous: Some(before.digest()),
        ..before.clone()
    }
}

fn signed(manifest: &Manifest, operator: u8, officers: &[u8]) -> Entry {
    let bytes = encode(manifest);
    let approval = |seed: &u8| OfficerSignature {
        officer: public(*seed),
        signature: Signature(sign(&key(*seed), Label::Officers, &bytes)),
    };
    Entry::Manifest(SignedManifest {
        operator: Signature(sign(&key(operator), Label::Manifest, &bytes)),
        officers: officers.iter().map(approval).collect(),
        manifest: bytes,
    })
}

fn well_signed(manifest: &Manifest) -> Entry {
    signed(manifest, OPERATOR, &OFFICERS[..2])
}

struct World {
    place: tempfile::TempDir,
    auditor: Auditor<Disk>,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("log");
        let signer = Signer::new(ORIGIN, &[1; 32]).unwrap();
        let log = Log::create(Disk, &dir, &default_state(&dir), signer).unwrap();
        let auditor = Auditor::new(log, vec![public(SUBMITTER)]).unwrap();
        Self { place, auditor }
    }

    /// The auditor's process dies and another one takes over.
    fn restart(&mut self) {
        let dir = self.place.path().join("log");
        let signer = self.auditor.log().signer().clone();
        let log = Log::open(Disk, &dir, &default_state(&dir), signer).unwrap();
        self.auditor = Auditor::new(log, vec![public(SUBMITTER)]).unwrap();
    }

    fn submit(&mut self, entry: &Entry) -> Result<Logged, AuditorError> {
        let bytes = entry.to_bytes().unwrap();
        let submission = Submission::sign(&key(SUBMITTER), ORIGIN, &bytes);
        self.auditor.submit(&submission.to_bytes())
    }

    fn denied(&mut self, entry: &Entry) -> Denied {
        let size = self.auditor.log().size();
        let Err(AuditorError::Denied(denied)) = self.submit(entry) else {
            panic!("not denied: {entry:?}");
        };
        assert_eq!(self.auditor.log().size(), size, "denied, and logged");
        denied
    }
}

#[test]
fn every_kind_of_entry_is_logged_and_proved() {
    let mut world = World::new();
    let manifest = genesis();
    let entries = [
        well_signed(&manifest),
        Entry::Transcript(Transcript {
            fleet: manifest.fleet_id(),
            epoch: 0,
            transcript: b"seen".to_vec(),
        }),
        Entry::Release(Release {
            measurement: Digest([1; 32]),
            version: "1.0.0".to_owned(),
            date: UnixMs(1_700_000_000_000),
        }),
        well_signed(&next(&manifest)),
    ];
    let key = world.auditor.log().signer().verifier().clone();
    let trusted = TrustedLog::new(key, vec![], 0).unwrap();
    for (at, entry) in entries.iter().enumerate() {
        let logged = world.submit(entry).unwrap();
        let index = at as u64;
        assert_eq!(logged, Logged { index, new: true });
        world.restart();
        let proof = world.auditor.proof(index).unwrap();
        let inclusion = proof.verify(&trusted, &entry.to_bytes().unwrap()).unwrap();
        assert_eq!(inclusion.index(), index);
    }
}

#[test]
fn the_same_entry_is_logged_once() {
    let mut world = World::new();
    let entry = well_signed(&genesis());
    for restart in [false, false, true] {
        if restart {
            world.restart();
        }
        let new = world.auditor.log().size() == 0;
        assert_eq!(world.submit(&entry).unwrap(), Logged { index: 0, new });
        assert_eq!(world.auditor.log().size(), 1);
    }
}

#[test]
fn epochs_follow_each_other_without_a_gap_and_none_comes_twice() {
    let mut world = World::new();
    let zero = genesis();
    let (one, two) = (next(&zero), next(&next(&zero)));
    let epoch = |epoch, next| Denied::Epoch { epoch, next };
    assert_eq!(world.denied(&well_signed(&one)), epoch(1, 0));
    world.submit(&well_signed(&zero)).unwrap();
    assert_eq!(world.denied(&well_signed(&two)), epoch(2, 1));
    world.submit(&well_signed(&one)).unwrap();
    world.restart();
    // Another manifest of the same epoch: what a split view would need.
    let other = Manifest {
        not_after: Some(UnixMs(5)),
        ..one.clone()
    };
    assert_eq!(world.denied(&well_signed(&other)), epoch(1, 2));
    // The same manifest with other signatures is not the same entry.
    assert_eq!(
        world.denied(&signed(&one, OPERATOR, &OFFICERS)),
        epoch(1, 2)
    );
    assert_eq!(
        world.denied(&signed(&zero, OPERATOR, &OFFICERS)),
        epoch(0, 2)
    );
    world.submit(&well_signed(&two)).unwrap();
}

#[test]
fn a_manifest_follows_the_one_that_is_logged() {
    let mut world = World::new();
    let zero = genesis();
    world.submit(&well_signed(&zero)).unwrap();
    let other = Manifest {
        previous: Some(Digest([3; 32])),
        ..next(&zero)
    };
    assert_eq!(world.denied(&well_signed(&other)), Denied::Previous);
    let mut looser = next(&zero);
    looser.policy.reset_wait_ms -= 1;
    let loosened = Denied::Manifest(ManifestError::Loosened);
    assert_eq!(world.denied(&well_signed(&looser)), loosened);
    let mut unsound = next(&zero);
    unsound.members.clear();
    let members = Denied::Manifest(ManifestError::Members);
    assert_eq!(world.denied(&well_signed(&unsound)), members);
}

#[test]
fn operator_and_officers_must_have_signed() {
    let mut world = World::new();
    let zero = genesis();
    let officers = |have| Denied::Officers { have, needed: 2 };
    assert_eq!(
        world.denied(&signed(&zero, 11, &OFFICERS)),
        Denied::Operator
    );
    assert_eq!(world.denied(&signed(&zero, OPERATOR, &[])), officers(0));
    assert_eq!(
        world.denied(&signed(&zero, OPERATOR, &OFFICERS[..1])),
        officers(1)
    );
    assert_eq!(
        world.denied(&signed(&zero, OPERATOR, &[31, 31])),
        officers(1)
    );
    assert_eq!(
        world.denied(&signed(&zero, OPERATOR, &[31, 40])),
        officers(1)
    );
    assert_eq!(
        world.denied(&signed(&zero, OPERATOR, &[31, 32, 40])),
        officers(2)
    );
    let Entry::Manifest(mut bad) = well_signed(&zero) else {
        panic!("it is a manifest");
    };
    bad.officers[1].signature.0[0] ^= 1;
    assert_eq!(world.denied(&Entry::Manifest(bad)), officers(1));
    world.submit(&well_signed(&zero)).unwrap();
}

/// Whoever holds the new keys alone cannot put them in force.
#[test]
fn the_officers_of_the_manifest_before_decide() {
    let mut world = World::new();
    let zero = genesis();
    world.submit(&well_signed(&zero)).unwrap();
    let coup = Manifest {
        operator: public(50),
        officers: vec![public(51)],
        officers_threshold: 1,
        ..next(&zero)
    };
    let denied = world.denied(&signed(&coup, 50, &[51]));
    assert_eq!(denied, Denied::Officers { have: 0, needed: 2 });
    assert_eq!(
        world.denied(&signed(&coup, OPERATOR, &OFFICERS[..2])),
        Denied::Operator
    );
    world.submit(&signed(&coup, 50, &OFFICERS[1..])).unwrap();
    let after = next(&coup);
    assert_eq!(
        world.denied(&signed(&after, 50, &OFFICERS)),
        Denied::Officers { have: 0, needed: 1 }
    );
    world.submit(&signed(&after, 50, &[51])).unwrap();
}

#[test]
fn without_officers_the_operator_stays() {
    let mut world = World::new();
    let zero = Manifest {
        officers: vec![],
        officers_threshold: 0,
        ..genesis()
    };
    world.submit(&signed(&zero, OPERATOR, &[])).unwrap();
    let other = Manifest {
        operator: public(50),
        ..next(&zero)
    };
    assert_eq!(
        world.denied(&signed(&other, 50, &[])),
        Denied::OperatorChanged
    );
    world.submit(&signed(&next(&zero), OPERATOR, &[])).unwrap();
}

#[test]
fn transcripts_and_releases_come_once() {
    let mut world = World::new();
    let zero = genesis();
    let transcript = |epoch, text: &str| {
        Entry::Transcript(Transcript {
            fleet: zero.fleet_id(),
            epoch,
            transcript: text.as_bytes().to_vec(),
        })
    };
    assert_eq!(world.denied(&transcript(0, "a")), Denied::Unknown);
    world.submit(&well_signed(&zero)).unwrap();
    assert_eq!(world.denied(&transcript(1, "a")), Denied::Unknown);
    world.submit(&transcript(0, "a")).unwrap();
    assert_eq!(world.denied(&transcript(0, "b")), Denied::TranscriptExists);
    let release = |measurement, version: &str| {
        Entry::Release(Release {
            measurement: Digest([measurement; 32]),
            version: version.to_owned(),
            date: UnixMs(7),
        })
    };
    world.submit(&release(1, "1.0.0")).unwrap();
    assert_eq!(world.denied(&release(2, "1.0.0")), Denied::Released);
    assert_eq!(world.denied(&release(1, "1.0.1")), Denied::Released);
    world.submit(&release(2, "1.0.1")).unwrap();
}

#[test]
fn only_submitters_submit_and_only_to_this_log() {
    let mut world = World::new();
    let entry = well_signed(&genesis()).to_bytes().unwrap();
    let mut unwelcome = |submission: &[u8]| match world.auditor.submit(submission) {
        Err(AuditorError::Unwelcome(unwelcome)) => unwelcome,
        other => panic!("{other:?}"),
    };
    let stranger = Submission::sign(&key(OPERATOR), ORIGIN, &entry);
    assert_eq!(unwelcome(&stranger.to_bytes()), Unwelcome::Submitter);
    let elsewhere = Submission::sign(&key(SUBMITTER), "log.example/test", &entry);
    assert_eq!(unwelcome(&elsewhere.to_bytes()), Unwelcome::Origin);
    let good = Submission::sign(&key(SUBMITTER), ORIGIN, &entry);
    let borrowed = Submission {
        submitter: public(SUBMITTER),
        ..stranger
    };
    assert_eq!(unwelcome(&borrowed.to_bytes()), Unwelcome::Signature);
    let mut changed = good.clone();
    let last = changed.submitted.len() - 1;
    changed.submitted[last] ^= 1;
    assert_eq!(unwelcome(&changed.to_bytes()), Unwelcome::Signature);
    for bytes in [&[][..], &good.to_bytes()[1..], &[0; 80_000]] {
        assert!(matches!(unwelcome(bytes), Unwelcome::Malformed(_)));
    }
    assert!(world.auditor.submit(&good.to_bytes()).is_ok());
}

#[test]
fn a_log_of_something_else_is_no_auditor() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("log");
    let signer = Signer::new(ORIGIN, &[1; 32]).unwrap();
    let mut log = Log::create(Disk, &dir, &default_state(&dir), signer).unwrap();
    log.append(&[b"not ours".to_vec()]).unwrap();
    let opened = Auditor::new(log, vec![]);
    assert!(matches!(
        opened,
        Err(AuditorError::Foreign { index: 0, .. })
    ));
}
