//! What a policy and a manifest may say, and that a later one is nowhere looser.

use strongroom_wire::limits::{KEM_PUBLIC_BYTES, MEMBERS_MAX};
use strongroom_wire::manifest::{
    Bundle, FleetKey, Manifest, ManifestError, Member, PlatformClass, Policy,
};
use strongroom_wire::{Digest, FleetId, KeyId, MemberId, PublicKey, Signature, UnixMs, encode};

/// The default with one thing changed.
fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy);
    policy
}

#[test]
fn the_policies_we_ship_are_in_range() {
    assert_eq!(Policy::default().check(), Ok(()));
    assert_eq!(Policy::development().check(), Ok(()));
}

#[test]
fn attempts_are_one_to_ten() {
    for attempts in 0..=u8::MAX {
        let result = policy(|p| p.attempts_max = attempts).check();
        let expected = if (1..=10).contains(&attempts) {
            Ok(())
        } else {
            Err(ManifestError::AttemptsOutOfRange)
        };
        assert_eq!(result, expected, "{attempts}");
    }
}

#[test]
fn zero_slots_zero_lives_and_seventeen_delays_are_out_of_range() {
    let out = Err(ManifestError::PolicyOutOfRange);
    assert_eq!(policy(|p| p.slots_max = 0).check(), out);
    assert_eq!(policy(|p| p.last_chance_ms = 0).check(), out);
    assert_eq!(policy(|p| p.reset_wait_ms = 0).check(), out);
    assert_eq!(policy(|p| p.register_ticket_ms = 0).check(), out);
    assert_eq!(policy(|p| p.recover_ticket_ms = 0).check(), out);
    assert_eq!(policy(|p| p.token_ms_max = 0).check(), out);
    assert_eq!(policy(|p| p.delays_ms = vec![1; 17]).check(), out);
    assert_eq!(policy(|p| p.delays_ms = vec![1; 16]).check(), Ok(()));
    assert_eq!(policy(|p| p.delays_ms = Vec::new()).check(), Ok(()));
}

#[test]
fn the_default_waits_more_than_seven_days_from_the_third_guess_to_the_tenth() {
    let policy = Policy::default();
    let total: u64 = (0..10)
        .map(|unfinished| policy.delay_after(unfinished))
        .sum();
    let (minute, hour, day) = (60_000, 3_600_000, 86_400_000);
    assert_eq!(total, 7 * day + 14 * hour + 16 * minute);
    assert_eq!([0, 1, 2].map(|n| policy.delay_after(n)), [0; 3]);
    assert_eq!(policy.delay_after(3), minute);
}

#[test]
fn the_last_wait_repeats_for_ever() {
    let policy = policy(|p| p.delays_ms = vec![1, 2, 3]);
    assert_eq!(
        [3, 4, 5, 6, 100, u32::MAX].map(|n| policy.delay_after(n)),
        [1, 2, 3, 3, 3, 3]
    );
}

#[test]
fn a_policy_without_delays_never_waits() {
    let policy = policy(|p| p.delays_ms = Vec::new());
    assert_eq!([0, 3, 4, u32::MAX].map(|n| policy.delay_after(n)), [0; 4]);
}

#[test]
fn the_same_policy_and_each_tighter_one_may_follow() {
    let before = Policy::default();
    let tighter: [fn(&mut Policy); 8] = [
        |_| {},
        |p| p.attempts_max -= 1,
        |p| p.slots_max -= 1,
        |p| p.reset_wait_ms += 1,
        |p| p.last_chance_ms -= 1,
        |p| p.token_ms_max -= 1,
        |p| p.delays_ms[0] += 1,
        |p| p.delays_ms.push(u64::MAX),
    ];
    for (i, change) in tighter.into_iter().enumerate() {
        assert_eq!(policy(change).check_tightens(&before), Ok(()), "{i}");
    }
}

