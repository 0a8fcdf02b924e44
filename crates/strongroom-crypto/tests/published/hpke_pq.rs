//! X-Wing (draft-connolly-cfrg-xwing-kem) and HPKE with it (draft-ietf-hpke-pq), as
//! `channel.rs` uses them.
//!
//! Covered: key pair from seed, encapsulation with the vector's randomness, decapsulation, the key
//! schedule, all ten encryptions and all exports of the suite 0x647a/0x0001/0x0003, in both
//! directions; and through our own `FleetKem` and `Sender` as far as their fixed exporter context
//! and single message allow.

use super::{Script, array, bytes, vectors};
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use serde_json::Value;
use strongroom_crypto::channel::{ENC_BYTES, FleetKem, PUBLIC_BYTES, Sender};
use strongroom_crypto::random::Draw;
use strongroom_crypto::xwing::Resident;

type Aead = hpke::aead::ChaCha20Poly1305;
type Kdf = hpke::kdf::HkdfSha256;

fn suite() -> Value {
    vectors(include_str!("../../../../vectors/hpke-pq.json"))
        .into_iter()
        .find(|v| v["kem_id"] == 0x647a && v["kdf_id"] == 1 && v["aead_id"] == 3 && v["mode"] == 0)
        .expect("the file has our suite")
}

#[test]
fn x_wing_keys_encapsulations_and_secrets_are_the_published_ones() {
    keys_encapsulations_and_secrets::<XWing>();
}

#[test]
fn a_resident_key_gives_the_published_ones_too() {
    keys_encapsulations_and_secrets::<Resident>();
}

#[test]
fn a_resident_key_and_the_librarys_agree_on_any_encapsulation() {
    for round in 0..200_u8 {
        let (theirs, public) = XWing::derive_keypair(&[round; 32]);
        let (ours, same) = Resident::derive_keypair(&[round; 32]);
        assert!(public == same && ours.to_bytes() == theirs.to_bytes());
        let script = Script::new(&[&[round ^ 0x5a; 64]]);
        let (_, enc) = XWing::encap_with_rng(&public, None, &mut Draw(&script)).unwrap();
        let mut enc = enc.to_bytes().to_vec();
        // Also where it was changed on the way: rejection is implicit, and must be the same.
        if round % 2 == 1 {
            enc[usize::from(round) * 5] ^= 1 << (round % 8);
        }
        let enc_theirs = <XWing as Kem>::EncappedKey::from_bytes(&enc).unwrap();
        let enc_ours = <Resident as Kem>::EncappedKey::from_bytes(&enc).unwrap();
        let theirs = XWing::decap(&theirs, None, &enc_theirs).unwrap();
        let ours = Resident::decap(&ours, None, &enc_ours).unwrap();
        assert_eq!(ours.0.as_slice(), theirs.0.as_slice());
    }
}

#[test]
fn a_resident_key_takes_encapsulations_of_their_length_only() {
    for length in [0, 32, 1088, 1119, 1121] {
        assert!(<Resident as Kem>::EncappedKey::from_bytes(&vec![1; length]).is_err());
    }
}

fn keys_encapsulations_and_secrets<K: Kem>() {
    let vectors = vectors(include_str!("../../../../vectors/xwing.json"));
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let private = K::PrivateKey::from_bytes(&bytes(&vector, "sk")).unwrap();
        let public = K::sk_to_pk(&private);
        assert_eq!(public.to_bytes().as_slice(), bytes(&vector, "pk"));
        let script = Script::new(&[&bytes(&vector, "eseed")]);
        let (secret, enc) = K::encap_with_rng(&public, None, &mut Draw(&script)).unwrap();
        script.assert_spent();
        assert_eq!(enc.to_bytes().as_slice(), bytes(&vector, "ct"));
        assert_eq!(secret.0.as_slice(), bytes(&vector, "ss"));
        let enc = K::EncappedKey::from_bytes(&bytes(&vector, "ct")).unwrap();
        let secret = K::decap(&private, None, &enc).unwrap();
        assert_eq!(secret.0.as_slice(), bytes(&vector, "ss"));
    }
}

