//! What the vault needs of the machine it runs in (DESIGN §8): the only seam to the outside.

use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::SealingKey;
use strongroom_wire::UnixMs;
use strongroom_wire::entry::Anchor;
use strongroom_wire::manifest::PlatformClass;

/// What a platform keeps for the vault, sealed by the vault itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blob {
    /// Keys made for a genesis that has not happened.
    Draft,
    /// The identity and the fleet secret of a member.
    Member,
}

/// The platform could not do its part; the device stops rather than guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformFault {
    /// The anchor is not what the caller thinks it is.
    AnchorMoved,
    /// What is stored is damaged.
    Corrupt,
    /// Reading or writing failed.
    Io,
}

/// Randomness, a sealing key, clocks and the anchor.
pub trait Platform: Entropy + Send + Sync {
    /// `software`, `tpm2`, `pkcs11`, `nitro`, ...
    fn name(&self) -> &'static str;

    /// What root on this machine gets.
    fn class(&self) -> PlatformClass;

    /// The wall clock. May be wrong; nothing but delays depends on it.
    fn wall_clock(&self) -> UnixMs;

    /// Milliseconds since some start; never goes back while the process lives.
    fn monotonic_ms(&self) -> u64;

    /// A key bound to this device (and image, where the platform can).
    fn sealing_key(&self) -> SealingKey;

    /// What was stored last, or nothing if nothing ever was.
    ///
    /// # Errors
    /// [`PlatformFault`], where it was stored and cannot be read.
    fn load(&self, blob: Blob) -> Result<Option<alloc::vec::Vec<u8>>, PlatformFault>;

    /// Replaces a blob; durable and atomic before it returns.
    ///
    /// # Errors
    /// [`PlatformFault`]; the old blob then still stands.
    fn store(&self, blob: Blob, bytes: &[u8]) -> Result<(), PlatformFault>;

    /// Forgets a blob; no error if there is none.
    ///
    /// # Errors
    /// [`PlatformFault`]; the blob then may still stand.
    fn erase(&self, blob: Blob) -> Result<(), PlatformFault>;

    /// The anchor.
    ///
    /// # Errors
    /// [`PlatformFault::Corrupt`] if there was one and it cannot be read.
    fn anchor(&self) -> Result<Option<Anchor>, PlatformFault>;

    /// Moves the anchor from `old` to `new`; durable before it returns.
    ///
    /// # Errors
    /// [`PlatformFault::AnchorMoved`] if it is not at `old`; the anchor then stays.
    fn swap_anchor(&self, old: Option<&Anchor>, new: &Anchor) -> Result<(), PlatformFault>;
}
