//! Who can open a backup: an age X25519 identity made of 32 secret bytes (DESIGN §12).
//!
//! - The secret bytes are the age identity itself, so the stock `age` opens what we write.
//! - A device that only backs up needs the [`Recipient`] and never holds the secret.
//! - Whoever knows the recipient can *write* a snapshot: age does not tell who encrypted. The
//!   recipient is not published anywhere, but restoring treats archives as hostile all the same.

use crate::Error;
use bech32::{Bech32Writer, ToBase32, Variant};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// The human-readable part; the text form is all upper case.
const PREFIX: &str = "age-secret-key-";
/// The part, the separator, 52 digits for 32 bytes, 6 of checksum.
const TEXT_BYTES: usize = PREFIX.len() + 1 + 52 + 6;

/// The secret that opens backups; erased on drop, never printed by `Debug`.
pub struct Identity {
    secret: Zeroizing<[u8; 32]>,
    inner: age::x25519::Identity,
}

impl Identity {
    /// Makes the identity from 32 secret bytes; every value is a valid X25519 secret.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let text = encode(secret);
        // The writer put a right prefix, length and checksum just now.
        let inner = age::x25519::Identity::from_str(&text).expect("our own Bech32 is valid");
        Self {
            secret: Zeroizing::new(*secret),
            inner,
        }
    }

    /// Who to encrypt to.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.inner.to_public())
    }

    /// `AGE-SECRET-KEY-1…`, 74 bytes: a line of the file that `age --decrypt --identity` reads.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let mut text = encode(&self.secret);
        text.make_ascii_uppercase();
        text
    }

    /// The form that age takes. The copy erases itself as well.
    pub(crate) fn age(&self) -> age::x25519::Identity {
        self.inner.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The public half of an [`Identity`]: what a snapshot is encrypted to.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    pub(crate) fn age(&self) -> &age::x25519::Recipient {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| Error::BadRecipient)
    }
}

/// Lower-case Bech32 without an intermediate buffer that nobody erases.
fn encode(secret: &[u8; 32]) -> Zeroizing<String> {
    /// Grows never: a reallocation would leave a copy behind.
    struct Text(Zeroizing<String>);
    impl fmt::Write for Text {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            if self.0.len() + piece.len() > self.0.capacity() {
                return Err(fmt::Error);
            }
            self.0.push_str(piece);
            Ok(())
        }
    }
    let mut text = Text(Zeroizing::new(String::with_capacity(TEXT_BYTES)));
    let mut writer = Bech32Writer::new(PREFIX, Variant::Bech32, &mut text).expect("it fits");
    let mut copy = *secret;
    copy.write_base32(&mut writer).expect("it fits");
    writer.finalize().expect("it fits");
    copy.zeroize();
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_age_itself_writes() {
        use age::secrecy::ExposeSecret;
        for byte in [0, 1, 0x42, 0xff] {
            let identity = Identity::from_secret(&[byte; 32]);
            let text = identity.to_secret_string();
            assert_eq!(text.len(), TEXT_BYTES);
            assert_eq!(*text, identity.age().to_string().expose_secret());
        }
    }

    #[test]
    fn the_recipient_survives_its_text() {
        let recipient = Identity::from_secret(&[7; 32]).recipient().to_string();
        let again: Recipient = recipient.parse().unwrap();
        assert_eq!(again.to_string(), recipient);
        assert!(recipient.starts_with("age1"));
        assert!(matches!(
            "age1nonsense".parse::<Recipient>(),
            Err(Error::BadRecipient)
        ));
    }

    #[test]
    fn a_printed_identity_shows_nothing() {
        assert_eq!(
            format!("{:?}", Identity::from_secret(&[7; 32])),
            "Identity(..)"
        );
    }
}
