//! GF(32) = GF(2)[x] / (x⁵ + x² + 1), α = x.

/// Sum (and difference).
pub(super) fn add(a: u8, b: u8) -> u8 {
    a ^ b
}

/// Product.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut shifted) = (0, a);
    for bit in 0..5 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 32 != 0 {
            shifted ^= 0b10_0101;
        }
    }
    product
}

/// αⁿ.
pub(super) fn power(n: usize) -> u8 {
    (0..n % 31).fold(1, |value, _| multiply(value, 2))
}

/// Quotient; `b` is not zero. b⁻¹ = b³⁰.
pub(super) fn divide(a: u8, b: u8) -> u8 {
    (0..30).fold(a, |value, _| multiply(value, b))
}
