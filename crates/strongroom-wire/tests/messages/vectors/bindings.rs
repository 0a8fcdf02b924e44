//! Golden bytes of what is signed, sealed or hashed: AADs, infos, identities, digests.
//!
//! The inputs are the messages of `vectors/messages.json` of the same name, fleet 0x11 × 32, and
//! what stands in the name.

use super::fixed::{envelopes, messages};
use strongroom_wire::binding::{
    client_identity, finish_aad, finish_answer_aad, header_digest, hpke_info, opaque_context,
    start_aad,
};
use strongroom_wire::entry::{EntryHeader, State, Write, writes_digest};
use strongroom_wire::envelope::material_digest;
use strongroom_wire::request::{Finish, Start};
use strongroom_wire::{Digest, FleetId, KeyId, Signature, Slot, answer, decode};

/// The message of that name.
fn named<T>(name: &str) -> T
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let found = messages().into_iter().find(|message| message.name == name);
    decode(
        &found
            .unwrap_or_else(|| panic!("there is a message {name}"))
            .bytes,
    )
    .unwrap()
}

/// Name and bytes of each.
pub fn bindings() -> Vec<(&'static str, Vec<u8>)> {
    let fleet = FleetId([0x11; 32]);
    let [start, finish] = envelopes();
    let ticket = finish.material_digest();
    let identity = client_identity("https://issuer.example", "user 1", Slot(0));
    let mut all = vec![
        ("hpke_info, key 1", hpke_info(fleet, KeyId(1))),
        ("opaque_context", opaque_context(fleet)),
        (
            "client_identity, https://issuer.example, user 1, slot 0",
            identity.0.to_vec(),
        ),
        ("start_aad, Envelope::Start", start_aad(&start.header)),
        (
            "header_digest, Envelope::Start",
            header_digest(&start.header).0.to_vec(),
        ),
        (
            "finish_aad, Envelope::Finish",
            finish_aad(&finish.header, &ticket),
        ),
        ("finish_answer_aad, Envelope::Finish", {
            finish_answer_aad(&finish.header, &ticket, &finish.sealed)
        }),
    ];
    all.extend(
        digests(&ticket)
            .into_iter()
            .map(|(name, digest)| (name, digest.0.to_vec())),
    );
    all
}

fn digests(ticket: &Digest) -> Vec<(&'static str, Digest)> {
    let write: Write = named("Write");
    let mut all = vec![
        ("material_digest, empty", material_digest(&[])),
        ("material_digest, Envelope::Finish", *ticket),
        ("leaf_digest, empty", answer::leaf_digest(&[])),
        ("writes_digest, none", writes_digest(&[])),
        (
            "writes_digest, Write twice",
            writes_digest(&[write.clone(), write]),
        ),
        (
            "EntryHeader::hash",
            named::<EntryHeader>("EntryHeader").hash(),
        ),
        ("State::digest", named::<State>("State").digest()),
        (
            "Manifest::digest",
            named::<strongroom_wire::manifest::Manifest>("Manifest").digest(),
        ),
    ];
    let starts = [
        ("body, Start::Status", "Start::Status"),
        ("body, Start::Delete", "Start::Delete"),
        ("body, Start::Reset", "Start::Reset"),
        ("body, Start::CancelReset", "Start::CancelReset"),
    ];
    for (name, message) in starts {
        let body = match named::<Start>(message) {
            Start::Status(request) => request.body(),
            Start::Delete(request) => request.body(),
            Start::Reset(request) => request.body(),
            Start::CancelReset(request) => request.body(),
            Start::Register(_) | Start::Recover(_) => panic!("these have no body"),
        };
        all.push((name, body));
    }
    for (name, message) in [
        (
            "body, Finish::Register, ticket of Envelope::Finish",
            "Finish::Register",
        ),
        (
            "body, Finish::Recover, ticket of Envelope::Finish",
            "Finish::Recover",
        ),
    ] {
        let body = match named::<Finish>(message) {
            Finish::Register(request) => request.body(ticket),
            Finish::Recover(request) => request.body(ticket),
        };
        all.push((name, body));
    }
    all
}

#[test]
fn no_two_bindings_are_alike() {
    let all = bindings();
    for (i, (name, bytes)) in all.iter().enumerate() {
        for (other, equal) in &all[i + 1..] {
            assert_ne!(bytes, equal, "{name} and {other}");
        }
    }
}

#[test]
fn each_part_of_a_binding_counts() {
    let (fleet, other) = (FleetId([1; 32]), FleetId([2; 32]));
    assert_ne!(hpke_info(fleet, KeyId(1)), hpke_info(other, KeyId(1)));
    assert_ne!(hpke_info(fleet, KeyId(1)), hpke_info(fleet, KeyId(2)));
    assert_ne!(opaque_context(fleet), opaque_context(other));
    let identity = client_identity("issuer", "subject", Slot(0));
    assert_ne!(identity, client_identity("issuer", "subject", Slot(1)));
    assert_ne!(identity, client_identity("issuers", "ubject", Slot(0)));
    let header = envelopes()[1].header;
    let (one, two) = (Digest([1; 32]), Digest([2; 32]));
    assert_ne!(finish_aad(&header, &one), finish_aad(&header, &two));
    let answer = finish_answer_aad(&header, &one, b"request");
    assert_ne!(answer, finish_answer_aad(&header, &two, b"request"));
    assert_ne!(answer, finish_answer_aad(&header, &one, b"another"));
}

#[test]
fn a_retry_with_a_fresh_proof_has_the_same_body() {
    let (mut register, ticket) = match named::<Finish>("Finish::Register") {
        Finish::Register(register) => (register, Digest([1; 32])),
        Finish::Recover(_) => panic!("it is a registration"),
    };
    register.owner_proof = Some(Signature([1; 64]));
    let body = register.body(&ticket);
    for fresh in [None, Some(Signature([2; 64]))] {
        register.owner_proof = fresh;
        assert_eq!(register.body(&ticket), body);
    }
    assert_ne!(register.body(&Digest([2; 32])), body);
    register.ksf ^= 1;
    assert_ne!(register.body(&ticket), body);
}
