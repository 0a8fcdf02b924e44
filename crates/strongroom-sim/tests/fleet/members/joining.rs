//! Who comes: ready before it is taken in, and silent until then.

use super::{Begun, begun, founded, goes_on, named, refused};
use strongroom_crypto::channel::Sender;
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_sim::fleet::{Fleet, id};
use strongroom_vault::{Blob, Platform as _};
use strongroom_wire::entry::{Proposal, Ready, Signed};
use strongroom_wire::frame::{HsmError, Phase, Place, Request, Response, SealedSecret};
use strongroom_wire::{Digest, Epoch, MemberId, Signature, encode};

/// What its host may ask of a joiner, which must answer with this error and be as it was.
#[track_caller]
fn silent(fleet: &mut Fleet, m: usize, request: Request, error: HsmError) {
    let platform = fleet.members[m].platform.clone();
    let before = (platform.anchor(), platform.load(Blob::Member));
    assert_eq!(fleet.ask(m, request), Err(error));
    assert_eq!((platform.anchor(), platform.load(Blob::Member)), before);
}

fn join(it: &Begun) -> Request {
    Request::Join {
        secret: it.change.joiners[0].1.clone(),
        named: it.fleet.place_of(&it.run[0]),
        base: it.fleet.place(&it.base.hash()),
        certificate: it.certificate.clone(),
    }
}

/// The request with one thing changed.
fn changed(
    it: &Begun,
    change: impl FnOnce(&mut SealedSecret, &mut Place, &mut Place, &mut Vec<Signed<Vote>>),
) -> Request {
    let mut request = join(it);
    if let Request::Join {
        secret,
        named,
        base,
        certificate,
    } = &mut request
    {
        change(secret, named, base, certificate);
    }
    request
}

type Vote = strongroom_wire::entry::Notarised;

#[test]
fn a_joiner_says_nothing_before_an_entry_names_it() {
    let mut it = begun(3, &[0, 1, 3]);
    let epoch = Epoch(2);
    let process = it.fleet.members[0].process();
    let place = it.fleet.place(&it.base.hash());
    let certificate = it.certificate.clone();
    let run: Vec<Proposal> = it.run.to_vec();
    let requests = [
        Request::Promise {
            epoch,
            leader: id(0),
            process,
        },
        Request::Lead {
            epoch,
            promises: Vec::new(),
            start: place.clone(),
        },
        Request::Notarise {
            run,
            start: Some(it.base.clone()),
        },
        Request::Adopt {
            place: place.clone(),
            certificate: certificate.clone(),
        },
        Request::Resume {
            place: place.clone(),
            certificate: certificate.clone(),
        },
        Request::Release {
            certificate: certificate.clone(),
        },
        Request::Retire { place, certificate },
        it.change.request(),
        Request::Inspect,
    ];
    for request in requests {
        silent(&mut it.fleet, 3, request, HsmError::WrongPhase);
    }
    let drafted = it.fleet.members[0].drafted.clone();
    let request = Request::HandOver {
        member: id(0),
        key: drafted.handover,
        signature: drafted.signature,
        next: None,
    };
    silent(&mut it.fleet, 3, request, HsmError::WrongPhase);
    let joined = join(&it);
    it.fleet.ask(3, joined).unwrap();
    it.certified(&[0, 3, 1]);
}

#[test]
fn no_entry_that_does_not_name_it_takes_a_joiner_in() {
    let mut it = begun(3, &[0, 1, 3]);
    let old = it.fleet.place(&it.base.hash());
    let invalid = HsmError::ManifestInvalid;
    let unnamed = changed(&it, |_, named, _, _| named.clone_from(&old));
    silent(&mut it.fleet, 3, unnamed, invalid);
    // The manifest that names it, under an entry that names another; a state that is not the
    // entry's; a mark that is none.
    let next = it.fleet.place_of(&it.run[0]);
    let under = changed(&it, |_, named, _, _| {
        named.clone_from(&old);
        named.manifests.clone_from(&next.manifests);
    });
    silent(&mut it.fleet, 3, under, invalid);
    let state = changed(&it, |_, named, _, _| {
        named.clone_from(&old);
        named.state.clone_from(&next.state);
        named.manifests.clone_from(&next.manifests);
    });
    silent(&mut it.fleet, 3, state, invalid);
    let made = changed(&it, |_, named, _, _| {
        named.state.clone_from(&next.state);
        named.proposal.header.root = Digest([1; 32]);
    });
    silent(&mut it.fleet, 3, made, HsmError::EntryForged);
    let unmarked = changed(&it, |_, named, _, _| named.proposal.mark.0[0] ^= 1);
    silent(&mut it.fleet, 3, unmarked, HsmError::EntryForged);
    let joined = join(&it);
    it.fleet.ask(3, joined).unwrap();
}

