//! The SDK: register, recover and manage a backup key in a Strongroom fleet (DESIGN §12).
//!
//! [`session`] is the protocol without IO; [`Vault`] drives it over HTTPS. Every answer is checked
//! against the fleet that [`Roots`] pin. Whatever must survive a crash (an unfinished registration,
//! a finish not yet answered) is in the [`journal`] before it is sent.
//!
//! Trusted: this code, on its user's device. The server is not.
#![forbid(unsafe_code)]

pub mod code;
pub mod device;
pub mod digits;
pub mod issuer;
pub mod journal;
pub mod roots;
pub mod session;
pub mod tokens;
pub mod transport;
pub mod vault;
pub mod weak;

pub use device::{Device, Rehearsal};
pub use journal::{FileJournal, Journal, MemoryJournal};
pub use roots::{BundleError, Fleet, Roots};
pub use strongroom_crypto::ksf::Ksf;
pub use strongroom_wire as wire;
pub use tokens::{TokenSource, Tokens};
pub use vault::{BackupKeys, Error, Recovered, Registered, Vault};

/// The operating system's randomness.
pub struct Os;

impl strongroom_crypto::random::Entropy for Os {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random bytes");
    }
}
