//! Standard Base64 with padding (RFC 4648 §4), one encoding for each byte string.

use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding as _};

/// Encodes bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Decodes text that is exactly what [`encode`] gives for the result.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = Base64::decode_vec(text).ok()?;
    (encode(&bytes) == text).then_some(bytes)
}

/// Decodes text of exactly 32 bytes: a hash.
pub(crate) fn decode_hash(text: &str) -> Option<[u8; 32]> {
    // 44 letters; nothing longer is decoded to be measured.
    if text.len() != 44 {
        return None;
    }
    decode(text)?.try_into().ok()
}

/// Reads a decimal number without sign or leading zeros, as C2SP writes sizes and indices.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if !digits || leading_zero {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{decimal, decode, decode_hash, encode};

    #[test]
    fn every_byte_string_has_one_encoding() {
        assert_eq!(decode("").as_deref(), Some(&[][..]));
        assert_eq!(decode("AAE=").as_deref(), Some(&[0, 1][..]));
        for other in [
            "AAF=", "AAE", "AAE==", " AAE=", "AAE=\n", "A-_=", "AAE=AAE=",
        ] {
            assert_eq!(decode(other), None, "{other:?}");
        }
        assert_eq!(decode_hash(&encode(&[7; 32])), Some([7; 32]));
        assert_eq!(decode_hash(&encode(&[7; 31])), None);
        assert_eq!(decode_hash(&encode(&[7; 33])), None);
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for other in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "18446744073709551616",
            "x",
        ] {
            assert_eq!(decimal(other), None, "{other:?}");
        }
    }
}
