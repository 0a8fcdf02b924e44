//! The channel: requests under HPKE, answers under what it exports.

use super::{Repeated, Seeded, bits, flipped};
use strongroom_crypto::channel::{
    ChannelError, ENC_BYTES, FleetKem, PUBLIC_BYTES, ResponseKey, Sender,
};

const INFO: &[u8] = b"info";
const AAD: &[u8] = b"routing header";

struct Exchange {
    fleet: FleetKem,
    enc: Vec<u8>,
    ciphertext: Vec<u8>,
    client: ResponseKey,
}

impl Exchange {
    fn new(seed: u64) -> Self {
        let fleet = FleetKem::from_seed(&[7; 32]);
        let sender = Sender::new(&fleet.public(), INFO, &Seeded::new(seed)).unwrap();
        let enc = sender.enc().to_vec();
        let (ciphertext, client) = sender.seal(AAD, b"the request").unwrap();
        Self {
            fleet,
            enc,
            ciphertext,
            client,
        }
    }

    fn open(&self) -> ResponseKey {
        let opened = self.fleet.open(INFO, AAD, &self.enc, &self.ciphertext);
        let (plaintext, key) = opened.unwrap_or_else(|_| panic!("an intact request opens"));
        assert_eq!(*plaintext, b"the request");
        key
    }

    fn refuses(&self, info: &[u8], aad: &[u8], enc: &[u8], ciphertext: &[u8]) {
        let result = self.fleet.open(info, aad, enc, ciphertext);
        assert_eq!(result.err(), Some(ChannelError));
    }
}

#[test]
fn a_request_opens_and_its_answers_open_at_the_sender_only() {
    let exchange = Exchange::new(1);
    assert_eq!(exchange.enc.len(), ENC_BYTES);
    assert_eq!(exchange.ciphertext.len(), b"the request".len() + 16);
    let sealed = exchange.open().seal(b"the answer", &Seeded::new(2));
    assert_eq!(sealed.len(), 32 + b"the answer".len() + 16);
    assert_eq!(*exchange.client.open(&sealed).unwrap(), b"the answer");
    assert_eq!(
        Exchange::new(3).client.open(&sealed).err(),
        Some(ChannelError)
    );
}

#[test]
fn any_changed_bit_of_info_aad_or_ciphertext_is_refused() {
    let exchange = Exchange::new(4);
    let Exchange {
        enc, ciphertext, ..
    } = &exchange;
    for bit in bits(INFO.len()) {
        exchange.refuses(&flipped(INFO, bit), AAD, enc, ciphertext);
    }
    for bit in bits(AAD.len()) {
        exchange.refuses(INFO, &flipped(AAD, bit), enc, ciphertext);
    }
    for bit in bits(ciphertext.len()) {
        exchange.refuses(INFO, AAD, enc, &flipped(ciphertext, bit));
    }
    exchange.open();
}

#[test]
fn changed_bits_all_over_the_encapsulation_are_refused() {
    let exchange = Exchange::new(5);
    // A sample of the ML-KEM part and of the X25519 part (the last 32 bytes).
    let x25519 = (ENC_BYTES - 32) * 8;
    let sample = (0..x25519)
        .step_by(509)
        .chain((x25519..ENC_BYTES * 8).step_by(37));
    for bit in sample {
        exchange.refuses(
            INFO,
            AAD,
            &flipped(&exchange.enc, bit),
            &exchange.ciphertext,
        );
    }
    exchange.open();
}

#[test]
fn wrong_lengths_and_another_fleets_key_are_refused() {
    let exchange = Exchange::new(6);
    let Exchange {
        enc, ciphertext, ..
    } = &exchange;
    exchange.refuses(INFO, AAD, &enc[..ENC_BYTES - 1], ciphertext);
    exchange.refuses(INFO, AAD, &[enc.as_slice(), &[0]].concat(), ciphertext);
    exchange.refuses(INFO, AAD, &[], ciphertext);
    exchange.refuses(INFO, AAD, enc, &[ciphertext.as_slice(), &[0]].concat());
    for length in 0..ciphertext.len() {
        exchange.refuses(INFO, AAD, enc, &ciphertext[..length]);
    }
    let other = FleetKem::from_seed(&[8; 32]);
    assert!(other.open(INFO, AAD, enc, ciphertext).is_err());
}

