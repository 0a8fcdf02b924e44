//! Published vectors: RFC 9807 (OPAQUE), RFC 9497 (OPRF), X-Wing, HPKE-PQ.
//!
//! What is covered stands at the head of each module. The data is in `vectors/` at the root of the
//! repository, unchanged from its sources. Randomness comes from [`Script`]: the bytes that the
//! vector names, in the order in which the library draws them; a draw beyond the script, and bytes
//! left over, fail the test. So a library that draws otherwise is noticed, not papered over.
#![allow(clippy::unwrap_used, missing_docs)]

mod hpke_pq;
mod opaque;
mod oprf;

use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use strongroom_crypto::random::Entropy;

/// Randomness that was written down before.
struct Script(RefCell<VecDeque<u8>>);

impl Script {
    fn new(parts: &[&[u8]]) -> Self {
        Self(RefCell::new(parts.concat().into()))
    }

    fn assert_spent(&self) {
        assert_eq!(self.0.borrow().len(), 0, "bytes of the script are left");
    }
}

impl Entropy for Script {
    fn fill(&self, out: &mut [u8]) {
        let mut bytes = self.0.borrow_mut();
        for byte in out {
            *byte = bytes
                .pop_front()
                .expect("the script holds every byte that is drawn");
        }
    }
}

/// A scalar of ristretto255 as the libraries draw it: 64 bytes, reduced. A canonical scalar with
/// zeros behind it comes out as it is.
fn wide(scalar: &[u8]) -> [u8; 64] {
    let mut wide = [0; 64];
    wide[..32].copy_from_slice(scalar);
    wide
}

/// The array of vectors in a file.
fn vectors(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

/// A field's bytes.
fn bytes(object: &Value, field: &str) -> Vec<u8> {
    optional(object, field).unwrap_or_else(|| panic!("the vector has no {field}"))
}

/// A field's bytes, if it is there.
fn optional(object: &Value, field: &str) -> Option<Vec<u8>> {
    let text = object.get(field)?.as_str().unwrap();
    Some(hex::decode(text).unwrap())
}

/// A field's bytes, of known length.
fn array<const N: usize>(object: &Value, field: &str) -> [u8; N] {
    bytes(object, field).try_into().unwrap()
}
