//! Newtypes for every identifier, index and count, so that none can be taken for another.

use minicbor::{Decode, Encode};

/// Declares a public identifier of fixed size, printed in hexadecimal. A macro, because ten equal
/// impls by hand would hide the one that differs.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $size]);

        impl $name {
            /// Size in bytes.
            pub const SIZE: usize = $size;
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

/// Declares a counting newtype.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode,
        )]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $number);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

bytes_id!(
    /// A SHA-256 digest of canonical bytes under a label ([`crate::codec::digest`]).
    Digest,
    32
);
bytes_id!(
    /// The fleet: digest of its genesis manifest without signatures (DESIGN §9).
    FleetId,
    32
);
bytes_id!(
    /// The trie key of a record: PRF(fleet key, [issuer, sub, slot]). Keyed, so that a stolen disk
    /// lists nobody.
    RecordId,
    32
);
bytes_id!(
    /// The trie key of a tenant: PRF(fleet key, issuer) under another label.
    TenantKey,
    32
);
bytes_id!(
    /// One state-changing operation; the same on every retry (DESIGN §4, idempotence): 8 bytes of
    /// Unix milliseconds (big endian), 8 random. `Delete`, `Reset` and `CancelReset` are new only
    /// if greater than the greatest of them that their record ever accepted, so that none of them
    /// can be replayed after another.
    OpId,
    16
);
bytes_id!(
    /// One guess: 8 bytes of Unix milliseconds (big endian), 8 random. Ordered as bytes; new only
    /// if greater than the greatest its record ever accepted.
    AttemptId,
    16
);
bytes_id!(
    /// One start of one member's HSM: random, drawn then, never stored.
    ProcessId,
    16
);
bytes_id!(
    /// An Ed25519 public key (RFC 8032).
    PublicKey,
    32
);
bytes_id!(
    /// An Ed25519 signature (RFC 8032).
    Signature,
    64
);

number_id!(
    /// A range of record ids with its own chain. One cell, number 0, is built now.
    CellId,
    u16
);
number_id!(
    /// Raised by each resurrection (DESIGN §8); in every key, ticket, entry and AAD.
    Incarnation,
    u32
);
number_id!(
    /// A ballot: at most one leader, with one chain, per epoch (DESIGN §6).
    Epoch,
    u64
);
number_id!(
    /// The position of an entry in its cell's chain. The genesis is 0.
    LogIndex,
    u64
);
number_id!(
    /// Names one of the fleet's HPKE keys and the ticket key of the same age.
    KeyId,
    u32
);
number_id!(
    /// Names one record-sealing key.
    KeyEpoch,
    u32
);
number_id!(
    /// The index of the entry that registered a record; it never repeats.
    Generation,
    u64
);
number_id!(
    /// A member's slot in the manifest.
    MemberId,
    u8
);
number_id!(
    /// One of a user's records, below `slots_max`.
    Slot,
    u8
);
number_id!(
    /// Milliseconds since 1970-01-01 UTC.
    UnixMs,
    u64
);
number_id!(
    /// Names an operation that the HSM holds open for its host; chosen by the HSM, never reused.
    Handle,
    u64
);

/// Ids that begin with the time of their maker's clock.
macro_rules! timed_id {
    ($($name:ident)*) => {$(
        impl $name {
            /// The time part, as its maker's clock had it.
            pub fn time(&self) -> UnixMs {
                let mut time = [0; 8];
                time.copy_from_slice(&self.0[..8]);
                UnixMs(u64::from_be_bytes(time))
            }

            /// Makes an id from a time and 8 random bytes.
            pub fn new(time: UnixMs, random: [u8; 8]) -> Self {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&time.0.to_be_bytes());
                id[8..].copy_from_slice(&random);
                Self(id)
            }
        }
    )*};
}

timed_id!(AttemptId OpId);

impl Digest {
    /// The first 16 bytes: enough to tell two values apart where nobody gains by a collision with
    /// himself.
    pub fn half(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        half
    }
}

impl UnixMs {
    /// This time plus a duration; saturates at the end of time rather than wrap.
    #[must_use]
    pub const fn plus(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }
}

impl LogIndex {
    /// The index after this one.
    ///
    /// # Panics
    /// At 2^64 entries, which no chain reaches: our own counter, not input.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("2^64 entries are never written"),
        )
    }
}
