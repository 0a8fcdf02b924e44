//! RFC 9497, Appendix A.1.1: OPRF mode of ristretto255-SHA512, by the library that opaque-ke uses,
//! in the same version.
//!
//! Covered: key derivation, blinding, evaluation and finalisation, all vectors of the mode. The
//! verifiable modes are no part of OPAQUE and not in use.

use super::{bytes, vectors};
use curve25519_dalek::scalar::Scalar;
use serde_json::Value;
use voprf::{BlindedElement, Mode, OprfClient, OprfServer, Ristretto255, derive_key};

fn suite() -> Value {
    vectors(include_str!("../../../../vectors/oprf-rfc9497.json"))
        .into_iter()
        .find(|suite| suite["identifier"] == "ristretto255-SHA512" && suite["mode"] == 0)
        .expect("the file has our suite")
}

#[test]
fn the_key_is_derived_as_rfc_9497_says() {
    let suite = suite();
    let (seed, info) = (bytes(&suite, "seed"), bytes(&suite, "keyInfo"));
    let key = derive_key::<Ristretto255>(&seed, &info, Mode::Oprf).unwrap();
    assert_eq!(key.to_bytes().as_slice(), bytes(&suite, "skSm"));
}

#[test]
fn blinding_evaluation_and_output_are_those_of_rfc_9497() {
    let suite = suite();
    let server = OprfServer::<Ristretto255>::new_with_key(&bytes(&suite, "skSm")).unwrap();
    let vectors = suite["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let input = bytes(vector, "Input");
        let blind: [u8; 32] = super::array(vector, "Blind");
        let blind = Scalar::from_canonical_bytes(blind).unwrap();
        let client = OprfClient::<Ristretto255>::deterministic_blind_unchecked(&input, blind);
        let client = client.unwrap();
        let blinded = client.message.serialize();
        assert_eq!(blinded.as_slice(), bytes(vector, "BlindedElement"));
        let evaluated = server.blind_evaluate(&client.message);
        let expected = bytes(vector, "EvaluationElement");
        assert_eq!(evaluated.serialize().as_slice(), expected);
        let output = client.state.finalize(&input, &evaluated).unwrap();
        assert_eq!(output.as_slice(), bytes(vector, "Output"));
        assert_eq!(server.evaluate(&input).unwrap(), output);
    }
}

#[test]
fn the_identity_and_non_canonical_elements_are_no_blinded_elements() {
    assert!(BlindedElement::<Ristretto255>::deserialize(&[0; 32]).is_err());
    assert!(BlindedElement::<Ristretto255>::deserialize(&[0xff; 32]).is_err());
}
