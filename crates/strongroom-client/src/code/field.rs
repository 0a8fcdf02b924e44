//! GF(32) = GF(2)[x] / (x⁵ + x² + 1), α = x.

/// Sum (and difference).
pub(super) fn add(a: u8, b: u8) -> u8 {
    a ^ b
}

/// Product.
pub(super) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut shifted) = (0, a);
    let mut bit = 0;
    while bit < 5 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 32 != 0 {
            shifted ^= 0b10_0101;
        }
        bit += 1;
    }
    product
}

/// αⁿ. The exponents are positions and roots, which are no secret: a table may tell them.
pub(super) fn power(n: usize) -> u8 {
    POWERS[n % POWERS.len()]
}

const POWERS: [u8; 31] = {
    let mut powers = [1; 31];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = multiply(powers[n - 1], 2);
        n += 1;
    }
    powers
};

/// Quotient; `b` is not zero. b⁻¹ = b³⁰.
pub(super) fn divide(a: u8, b: u8) -> u8 {
    (0..30).fold(a, |value, _| multiply(value, b))
}
