//! The JSON (RFC 8259) that a token may hold: one object, strictly.
//!
//! Strings are given as they stand; those with escapes are well-formed JSON but readable to nobody
//! (a value that we read must not have two spellings). Numbers are whole and below 2^53. Depth is
//! bounded by recursion over [`DEPTH_MAX`]. Duplicate names are refused at every level.

use super::TokenError;
use alloc::vec::Vec;

/// Objects and arrays inside each other, at most.
const DEPTH_MAX: usize = 4;
/// Numbers that every JSON reader agrees on.
const NUMBER_MAX: u64 = 1 << 53;

/// A value, as far as a token's reader needs it.
pub(super) enum Value<'a> {
    /// A string without escapes.
    Text(&'a str),
    /// A whole number.
    Number(u64),
    /// An object's bytes, checked.
    Object(&'a [u8]),
    /// Anything else, checked.
    Other,
}

/// Reads bytes one after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads one object that is all of `bytes`; calls `each` for every member in order.
    pub(super) fn object(
        bytes: &'a [u8],
        mut each: impl FnMut(&'a str, Value<'a>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        core::str::from_utf8(bytes).map_err(|_| TokenError::Json)?;
        let mut reader = Self { rest: bytes };
        reader.members(DEPTH_MAX, &mut each)?;
        reader.space();
        if reader.rest.is_empty() {
            Ok(())
        } else {
            Err(TokenError::Json)
        }
    }

    fn members(
        &mut self,
        depth: usize,
        each: &mut dyn FnMut(&'a str, Value<'a>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let mut names: Vec<&str> = Vec::new();
        self.expect(b'{')?;
        if self.skip(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let name = self.text()?.ok_or(TokenError::Json)?;
            if names.contains(&name) {
                return Err(TokenError::Json);
            }
            names.push(name);
            self.expect(b':')?;
            let value = self.value(depth)?;
            each(name, value)?;
            if self.skip(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, TokenError> {
        self.space();
        // One level is the object or array that holds this value.
        let depth_below = depth.checked_sub(1).ok_or(TokenError::Json)?;
        let before = self.rest;
        match before.first().ok_or(TokenError::Json)? {
            // Empty ones count too, though they hold no value that could be too deep.
            b'{' | b'[' if depth_below == 0 => Err(TokenError::Json),
            b'"' => Ok(self.text()?.map_or(Value::Other, Value::Text)),
            b'0'..=b'9' => self.number().map(Value::Number),
            b'{' => {
                self.members(depth_below, &mut |_, _| Ok(()))?;
                let length = before.len() - self.rest.len();
                Ok(Value::Object(before.get(..length).ok_or(TokenError::Json)?))
            }
            b'[' => self.array(depth_below),
            _ => self.word(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, TokenError> {
        self.expect(b'[')?;
        if self.skip(b']') {
            return Ok(Value::Other);
        }
        loop {
            self.value(depth)?;
            if self.skip(b']') {
                return Ok(Value::Other);
            }
            self.expect(b',')?;
        }
    }

    fn word(&mut self) -> Result<Value<'a>, TokenError> {
        for word in [&b"true"[..], b"false", b"null"] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(Value::Other);
            }
        }
        Err(TokenError::Json)
    }

    /// A whole number without leading zeros; fractions, exponents and signs are refused.
    fn number(&mut self) -> Result<u64, TokenError> {
        let digits = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (number, rest) = self.rest.split_at_checked(digits).ok_or(TokenError::Json)?;
        if (number.first() == Some(&b'0') && digits > 1) || digits > 16 {
            return Err(TokenError::Json);
        }
        if matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return Err(TokenError::Json);
        }
        self.rest = rest;
        let value = number
            .iter()
            .fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if value < NUMBER_MAX {
            Ok(value)
        } else {
            Err(TokenError::Json)
        }
    }

    /// A string; `None` if it has escapes (which are checked all the same).
    fn text(&mut self) -> Result<Option<&'a str>, TokenError> {
        let body = self.rest.strip_prefix(b"\"").ok_or(TokenError::Json)?;
        let (mut at, mut escaped) = (0, false);
        loop {
            match *body.get(at).ok_or(TokenError::Json)? {
                b'"' => break,
                0..=0x1f => return Err(TokenError::Json),
                b'\\' => {
                    escaped = true;
                    at += escape_length(body.get(at + 1..).unwrap_or_default())?;
                }
                _ => at += 1,
            }
        }
        let (text, rest) = body.split_at_checked(at).ok_or(TokenError::Json)?;
        self.rest = rest.get(1..).unwrap_or_default();
        if escaped {
            return Ok(None);
        }
        core::str::from_utf8(text)
            .map(Some)
            .map_err(|_| TokenError::Json)
    }

    fn space(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        self.space();
        let Some(rest) = self.rest.strip_prefix(&[byte]) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn expect(&mut self, byte: u8) -> Result<(), TokenError> {
        if self.skip(byte) {
            Ok(())
        } else {
            Err(TokenError::Json)
        }
    }
}

/// Length of an escape, its backslash included.
fn escape_length(after: &[u8]) -> Result<usize, TokenError> {
    match after.first() {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => {
            let digits = after.get(1..5).ok_or(TokenError::Json)?;
            let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
            if hexadecimal {
                Ok(6)
            } else {
                Err(TokenError::Json)
            }
        }
        _ => Err(TokenError::Json),
    }
}

#[cfg(test)]
mod tests;
