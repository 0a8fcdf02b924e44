//! A code, stretched with a salt: a verifier that may lie on this device in the code's place, for
//! rehearsals. [`crate::device`] seals it under a child of root: it is there while root is.

use crate::{Ksf, Os};
use strongroom_crypto::kdf::prf;
use strongroom_crypto::random::Entropy as _;
use zeroize::Zeroizing;

/// What a code is stretched with.
#[derive(Clone, Copy)]
pub(crate) struct Salt {
    /// The parameter set.
    pub(crate) ksf: Ksf,
    /// 32 random bytes.
    pub(crate) bytes: [u8; 32],
}

impl Salt {
    pub(crate) fn draw(ksf: Ksf) -> Self {
        let mut bytes = [0; 32];
        Os.fill(&mut bytes);
        Self { ksf, bytes }
    }
}

/// A stretched code.
pub(crate) struct Stretched {
    pub(crate) salt: Salt,
    key: Zeroizing<[u8; 32]>,
}

impl Stretched {
    /// Stretches (about half a second).
    pub(crate) fn new(code: &[u8], salt: Salt) -> Self {
        let Some((memory_kib, passes)) = salt.ksf.cost() else {
            let key = Zeroizing::new(prf(&salt.bytes, "strongroom/v1 not stretched", code));
            return Self { salt, key };
        };
        let mut key = Zeroizing::new([0; 32]);
        let parameters = argon2::Params::new(memory_kib, passes, 1, Some(key.len()))
            .expect("the costs of the table are within Argon2's limits");
        let (algorithm, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
        argon2::Argon2::new(algorithm, version, parameters)
            .hash_password_into(code, &salt.bytes, &mut *key)
            .expect("codes, a salt and a key of 32 bytes are within Argon2's limits");
        Self { salt, key }
    }

    /// Tells this code from others.
    pub(crate) fn verifier(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(prf(&self.key, "strongroom/v1 rehearsal", &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::{Salt, Stretched};
    use crate::Ksf;

    #[test]
    fn the_verifier_depends_on_code_salt_and_set() {
        let salt = Salt::draw(Ksf::Argon2idM19T2);
        let one = Stretched::new(b"code", salt);
        let again = Stretched::new(b"code", salt);
        assert_eq!(*one.verifier(), *again.verifier());
        for other in [
            Stretched::new(b"cod", salt),
            Stretched::new(b"code", Salt::draw(salt.ksf)),
            Stretched::new(
                b"code",
                Salt {
                    ksf: Ksf::DangerIdentity,
                    ..salt
                },
            ),
        ] {
            assert_ne!(*one.verifier(), *other.verifier());
        }
    }
}
