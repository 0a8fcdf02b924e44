//! States as bytes: one write to a hasher instead of three hundred, and an order.

/// A state as bytes, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes {
    bytes: [u8; 384],
    len: usize,
}

impl Default for Bytes {
    fn default() -> Self {
        let bytes = [0; 384];
        Self { bytes, len: 0 }
    }
}

impl Bytes {
    /// One more.
    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Four more.
    pub(crate) fn word(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.push(byte);
        }
    }

    /// All of them.
    pub(crate) fn taken(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
