//! The SDK: register, recover and manage a backup key in a Strongroom fleet (DESIGN §12).
//!
//! [`session`] is the protocol without IO; [`Vault`] drives it over HTTPS. Every answer is checked
//! against the fleet that [`Roots`] pin. Whatever must survive a crash (an unfinished registration,
//! a finish or a change not yet answered) is in the [`journal`] before it is sent.
//!
//! Trusted: this code, on its user's device. The server is not.
//!
//! What an app does, from the first start to a new phone:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use strongroom_client::code::{Parsed, RecoveryCode};
//! use strongroom_client::tokens::TokenSource;
//! use strongroom_client::transport::Http;
//! use strongroom_client::wire::manifest::PlatformClass;
//! use strongroom_client::wire::{FleetId, Slot};
//! use strongroom_client::{Error, FileJournal, NewCode, Os, Roots, Vault};
//!
//! const SLOT: Slot = Slot(0);
//!
//! /// Built into the app: which fleet, and the least it accepts of one.
//! fn roots() -> Roots {
//!     Roots {
//!         fleet: FleetId([0x5a; 32]),
//!         attempts_max: 10,
//!         members_min: 5,
//!         rollback_tolerance_min: 2,
//!         class_min: PlatformClass::Isolating,
//!     }
//! }
//!
//! /// `tokens` asks the app's own server for the signed-in user's tokens.
//! async fn connect<S: TokenSource>(tokens: S, data: &Path) -> Result<Vault<S>, Error> {
//!     let journal = Arc::new(FileJournal::open(&data.join("vault"))?);
//!     let http = Http::new("https://vault.example", None)?;
//!     let vault = Vault::connect(http, &roots(), tokens, journal).await?;
//!     // What the last run sent and had no answer to. A code shown then may count only now.
//!     vault.finish_pending().await?;
//!     for settled in vault.take_settled() {
//!         println!("slot {}: {}", settled.slot, settled.outcome);
//!     }
//!     Ok(vault)
//! }
//!
//! /// Turns backups on. The code is on the screen before it is sent: a lost answer must not leave
//! /// a record under a code that nobody saw.
//! async fn turn_on<S: TokenSource>(vault: &Vault<S>) -> Result<(), Error> {
//!     let code = RecoveryCode::generate(&Os);
//!     println!("{} counts as soon as it is confirmed", *code.grouped());
//!     let letters = code.expose();
//!     // Drawn just now: it cannot be the code that guessing destroyed a key under.
//!     let new = NewCode::new(letters.as_bytes()).confirmed_different();
//!     let registered = vault.register(new, b"", SLOT, None).await?;
//!     // Encrypt backups to the age identity of this secret, or give restic the password.
//!     let _secret = registered.keys.age_secret();
//!     let _password = registered.keys.repository_password();
//!     println!("confirmed");
//!     Ok(())
//! }
//!
//! /// On a new phone: the code as typed. False: ask the user to look at it again.
//! async fn restore<S: TokenSource>(vault: &Vault<S>, typed: &str) -> Result<bool, Error> {
//!     let code = match RecoveryCode::parse(typed) {
//!         Ok(Parsed::Exact(code) | Parsed::Corrected(code, _)) => code,
//!         // Three letters seem wrong: show them before a guess is spent.
//!         Ok(Parsed::Suggestion(..)) | Err(_) => return Ok(false),
//!     };
//!     match vault.recover(code.expose().as_bytes(), SLOT).await {
//!         Ok(recovered) => {
//!             let _secret = recovered.keys.age_secret();
//!             Ok(true)
//!         }
//!         Err(Error::WrongCode { attempts_left, .. }) => {
//!             println!("wrong code, {attempts_left} attempts are left");
//!             Ok(false)
//!         }
//!         // Its text is for the user. After a failure of the network the same call with the same
//!         // code goes on with the same guess.
//!         Err(error) => Err(error),
//!     }
//! }
//!
//! /// At each backup: the keys are on this device, and nobody guessed meanwhile.
//! async fn back_up<S: TokenSource>(vault: &Vault<S>) -> Result<(), Error> {
//!     if let Some(keys) = vault.device(SLOT).keys()? {
//!         let report = vault.status(SLOT, Some(&keys)).await?;
//!         println!("{} guesses ever, {} left", report.totals.starts, report.attempts_left);
//!         let _recipient = keys.age_secret();
//!     }
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

pub mod code;
pub mod device;
pub mod digits;
pub mod issuer;
pub mod journal;
pub mod roots;
pub mod session;
mod stretched;
pub mod tokens;
pub mod transport;
pub mod vault;
pub mod weak;

pub use device::{Device, Keeping, Rehearsal};
pub use journal::{FileJournal, Journal, MemoryJournal};
pub use roots::{BundleError, Fleet, Roots};
pub use strongroom_crypto::ksf::Ksf;
pub use strongroom_wire as wire;
pub use tokens::{TokenSource, Tokens};
pub use vault::{BackupKeys, Error, NewCode, Outcome, Recovered, Registered, Settled, Vault};

/// The operating system's randomness.
pub struct Os;

impl strongroom_crypto::random::Entropy for Os {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random bytes");
    }
}