#[test]
fn no_looser_policy_may_follow() {
    let before = Policy::default();
    let looser: [fn(&mut Policy); 8] = [
        |p| p.attempts_max += 1,
        |p| p.slots_max += 1,
        |p| p.reset_wait_ms -= 1,
        |p| p.last_chance_ms += 1,
        |p| p.token_ms_max += 1,
        |p| p.delays_ms[0] -= 1,
        |p| p.delays_ms[6] -= 1,
        |p| p.delays_ms.clear(),
    ];
    for (i, change) in looser.into_iter().enumerate() {
        let result = policy(change).check_tightens(&before);
        assert_eq!(result, Err(ManifestError::Loosened), "{i}");
    }
}

#[test]
fn waits_are_compared_as_they_are_waited_not_as_they_are_listed() {
    let with = |delays: &[u64]| policy(|p| p.delays_ms = delays.to_vec());
    let follows = |new: &[u64], old: &[u64]| with(new).check_tightens(&with(old)).is_ok();
    // A delay appended below the one that repeats would shorten every later wait.
    assert!(!follows(&[1, 2, 3, 0], &[1, 2, 3]));
    assert!(!follows(&[1, 2, 3, 2], &[1, 2, 3]));
    assert!(follows(&[1, 2, 3, 3], &[1, 2, 3]));
    // A shorter list is no shorter wait if its last one is long enough.
    assert!(follows(&[3], &[1, 2, 3]));
    assert!(!follows(&[2], &[1, 2, 3]));
    assert!(follows(&[0], &[]));
    assert!(!follows(&[], &[1]));
}

fn member(id: u8) -> Member {
    Member {
        id: MemberId(id),
        identity: PublicKey([id; 32]),
        platform: "software".to_owned(),
        class: PlatformClass::None,
        measurement: Digest([0; 32]),
        site: "here".to_owned(),
        host: Digest([0; 32]),
        address: None,
    }
}

fn key(id: u32) -> FleetKey {
    FleetKey {
        id: KeyId(id),
        public: [7; KEM_PUBLIC_BYTES],
    }
}

/// A sound genesis of `n` members.
pub fn genesis(n: u8, rollback_tolerance: u8) -> Manifest {
    Manifest {
        version: 1,
        fleet: None,
        epoch: 0,
        previous: None,
        keys: vec![key(1)],
        opaque: PublicKey([2; 32]),
        members: (0..n).map(member).collect(),
        rollback_tolerance,
        policy: Policy::default(),
        cells: 1,
        resurrections_max: 1,
        admin: PublicKey([3; 32]),
        operator: PublicKey([4; 32]),
        officers: Vec::new(),
        officers_threshold: 0,
        auditors: Vec::new(),
        auditors_threshold: 0,
        not_after: None,
    }
}

/// The manifest of the next epoch, of the same members.
pub fn following(before: &Manifest) -> Manifest {
    Manifest {
        fleet: Some(before.fleet_id()),
        epoch: before.epoch + 1,
        previous: Some(before.digest()),
        ..before.clone()
    }
}

fn broken(change: impl FnOnce(&mut Manifest)) -> Result<(), ManifestError> {
    let mut manifest = genesis(3, 0);
    change(&mut manifest);
    manifest.check()
}

#[test]
fn each_broken_rule_of_a_manifest_has_its_name() {
    assert_eq!(broken(|_| {}), Ok(()));
    let policy = broken(|m| m.policy.attempts_max = 11);
    assert_eq!(policy, Err(ManifestError::AttemptsOutOfRange));
    assert_eq!(
        broken(|m| m.fleet = Some(FleetId([1; 32]))),
        Err(ManifestError::FleetId)
    );
    assert_eq!(broken(|m| m.epoch = 1), Err(ManifestError::FleetId));
    let previous = broken(|m| m.previous = Some(Digest([1; 32])));
    assert_eq!(previous, Err(ManifestError::FleetId));
    assert_eq!(broken(|m| m.version = 2), Err(ManifestError::Unsupported));
    assert_eq!(broken(|m| m.cells = 2), Err(ManifestError::Unsupported));
    for thresholds in [
        broken(|m| m.officers_threshold = 1),
        broken(|m| m.auditors_threshold = 1),
    ] {
        assert_eq!(thresholds, Err(ManifestError::Thresholds));
    }
    assert_eq!(broken(|m| m.members.clear()), Err(ManifestError::Members));
    let too_many = u8::try_from(MEMBERS_MAX).unwrap() + 1;
    let members = broken(|m| m.members = (0..too_many).map(member).collect());
    assert_eq!(members, Err(ManifestError::Members));
    assert_eq!(
        broken(|m| m.members[2].id = MemberId(0)),
        Err(ManifestError::Members)
    );
    let identity = broken(|m| m.members[2].identity = PublicKey([0; 32]));
    assert_eq!(identity, Err(ManifestError::Members));
    assert_eq!(broken(|m| m.keys.clear()), Err(ManifestError::FleetKeys));
    assert_eq!(
        broken(|m| m.keys.push(key(1))),
        Err(ManifestError::FleetKeys)
    );
    assert_eq!(broken(|m| m.keys.push(key(2))), Ok(()));
}

