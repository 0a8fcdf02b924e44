//! SHA-256 (FIPS 180-4).

use sha2::{Digest as _, Sha256};

/// SHA-256 of the parts, one after the other. Callers fix the lengths of all parts but the last.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
