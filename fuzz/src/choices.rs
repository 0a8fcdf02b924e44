//! The fuzzer's bytes, taken one decision at a time. After their end every choice is 0.

/// A run of choices.
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Over these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all bytes are used.
    pub fn are_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % bound
    }

    /// Up to 65,535 bytes behind a length.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = self.below(1 << 16).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Changes a few bytes, in one input of four; else none.
    pub fn corrupt(&mut self, bytes: &mut Vec<u8>) {
        let changes = match self.byte() {
            0..192 => 0,
            more => usize::from(more % 3) + 1,
        };
        for _ in 0..changes {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.byte() {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, 0),
                other => bytes[at] ^= other,
            }
        }
    }
}
