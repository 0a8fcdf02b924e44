//! Where randomness comes from: the platform, through one trait.
//!
//! A machine snapshot repeats randomness. So nothing relies on it alone where a repeated value
//! under a shared key would leak: see the hedged nonces in [`crate::seal`] and [`crate::channel`].

use core::convert::Infallible;

/// A source of random bytes. Infallible: a platform without randomness stops.
pub trait Entropy {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

impl<E: Entropy + ?Sized> Entropy for &E {
    fn fill(&self, out: &mut [u8]) {
        (**self).fill(out);
    }
}

/// [`Entropy`] for libraries of both generations of the random-number traits.
pub struct Draw<'a, E: ?Sized>(pub &'a E);

impl<E: Entropy + ?Sized> rand_core::TryRng for Draw<'_, E> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl<E: Entropy + ?Sized> rand_core::TryCryptoRng for Draw<'_, E> {}

/// [`Entropy`] for opaque-ke.
pub struct DrawOpaque<'a, E: ?Sized>(pub &'a E);

impl<E: Entropy + ?Sized> opaque_ke::rand::RngCore for DrawOpaque<'_, E> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), opaque_ke::rand::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl<E: Entropy + ?Sized> opaque_ke::rand::CryptoRng for DrawOpaque<'_, E> {}