#[test]
fn a_joiner_stands_at_a_certified_entry_only() {
    let mut it = begun(3, &[0, 1, 3]);
    let few = it.fleet.certify(&[0, 2], &it.run, None);
    let invalid = HsmError::CertificateInvalid;
    let none = changed(&it, |_, _, _, certificate| certificate.clear());
    silent(&mut it.fleet, 3, none, invalid);
    let one = changed(&it, |_, _, _, certificate| certificate.truncate(1));
    silent(&mut it.fleet, 3, one, invalid);
    let twice = changed(&it, |_, _, _, certificate| {
        certificate.truncate(1);
        certificate.push(certificate[0].clone());
    });
    silent(&mut it.fleet, 3, twice, invalid);
    let other = changed(&it, |_, _, _, certificate| certificate.clone_from(&few));
    silent(&mut it.fleet, 3, other, invalid);
    // The change itself, by the old quorum alone.
    let next = it.fleet.place_of(&it.run[0]);
    let change = changed(&it, |_, _, base, certificate| {
        base.clone_from(&next);
        certificate.clone_from(&few);
    });
    silent(&mut it.fleet, 3, change, invalid);
    let unmarked = changed(&it, |_, _, base, _| base.proposal.mark.0[0] ^= 1);
    silent(&mut it.fleet, 3, unmarked, HsmError::EntryForged);
    let joined = join(&it);
    it.fleet.ask(3, joined).unwrap();
    let tip = it.fleet.inspect(3).tip;
    assert_eq!(tip, it.base.tip());
}

#[test]
fn another_secret_takes_nobody_in() {
    let mut it = begun(3, &[0, 1, 3]);
    let cut = changed(&it, |secret, _, _, _| {
        secret.0.pop();
    });
    silent(&mut it.fleet, 3, cut, HsmError::HandoverInvalid);
    // The host seals a secret of its own to the public key, bound as it must be.
    let info = encode(&("strongroom/v1 handover", it.fleet.manifest().fleet_id()));
    let drafted = it.fleet.members[3].drafted.clone();
    let aad = encode(&(id(3), drafted.identity));
    let platform = it.fleet.members[0].platform.clone();
    let sender = Sender::new(&drafted.handover, &info, &*platform).unwrap();
    let mut sealed = sender.enc().to_vec();
    sealed.extend(sender.seal(&aad, &[7; 32]).unwrap().0);
    let own = SealedSecret(sealed);
    let request = Request::Ready {
        manifest: encode(&it.change.manifest),
        secret: own.clone(),
    };
    silent(&mut it.fleet, 3, request, HsmError::HandoverInvalid);
    let lie = changed(&it, |secret, _, _, _| *secret = own);
    silent(&mut it.fleet, 3, lie, HsmError::HandoverInvalid);
    let joined = join(&it);
    it.fleet.ask(3, joined).unwrap();
}

#[test]
fn a_joiner_that_is_not_ready_is_not_taken_in() {
    let mut it = begun(3, &[0, 1, 3]);
    let honest = it.change.ready[0].clone();
    // Another leader proposes it, so that it can be refused.
    let start = it.fleet.lead(1, 2, &[0, 1, 2]);
    assert_eq!(start, it.base);
    let stranger = SigningKey::from_seed(&[66; 32]);
    let signed = |change: fn(&mut Ready)| {
        let mut statement = honest.statement.clone();
        change(&mut statement);
        let signature = statement::sign(&stranger, Label::Ready, &encode(&statement));
        Signed {
            statement,
            signature: Signature(signature),
        }
    };
    let changed = |change: fn(&mut Ready)| {
        let mut ready = honest.clone();
        change(&mut ready.statement);
        ready
    };
    // Its word on the same change, but for one thing: of another manifest, honestly given.
    let other = it.fleet.naming(&[0, 3]);
    let secret = it
        .fleet
        .hand_over_next(1, 3, Some(&Fleet::signed(&other, &[1, 2])));
    let other = it.fleet.ready(3, &other, &secret.unwrap()).unwrap();
    let lies = [
        vec![],
        vec![signed(|_| {})],
        vec![signed(|ready| ready.member = MemberId(0))],
        vec![changed(|ready| ready.member = MemberId(1))],
        vec![changed(|ready| ready.manifest = Digest([1; 32]))],
        vec![changed(|ready| ready.fleet.0[0] ^= 1)],
        vec![changed(|ready| ready.cell.0 += 1)],
        vec![changed(|ready| ready.incarnation.0 += 1)],
        vec![other],
    ];
    for (at, ready) in lies.into_iter().enumerate() {
        println!("lie {at}");
        let request = Request::ProposeMembers {
            change: it.change.signed.clone(),
            ready,
        };
        refused(&mut it.fleet, 1, request, HsmError::NotReady);
    }
    it.fleet.propose_members(1, &it.change).unwrap();
}