#[test]
fn a_later_manifest_names_its_fleet() {
    let fleet = genesis(3, 0).fleet_id();
    let later = broken(|m| {
        m.epoch = 1;
        m.fleet = Some(fleet);
        m.previous = Some(Digest(fleet.0));
    });
    assert_eq!(later, Ok(()));
    let orphan = broken(|m| {
        m.epoch = 1;
        m.fleet = Some(fleet);
    });
    assert_eq!(orphan, Err(ManifestError::FleetId));
}

#[test]
fn quorums_are_those_of_the_design_and_unreachable_ones_are_refused() {
    for (n, r, quorum) in [
        (1, 0, 1),
        (3, 0, 2),
        (3, 1, 3),
        (5, 0, 3),
        (5, 1, 4),
        (5, 2, 4),
    ] {
        let manifest = genesis(n, r);
        assert_eq!(
            (manifest.quorum(), manifest.check()),
            (quorum, Ok(())),
            "n {n} R {r}"
        );
    }
    for (n, r) in [(1, 1), (3, 3), (5, 5), (7, 255)] {
        let result = genesis(n, r).check();
        assert_eq!(result, Err(ManifestError::QuorumUnreachable), "n {n} R {r}");
    }
}

#[test]
fn any_two_quorums_share_more_members_than_may_be_rolled_back() {
    for n in 1..=7 {
        for r in 0..n {
            let manifest = genesis(n, r);
            if manifest.check().is_ok() {
                assert!(
                    2 * manifest.quorum() > usize::from(n) + usize::from(r),
                    "n {n} R {r}"
                );
            }
        }
    }
}

#[test]
fn the_fleet_id_is_the_digest_of_the_genesis_and_stays() {
    let genesis = genesis(1, 0);
    assert_eq!(genesis.fleet_id().0, genesis.digest().0);
    let mut later = genesis.clone();
    later.fleet = Some(genesis.fleet_id());
    later.epoch = 1;
    assert_eq!(later.fleet_id(), genesis.fleet_id());
    assert_ne!(later.digest(), genesis.digest());
    let mut looser = genesis.clone();
    looser.policy.attempts_max = 9;
    assert_ne!(looser.fleet_id(), genesis.fleet_id());
}

#[test]
fn a_bundle_gives_a_sound_canonical_manifest_only() {
    let bundle = |manifest: Vec<u8>| Bundle {
        manifest,
        operator: Signature([0; 64]),
        history: None,
    };
    let sound = genesis(1, 0);
    assert_eq!(bundle(encode(&sound)).manifest(), Ok(sound.clone()));
    assert!(
        bundle([encode(&sound), vec![0]].concat())
            .manifest()
            .is_err()
    );
    assert!(bundle(encode(&genesis(1, 1))).manifest().is_err());
    assert_eq!(
        sound.member(MemberId(0)).map(|m| m.identity),
        Some(PublicKey([0; 32]))
    );
    assert!(sound.member(MemberId(1)).is_none());
}

