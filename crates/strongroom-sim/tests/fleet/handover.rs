//! How the secret comes to the other members, and to nobody else.

use super::{goes_on, refused};
use strongroom_crypto::channel::{FleetKem, Sender};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::fleet::{Fleet, Member, id};
use strongroom_vault::{Blob, Platform as _};
use strongroom_wire::frame::{HandoverKey, HsmError, Request, Response, SealedSecret};
use strongroom_wire::{MemberId, PublicKey, Signature, encode};

/// Two members; the second has not joined.
fn begun() -> Fleet {
    let mut fleet = Fleet::of(vec![Member::drafted(1), Member::drafted(2)]);
    fleet.begin(0, None).unwrap();
    fleet
}

fn hand_over(member: MemberId, key: Vec<u8>, signer: &SigningKey, label: Label) -> Request {
    let bytes = encode(&HandoverKey { key: key.clone() });
    Request::HandOver {
        member,
        key,
        signature: Signature(statement::sign(signer, label, &bytes)),
        next: None,
    }
}

#[test]
fn a_stranger_is_handed_nothing() {
    let mut fleet = begun();
    let stranger = SigningKey::from_seed(&[66; 32]);
    let key = FleetKem::from_seed(&[67; 32]).public().to_vec();
    // In a slot that there is not, and in one that is another's.
    for slot in [id(5), id(1), id(0)] {
        let request = hand_over(slot, key.clone(), &stranger, Label::Handover);
        refused(&mut fleet, 0, request, HsmError::HandoverInvalid);
    }
    // A signed key and another's slot; the own slot; another key under an honest signature.
    let drafted = fleet.members[1].drafted.clone();
    let own = fleet.members[0].drafted.clone();
    let lies = [
        (id(0), drafted.handover.clone(), drafted.signature),
        (id(0), own.handover, own.signature),
        (id(1), key, drafted.signature),
    ];
    for (member, key, signature) in lies {
        let request = Request::HandOver {
            member,
            key,
            signature,
            next: None,
        };
        refused(&mut fleet, 0, request, HsmError::HandoverInvalid);
    }
    let secret = fleet.hand_over(0, 1).unwrap();
    fleet.begin(1, Some(secret)).unwrap();
    goes_on(&mut fleet, 1);
}

#[test]
fn a_key_signed_wrongly_or_no_key_is_handed_nothing() {
    let signer = SigningKey::from_seed(&[9; 32]);
    let mut fleet = Fleet::of(vec![Member::drafted(1), Member::drafted(2)]);
    let mut fleet_of_signer = fleet.manifest().clone();
    fleet_of_signer.members[1].identity = PublicKey(signer.public());
    fleet = fleet.under(fleet_of_signer);
    fleet.begin(0, None).unwrap();
    let key = FleetKem::from_seed(&[67; 32]).public().to_vec();
    let lies = [
        hand_over(id(1), key.clone(), &signer, Label::Notarised),
        hand_over(id(1), Vec::new(), &signer, Label::Handover),
        hand_over(id(1), vec![7; 31], &signer, Label::Handover),
    ];
    for lie in lies {
        refused(&mut fleet, 0, lie, HsmError::HandoverInvalid);
    }
    let honest = hand_over(id(1), key, &signer, Label::Handover);
    let handed = fleet.ask(0, honest);
    assert!(matches!(handed, Ok(Response::HandedOver { .. })));
}

#[test]
fn only_a_member_at_work_hands_over() {
    let mut fleet = begun();
    let secret = fleet.hand_over(0, 1);
    assert!(secret.is_ok());
    assert_eq!(fleet.hand_over(1, 0), Err(HsmError::WrongPhase));
    fleet.members[0].power_cut();
    assert_eq!(fleet.hand_over(0, 1), Err(HsmError::WrongPhase));
}

#[test]
fn a_secret_of_another_fleet_member_or_of_the_hosts_own_is_refused() {
    let mut fleet = begun();
    // Honest in another fleet that names the same member.
    let mut other = begun();
    let mut manifest = other.manifest().clone();
    manifest.members[0].site = "elsewhere".to_owned();
    other = Fleet::of(vec![Member::drafted(1), Member::drafted(2)]).under(manifest);
    other.begin(0, None).unwrap();
    let foreign = other.hand_over(0, 1).unwrap();
    // The host seals what it likes to the public key, bound as it must be.
    let made = |secret: &[u8]| {
        let info = encode(&("strongroom/v1 handover", fleet.manifest().fleet_id()));
        let drafted = &fleet.members[1].drafted;
        let aad = encode(&(id(1), drafted.identity));
        let platform = &*fleet.members[0].platform;
        let sender = Sender::new(&drafted.handover, &info, platform).unwrap();
        let mut sealed = sender.enc().to_vec();
        sealed.extend(sender.seal(&aad, secret).unwrap().0);
        SealedSecret(sealed)
    };
    let mut cut = fleet_secret(&mut begun()).0;
    cut.pop();
    let lies = [
        foreign,
        made(&[7; 32]),
        made(&[7; 31]),
        SealedSecret(Vec::new()),
        SealedSecret(cut),
    ];
    for lie in lies {
        let begun = fleet.begin(1, Some(lie));
        assert_eq!(begun, Err(HsmError::HandoverInvalid));
        assert_eq!(fleet.members[1].platform.anchor(), Ok(None));
    }
    // Without one, its own draft is not this fleet's.
    assert_eq!(fleet.begin(1, None), Err(HsmError::ManifestInvalid));
    let secret = fleet.hand_over(0, 1).unwrap();
    fleet.begin(1, Some(secret)).unwrap();
    goes_on(&mut fleet, 1);
}

fn fleet_secret(fleet: &mut Fleet) -> SealedSecret {
    fleet.hand_over(0, 1).unwrap()
}

#[test]
fn a_joiner_on_another_platform_than_its_slot_says_does_not_join() {
    let fleet = Fleet::of(vec![Member::drafted(1), Member::drafted(2)]);
    let mut manifest = fleet.manifest().clone();
    manifest.members[1].platform = "nitro".to_owned();
    let mut fleet = fleet.under(manifest);
    fleet.begin(0, None).unwrap();
    let secret = fleet.hand_over(0, 1).unwrap();
    assert_eq!(fleet.begin(1, Some(secret)), Err(HsmError::ManifestInvalid));
}

/// Order: anchor, member, draft. Wherever the power fails, the same request goes on.
#[test]
fn a_joiner_cut_off_at_any_point_goes_on_by_the_same_request() {
    for kept in [Blob::Draft, Blob::Member] {
        let mut fleet = begun();
        let secret = fleet.hand_over(0, 1).unwrap();
        let draft = fleet.members[1].platform.load(Blob::Draft).unwrap();
        fleet.begin(1, Some(secret.clone())).unwrap();
        let platform = fleet.members[1].platform.clone();
        assert_eq!(platform.load(Blob::Draft), Ok(None), "it is forgotten");
        platform.store(Blob::Draft, &draft.unwrap()).unwrap();
        if kept == Blob::Draft {
            platform.erase(Blob::Member).unwrap();
        }
        fleet.members[1].power_cut();
        fleet.begin(1, Some(secret)).unwrap();
        assert_eq!(platform.load(Blob::Draft), Ok(None));
        goes_on(&mut fleet, 1);
    }
}
