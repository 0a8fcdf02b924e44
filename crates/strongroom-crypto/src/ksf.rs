//! The named key-stretching parameter sets: Argon2id (RFC 9106) on the client.
//!
//! A short table of names, not free numbers: its smallest entry is the floor and its largest the
//! ceiling, so a host can neither weaken a code nor exhaust a phone's memory. The name is in the
//! AAD of the wrapped secret.

/// A named parameter set. All have one lane and an output of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ksf {
    /// 64 MiB, 3 passes: the default; about half a second on a phone-class core.
    Argon2idM64T3,
    /// 128 MiB, 3 passes: for laptops and codes that people choose.
    Argon2idM128T3,
    /// 19 MiB, 2 passes: the floor, for browsers with little memory.
    Argon2idM19T2,
    /// No stretching. Tests and load generators only.
    #[cfg(feature = "danger_test_ksf")]
    DangerIdentity,
}

impl Ksf {
    /// Its code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Argon2idM64T3 => 1,
            Self::Argon2idM128T3 => 2,
            Self::Argon2idM19T2 => 3,
            #[cfg(feature = "danger_test_ksf")]
            Self::DangerIdentity => 255,
        }
    }

    /// The set of that code; none for a code outside the table.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Argon2idM64T3),
            2 => Some(Self::Argon2idM128T3),
            3 => Some(Self::Argon2idM19T2),
            #[cfg(feature = "danger_test_ksf")]
            255 => Some(Self::DangerIdentity),
            _ => None,
        }
    }

    /// Its name, as it stands in the AAD and the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Argon2idM64T3 => "argon2id-m64-t3-p1",
            Self::Argon2idM128T3 => "argon2id-m128-t3-p1",
            Self::Argon2idM19T2 => "argon2id-m19-t2-p1",
            #[cfg(feature = "danger_test_ksf")]
            Self::DangerIdentity => "danger-identity",
        }
    }

    /// Memory in KiB and passes; none for the set without stretching.
    pub const fn cost(self) -> Option<(u32, u32)> {
        match self {
            Self::Argon2idM64T3 => Some((64 * 1024, 3)),
            Self::Argon2idM128T3 => Some((128 * 1024, 3)),
            Self::Argon2idM19T2 => Some((19 * 1024, 2)),
            #[cfg(feature = "danger_test_ksf")]
            Self::DangerIdentity => None,
        }
    }
}