/// A genesis that leaves room to tighten, whose greatest member there ever was is 4.
fn roomy() -> Manifest {
    let mut manifest = genesis(3, 0);
    manifest.members[1].class = PlatformClass::AtRest;
    manifest.members[2].class = PlatformClass::AtRest;
    manifest.members.remove(0);
    manifest.rollback_tolerance = 0;
    manifest.officers = vec![PublicKey([5; 32])];
    manifest.officers_threshold = 1;
    manifest.not_after = Some(UnixMs(9));
    manifest
}

fn follows(change: impl FnOnce(&mut Manifest)) -> Result<(), ManifestError> {
    let before = roomy();
    let mut after = following(&before);
    change(&mut after);
    after.check_follows(&before, MemberId(4))
}

/// A joiner's slot.
fn joiner(id: u8, class: PlatformClass) -> Member {
    Member {
        class,
        ..member(id)
    }
}

#[test]
fn a_following_manifest_may_change_whom_it_names_and_who_signs() {
    let tighter = |m: &mut Manifest| {
        m.members.remove(0);
        m.members.push(joiner(5, PlatformClass::Isolating));
        m.members[0].site = "elsewhere".to_owned();
        m.members[0].host = Digest([9; 32]);
        m.members[0].address = Some("here:1".to_owned());
        m.officers = vec![PublicKey([6; 32]), PublicKey([7; 32])];
        m.officers_threshold = 2;
        m.operator = PublicKey([8; 32]);
        m.admin = PublicKey([9; 32]);
        m.policy.attempts_max -= 1;
        m.not_after = Some(UnixMs(8));
        m.resurrections_max = 0;
    };
    assert_eq!(follows(tighter), Ok(()));
    assert_eq!(follows(|_| {}), Ok(()));
}

#[test]
fn each_broken_rule_of_a_following_manifest_has_its_name() {
    type Broken = fn(&mut Manifest);
    let next: [Broken; 4] = [
        |m| m.epoch = 2,
        |m| m.epoch = u64::MAX,
        |m| m.fleet = Some(FleetId([1; 32])),
        |m| m.previous = Some(Digest([1; 32])),
    ];
    let changed: [Broken; 6] = [
        |m| m.keys.push(key(2)),
        |m| m.opaque = PublicKey([9; 32]),
        |m| m.rollback_tolerance = 1,
        |m| m.auditors.push(PublicKey([9; 32])),
        |m| {
            m.auditors = vec![PublicKey([9; 32])];
            m.auditors_threshold = 1;
        },
        |m| m.keys[0].public[0] ^= 1,
    ];
    let loosened: [Broken; 4] = [
        |m| m.resurrections_max = 2,
        |m| m.officers_threshold = 0,
        |m| m.not_after = Some(UnixMs(10)),
        |m| m.not_after = None,
    ];
    let exchanged: [Broken; 4] = [
        |m| m.members[0].identity = PublicKey([9; 32]),
        |m| m.members[0].platform = "nitro".to_owned(),
        |m| m.members[0].class = PlatformClass::Isolating,
        |m| m.members[0].measurement = Digest([9; 32]),
    ];
    let unfit: [Broken; 4] = [
        // A number that is another's no more, or was one's that left earlier.
        |m| m.members.push(joiner(0, PlatformClass::AtRest)),
        |m| m.members.push(joiner(4, PlatformClass::AtRest)),
        |m| m.members.push(joiner(5, PlatformClass::None)),
        |m| {
            // The same HSM under another number.
            let identity = m.members[0].identity;
            m.members.remove(0);
            m.members.push(Member {
                identity,
                ..joiner(5, PlatformClass::AtRest)
            });
        },
    ];
    let all = [
        (&next[..], ManifestError::NotNext),
        (&changed[..], ManifestError::Changed),
        (&loosened[..], ManifestError::Loosened),
        (&exchanged[..], ManifestError::SlotExchanged),
        (&unfit[..], ManifestError::SlotUnfit),
    ];
    for (broken, error) in all {
        for (at, change) in broken.iter().enumerate() {
            assert_eq!(follows(change), Err(error), "{error:?} {at}");
        }
    }
}
