//! Values made from bytes: proptest shrinks the bytes, and so the value.

use strongroom_wire::ids::{
    AttemptId, CellId, Digest, Epoch, FleetId, Generation, Handle, Incarnation, KeyEpoch, KeyId,
    LogIndex, MemberId, OpId, ProcessId, PublicKey, RecordId, Signature, Slot, TenantKey, UnixMs,
};

/// Bytes to make values from; zeros once it is empty.
pub struct Source<'a> {
    bytes: &'a [u8],
    later: bool,
}

impl<'a> Source<'a> {
    /// Of all that there is.
    pub fn new(bytes: &'a [u8]) -> Self {
        let later = true;
        Self { bytes, later }
    }

    /// Without the fields and kinds that came when members could be changed: what was a message
    /// before is the same message now, byte by byte.
    pub fn before_changes(bytes: &'a [u8]) -> Self {
        let later = false;
        Self { bytes, later }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// A field that came with changes of members.
    pub fn later<T: Sample>(&mut self) -> Option<T> {
        self.later.then(|| Sample::sample(self)).flatten()
    }

    /// Whether there is all that came with changes of members.
    pub fn has_later(&self) -> bool {
        self.later
    }

    /// A number of any magnitude, so that each length of its encoding comes up.
    fn number(&mut self) -> u64 {
        let keep = u32::from(self.byte() % 9) * 8;
        let number = (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()));
        number.checked_shr(64 - keep).unwrap_or(0)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }
}

/// What can be made from bytes.
pub trait Sample: Sized {
    fn sample(source: &mut Source<'_>) -> Self;
}

impl Sample for bool {
    fn sample(source: &mut Source<'_>) -> Self {
        source.below(2) == 1
    }
}

impl<const N: usize> Sample for [u8; N] {
    fn sample(source: &mut Source<'_>) -> Self {
        core::array::from_fn(|_| source.byte())
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        (source.below(2) == 1).then(|| T::sample(source))
    }
}

/// 25 is beyond what a head of one byte can count.
impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        let length = [0, 1, 3, 25][source.below(4)];
        (0..length).map(|_| T::sample(source)).collect()
    }
}

impl Sample for String {
    fn sample(source: &mut Source<'_>) -> Self {
        let length = [0, 5, 24][source.below(3)];
        let letters = ['a', '0', '"', '\u{0}', 'ß', '語', '\u{1f511}', '.'];
        (0..length).map(|_| letters[source.below(8)]).collect()
    }
}

/// Numbers, by their lowest bytes.
macro_rules! sample_numbers {
    ($($number:ty),*) => {$(
        impl Sample for $number {
            fn sample(source: &mut Source<'_>) -> Self {
                (source.number() & u64::from(Self::MAX)) as Self
            }
        }
    )*};
}

/// Newtypes.
macro_rules! sample_ids {
    ($($id:ident),*) => {$(
        impl Sample for $id {
            fn sample(source: &mut Source<'_>) -> Self {
                Self(Sample::sample(source))
            }
        }
    )*};
}

sample_numbers!(u8, u16, u32, u64);
sample_ids!(
    Digest, FleetId, RecordId, TenantKey, OpId, AttemptId, ProcessId, PublicKey, Signature
);
sample_ids!(
    CellId,
    Incarnation,
    Epoch,
    LogIndex,
    KeyId,
    KeyEpoch,
    Generation,
    MemberId,
    Slot
);
sample_ids!(UnixMs, Handle);
