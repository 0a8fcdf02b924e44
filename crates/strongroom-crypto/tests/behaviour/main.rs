//! What the crate promises, through its public surface only: what opens, and above all what does
//! not. Randomness is seeded, so a failure repeats.
#![allow(clippy::unwrap_used, missing_docs)]

mod channel;
mod golden;
mod kdf;
mod opaque;
mod seal;
mod statement;
mod wrap;

use std::cell::Cell;
use strongroom_crypto::hash::sha256;
use strongroom_crypto::random::Entropy;

/// SHA-256 in counter mode over a seed: different bytes at each draw, the same in each run.
struct Seeded(u64, Cell<u64>);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self(seed, Cell::new(0))
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let counter = self.1.replace(self.1.get() + 1);
            let block = sha256(&[&self.0.to_be_bytes(), &counter.to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// A machine snapshot's randomness: the same bytes at every draw.
struct Repeated(u8);

impl Entropy for Repeated {
    fn fill(&self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

/// A copy with one bit changed.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    copy[bit / 8] ^= 1 << (bit % 8);
    copy
}

/// Bits to flip: all of a short string, of a longer one every 13th and the last byte's.
fn bits(length: usize) -> impl Iterator<Item = usize> {
    let all = length * 8;
    (0..all).filter(move |bit| all <= 1024 || bit % 13 == 0 || bit + 8 >= all)
}