#[test]
fn what_is_no_public_key_is_refused() {
    let public = FleetKem::from_seed(&[7; 32]).public();
    let refused = |bytes: &[u8]| Sender::new(bytes, INFO, &Seeded::new(7)).is_err();
    assert!(!refused(&public));
    assert!(refused(&public[..PUBLIC_BYTES - 1]));
    assert!(refused(&[public.as_slice(), &[0]].concat()));
    // ML-KEM coefficients not reduced modulo q (FIPS 203 §7.2).
    assert!(refused(&[0xff; PUBLIC_BYTES]));
}

#[test]
fn a_repeated_request_gives_other_bytes_and_the_two_keys_do_not_mix() {
    let (first, second) = (Exchange::new(8), Exchange::new(9));
    assert_ne!(first.enc, second.enc);
    assert_ne!(first.ciphertext, second.ciphertext);
    first.refuses(INFO, AAD, &second.enc, &first.ciphertext);
    let answer = first.open().seal(b"answer", &Seeded::new(1));
    assert!(second.client.open(&answer).is_err());
}

#[test]
fn any_changed_bit_or_length_of_an_answer_is_refused() {
    let exchange = Exchange::new(10);
    let sealed = exchange.open().seal(b"the answer", &Seeded::new(11));
    for bit in bits(sealed.len()) {
        assert!(
            exchange.client.open(&flipped(&sealed, bit)).is_err(),
            "bit {bit}"
        );
    }
    for length in 0..sealed.len() {
        assert!(exchange.client.open(&sealed[..length]).is_err());
    }
    assert!(
        exchange
            .client
            .open(&[sealed.as_slice(), &[0]].concat())
            .is_err()
    );
}

#[test]
fn repeated_randomness_never_seals_two_answers_under_one_nonce() {
    let exchange = Exchange::new(12);
    // Two members, or one from a snapshot, answer the same request.
    let (one, other) = (exchange.open(), exchange.open());
    let first = one.seal(b"answer 1", &Repeated(3));
    assert_eq!(first, other.seal(b"answer 1", &Repeated(3)));
    let second = other.seal(b"answer 2", &Repeated(3));
    assert_ne!(first[..32], second[..32]);
    assert_eq!(*exchange.client.open(&first).unwrap(), b"answer 1");
    assert_eq!(*exchange.client.open(&second).unwrap(), b"answer 2");
    // And of two requests with the same answer, each has its own.
    let elsewhere = Exchange::new(13).open().seal(b"answer 1", &Repeated(3));
    assert_ne!(first[..32], elsewhere[..32]);
}

#[test]
fn an_answer_key_takes_neither_the_request_nor_another_answers_nonce() {
    let exchange = Exchange::new(14);
    let key = exchange.open();
    assert!(exchange.client.open(&exchange.ciphertext).is_err());
    assert!(key.open(&exchange.ciphertext).is_err());
    let first = key.seal(b"answer 1", &Seeded::new(15));
    let second = key.seal(b"answer 2", &Seeded::new(16));
    let mixed = [&first[..32], &second[32..]].concat();
    assert!(exchange.client.open(&mixed).is_err());
}

#[test]
fn an_answer_has_the_form_that_rfc_9458_gives_it() {
    use chacha20poly1305::aead::{Aead as _, KeyInit as _};
    use hpke::Deserializable as _;
    use hpke::kem::XWing;
    use strongroom_crypto::hash::sha256;

    let exchange = Exchange::new(17);
    let sealed = exchange.open().seal(b"the answer", &Seeded::new(18));
    // The same by hand: the exported secret, then Extract and Expand over enc's digest and nonce.
    let private = <XWing as hpke::Kem>::PrivateKey::from_bytes(&[7; 32]).unwrap();
    let enc = <XWing as hpke::Kem>::EncappedKey::from_bytes(&exchange.enc).unwrap();
    let receiver =
        hpke::setup_receiver::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, XWing>(
            &hpke::OpModeR::Base,
            &private,
            &enc,
            INFO,
        )
        .unwrap();
    let mut secret = [0; 32];
    receiver
        .export(b"strongroom/v1 response", &mut secret)
        .unwrap();
    let (response_nonce, ciphertext) = sealed.split_at(32);
    let salt = [&sha256(&[&exchange.enc]), response_nonce].concat();
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::new(Some(&salt), &secret);
    let (mut key, mut nonce) = ([0; 32], [0; 12]);
    hkdf.expand(b"key", &mut key).unwrap();
    hkdf.expand(b"nonce", &mut nonce).unwrap();
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(&key.into());
    let answer = cipher.decrypt(&nonce.into(), ciphertext).unwrap();
    assert_eq!(answer, b"the answer");
}