/// One of two that are to come is not there.
#[test]
fn each_joiner_says_for_itself_that_it_is_ready() {
    let mut fleet = founded(1);
    fleet.draft();
    fleet.draft();
    goes_on(&mut fleet, 0);
    let change = fleet.change_to(0, &[0, 1, 2]);
    for at in 0..2 {
        let ready = vec![change.ready[at].clone(); 2];
        let request = Request::ProposeMembers {
            change: change.signed.clone(),
            ready,
        };
        refused(&mut fleet, 0, request, HsmError::NotReady);
    }
    fleet.propose_members(0, &change).unwrap();
}

#[test]
fn to_be_ready_changes_nothing_and_may_be_said_again() {
    let mut it = begun(3, &[0, 1, 3]);
    let secret = it.change.joiners[0].1.clone();
    it.fleet.members[3].power_cut();
    let again = it.fleet.ready(3, &it.change.manifest, &secret).unwrap();
    assert_eq!(again, it.change.ready[0]);
    // Not for a manifest that does not name it, nor by a member.
    let unnamed = it.fleet.naming(&[0, 1]);
    named(
        it.fleet.ready(3, &unnamed, &secret),
        HsmError::ManifestInvalid,
    );
    named(
        it.fleet.ready(0, &it.change.manifest, &secret),
        HsmError::WrongPhase,
    );
}

/// Order: anchor, member, draft. Wherever the power fails the same request goes on, or one that is
/// later: its host applies more while it is down.
#[test]
fn a_joiner_cut_off_while_it_joins_goes_on() {
    for (kept, later) in [
        (Blob::Draft, false),
        (Blob::Draft, true),
        (Blob::Member, false),
    ] {
        let mut it = begun(3, &[0, 1, 3]);
        let platform = it.fleet.members[3].platform.clone();
        let draft = platform.load(Blob::Draft).unwrap().unwrap();
        let joined = join(&it);
        it.fleet.ask(3, joined.clone()).unwrap();
        assert_eq!(platform.load(Blob::Draft), Ok(None));
        platform.store(Blob::Draft, &draft).unwrap();
        if kept == Blob::Draft {
            platform.erase(Blob::Member).unwrap();
        }
        it.fleet.members[3].power_cut();
        if later {
            // The change has both quorums without it.
            let joint = it.fleet.certify(&[0, 1], &it.run, None);
            let place = it.fleet.place_of(&it.run[0]);
            let at = changed(&it, |_, _, base, certificate| {
                *base = place;
                *certificate = joint;
            });
            it.fleet.ask(3, at).unwrap();
            // And not back again.
            platform.store(Blob::Draft, &draft).unwrap();
            platform.erase(Blob::Member).unwrap();
            it.fleet.members[3].power_cut();
            silent(&mut it.fleet, 3, joined, HsmError::AnchorMismatch);
            continue;
        }
        it.fleet.ask(3, joined).unwrap();
        assert_eq!(platform.load(Blob::Draft), Ok(None));
        it.certified(&[0, 1, 3]);
        it.fleet.enact(it.change.manifest);
        goes_on(&mut it.fleet, 3);
    }
}

/// The hostile host of a member puts its draft back, to have it forget what it said.
#[test]
fn a_member_does_not_join_again() {
    let mut it = begun(3, &[0, 1, 3]);
    let platform = it.fleet.members[3].platform.clone();
    let draft = platform.load(Blob::Draft).unwrap().unwrap();
    let joined = join(&it);
    it.fleet.ask(3, joined.clone()).unwrap();
    it.fleet.promise(3, 9, 0).unwrap();
    silent(&mut it.fleet, 3, joined.clone(), HsmError::WrongPhase);
    platform.store(Blob::Draft, &draft).unwrap();
    platform.erase(Blob::Member).unwrap();
    it.fleet.members[3].power_cut();
    silent(&mut it.fleet, 3, joined, HsmError::AnchorMismatch);
}

#[test]
fn a_lost_answer_to_join_is_given_again() {
    let mut it = begun(3, &[0, 1, 3]).joined();
    it.fleet.members[3].power_cut();
    let joined = join(&it);
    let again = it.fleet.ask(3, joined).unwrap();
    assert!(matches!(again, Response::Standing { .. }));
}

/// A second HSM under the platform that its slot does not name.
#[test]
fn a_joiner_on_another_platform_than_its_slot_says_is_not_ready() {
    let mut fleet = founded(1);
    goes_on(&mut fleet, 0);
    fleet.draft();
    let mut manifest = fleet.naming(&[0, 1]);
    manifest.members[1].platform = "nitro".to_owned();
    let signed = Fleet::signed(&manifest, &[1, 2]);
    let secret = fleet.hand_over_next(0, 1, Some(&signed)).unwrap();
    named(
        fleet.ready(1, &manifest, &secret),
        HsmError::ManifestInvalid,
    );
    let hello = fleet.ask(1, Request::Hello { version: 1 });
    let Ok(Response::Welcome(welcome)) = hello else {
        panic!("{hello:?}");
    };
    assert_eq!(welcome.phase, Phase::Drafted);
}
