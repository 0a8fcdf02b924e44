//! Signed statements and token signatures.

use super::{bits, flipped};
use p256::ecdsa::signature::Signer as _;
use strongroom_crypto::statement::{
    BadSignature, JwsAlg, Label, SigningKey, sign, signed_bytes, verify, verify_jws,
};

const LABELS: [Label; 12] = [
    Label::Promised,
    Label::Notarised,
    Label::OwnerProof,
    Label::TokenPossession,
    Label::TenantCreate,
    Label::TenantKeys,
    Label::Manifest,
    Label::Clock,
    Label::Handover,
    Label::Officers,
    Label::Ready,
    Label::LogSubmission,
];

#[test]
fn a_statement_verifies_under_its_own_label_only() {
    let key = SigningKey::from_seed(&[1; 32]);
    for label in LABELS {
        let signature = sign(&key, label, b"statement");
        for other in LABELS {
            let result = verify(&key.public(), other, b"statement", &signature);
            assert_eq!(result.is_ok(), label == other, "{label:?} as {other:?}");
        }
    }
}

#[test]
fn the_signed_bytes_are_length_label_statement() {
    for label in LABELS {
        let text = label.text().as_bytes();
        let expected = [&[u8::try_from(text.len()).unwrap()], text, b"x"].concat();
        assert_eq!(signed_bytes(label, b"x"), expected);
    }
    let bytes = signed_bytes(Label::Promised, b"x");
    assert_eq!(bytes, b"\x16strongroom/v1 promisedx");
}

#[test]
fn other_bytes_another_key_and_a_changed_signature_are_refused() {
    let key = SigningKey::from_seed(&[1; 32]);
    let public = key.public();
    let signature = sign(&key, Label::OwnerProof, b"statement");
    let refused = |public: &[u8; 32], bytes: &[u8], signature: &[u8; 64]| {
        verify(public, Label::OwnerProof, bytes, signature) == Err(BadSignature)
    };
    assert!(!refused(&public, b"statement", &signature));
    assert!(refused(&public, b"statemenu", &signature));
    assert!(refused(&public, b"", &signature));
    assert!(refused(
        &SigningKey::from_seed(&[2; 32]).public(),
        b"statement",
        &signature
    ));
    for bit in bits(64) {
        let changed = flipped(&signature, bit).try_into().unwrap();
        assert!(refused(&public, b"statement", &changed), "bit {bit}");
    }
    for bit in bits(32) {
        let changed = flipped(&public, bit).try_into().unwrap();
        assert!(refused(&changed, b"statement", &signature), "bit {bit}");
    }
}

#[test]
fn a_small_order_key_signs_nothing() {
    // Under the identity as key, R = identity and s = 0 satisfy the unstrict equation for every
    // message.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    assert!(verify(&identity, Label::OwnerProof, b"anything", &signature).is_err());
}

#[test]
fn a_signature_with_s_above_the_group_order_is_refused() {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut signature = sign(&key, Label::Manifest, b"m");
    // s + L, little endian: the same signature in a second, malleable form.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(hex::decode(order).unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(verify(&key.public(), Label::Manifest, b"m", &signature).is_err());
}

#[test]
fn rfc_8032_test_2_holds() {
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let key = SigningKey::from_seed(&hex::decode(seed).unwrap().try_into().unwrap());
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    assert_eq!(hex::encode(key.public()), public);
    let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                     085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    assert_eq!(hex::encode(key.sign_raw(&[0x72])), signature);
}

/// An ES256 key, its public point and a signature over the input.
fn es256(input: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let signature: p256::ecdsa::Signature = key.sign(input);
    let public = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
    (public, signature.to_bytes().to_vec())
}

#[test]
fn tokens_verify_under_their_keys_algorithm_only() {
    let input = b"header.payload";
    let key = SigningKey::from_seed(&[1; 32]);
    let (ed_public, ed_signature) = (key.public(), key.sign_raw(input));
    let (es_public, es_signature) = es256(input);
    let check = |algorithm, public: &[u8], bytes: &[u8], signature: &[u8]| {
        verify_jws(algorithm, public, bytes, signature).is_ok()
    };
    assert!(check(JwsAlg::EdDsa, &ed_public, input, &ed_signature));
    assert!(check(JwsAlg::Es256, &es_public, input, &es_signature));
    assert!(!check(JwsAlg::Es256, &ed_public, input, &ed_signature));
    assert!(!check(JwsAlg::EdDsa, &es_public, input, &es_signature));
    assert!(!check(JwsAlg::EdDsa, &ed_public, input, &es_signature));
    assert!(!check(JwsAlg::Es256, &es_public, input, &ed_signature));
    for (algorithm, public, signature) in [
        (JwsAlg::EdDsa, ed_public.as_slice(), ed_signature.as_slice()),
        (JwsAlg::Es256, &es_public, &es_signature),
    ] {
        assert!(!check(algorithm, public, b"header.payloae", signature));
        assert!(!check(algorithm, public, input, &signature[..63]));
        assert!(!check(
            algorithm,
            public,
            input,
            &[signature, &[0]].concat()
        ));
        assert!(!check(
            algorithm,
            &public[..public.len() - 1],
            input,
            signature
        ));
        assert!(!check(algorithm, public, input, &[0; 64]));
        for bit in bits(64) {
            assert!(
                !check(algorithm, public, input, &flipped(signature, bit)),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn es256_takes_the_uncompressed_form_of_a_point_on_the_curve_only() {
    let (public, signature) = es256(b"input");
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&public).unwrap();
    let compressed = key.to_sec1_point(true).as_bytes().to_vec();
    assert_eq!(compressed.len(), 33);
    assert!(verify_jws(JwsAlg::Es256, &compressed, b"input", &signature).is_err());
    let off_curve = flipped(&public, 64 * 8);
    assert!(verify_jws(JwsAlg::Es256, &off_curve, b"input", &signature).is_err());
    let hybrid = [&[0x06], &public[1..]].concat();
    assert!(verify_jws(JwsAlg::Es256, &hybrid, b"input", &signature).is_err());
}

#[test]
fn es256_accepts_both_halves_of_s() {
    let (public, signature) = es256(b"input");
    let other = p256::ecdsa::Signature::from_slice(&signature).unwrap();
    let (r, s) = other.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap();
    assert_ne!(other.to_bytes().to_vec(), signature);
    assert!(verify_jws(JwsAlg::Es256, &public, b"input", &other.to_bytes()).is_ok());
    assert!(verify_jws(JwsAlg::Es256, &public, b"input", &signature).is_ok());
}