#[test]
fn the_channel_uses_the_published_keys_and_encapsulations() {
    for vector in vectors(include_str!("../../../../vectors/xwing.json")) {
        let public: [u8; PUBLIC_BYTES] = array(&vector, "pk");
        assert!(FleetKem::from_seed(&array(&vector, "seed")).public() == public);
        let script = Script::new(&[&bytes(&vector, "eseed")]);
        let sender = Sender::new(&public, b"info", &script).unwrap();
        script.assert_spent();
        assert_eq!(sender.enc(), bytes(&vector, "ct"));
        assert_eq!(sender.enc().len(), ENC_BYTES);
    }
}

#[test]
fn a_sender_makes_the_published_ciphertexts_and_exports() {
    let suite = suite();
    let public = <XWing as Kem>::PublicKey::from_bytes(&bytes(&suite, "pkRm")).unwrap();
    let script = Script::new(&[&bytes(&suite, "ikmE")]);
    let (enc, mut sender) = hpke::setup_sender_with_rng::<Aead, Kdf, XWing>(
        &OpModeS::Base,
        &public,
        &bytes(&suite, "info"),
        &mut Draw(&script),
    )
    .unwrap();
    script.assert_spent();
    assert_eq!(enc.to_bytes().as_slice(), bytes(&suite, "enc"));
    let encryptions = suite["encryptions"].as_array().unwrap();
    assert_eq!(encryptions.len(), 10);
    for each in encryptions {
        let ciphertext = sender
            .seal(&bytes(each, "pt"), &bytes(each, "aad"))
            .unwrap();
        assert_eq!(ciphertext, bytes(each, "ct"));
    }
    for each in suite["exports"].as_array().unwrap() {
        let mut secret = vec![0; usize::try_from(each["L"].as_u64().unwrap()).unwrap()];
        sender
            .export(&bytes(each, "exporter_context"), &mut secret)
            .unwrap();
        assert_eq!(secret, bytes(each, "exported_value"));
    }
}

#[test]
fn a_receiver_opens_the_published_ciphertexts_and_makes_the_exports() {
    opens_and_exports::<XWing>();
}

#[test]
fn a_receiver_with_a_resident_key_does_so_too() {
    opens_and_exports::<Resident>();
}

fn opens_and_exports<K: Kem>() {
    let suite = suite();
    let private = K::PrivateKey::from_bytes(&bytes(&suite, "skRm")).unwrap();
    let enc = K::EncappedKey::from_bytes(&bytes(&suite, "enc")).unwrap();
    let mut receiver = hpke::setup_receiver::<Aead, Kdf, K>(
        &OpModeR::Base,
        &private,
        &enc,
        &bytes(&suite, "info"),
    )
    .unwrap();
    for each in suite["encryptions"].as_array().unwrap() {
        let plaintext = receiver
            .open(&bytes(each, "ct"), &bytes(each, "aad"))
            .unwrap();
        assert_eq!(plaintext, bytes(each, "pt"));
    }
    let exports = suite["exports"].as_array().unwrap();
    assert_eq!(exports.len(), 5);
    for each in exports {
        let mut secret = vec![0; usize::try_from(each["L"].as_u64().unwrap()).unwrap()];
        receiver
            .export(&bytes(each, "exporter_context"), &mut secret)
            .unwrap();
        assert_eq!(secret, bytes(each, "exported_value"));
    }
}

#[test]
fn our_own_halves_seal_and_open_the_first_published_ciphertext() {
    let suite = suite();
    let (info, first) = (bytes(&suite, "info"), &suite["encryptions"][0]);
    let (aad, plaintext) = (bytes(first, "aad"), bytes(first, "pt"));
    let script = Script::new(&[&bytes(&suite, "ikmE")]);
    let sender = Sender::new(&bytes(&suite, "pkRm"), &info, &script).unwrap();
    assert_eq!(sender.enc(), bytes(&suite, "enc"));
    let (ciphertext, _) = sender.seal(&aad, &plaintext).unwrap();
    assert_eq!(ciphertext, bytes(first, "ct"));
    let fleet = FleetKem::from_seed(&array(&suite, "skRm"));
    assert!(fleet.public().as_slice() == bytes(&suite, "pkRm"));
    let enc = bytes(&suite, "enc");
    let Ok((opened, _)) = fleet.open(&info, &aad, &enc, &ciphertext) else {
        panic!("the published ciphertext does not open");
    };
    assert_eq!(*opened, plaintext);
}
