//! Looks for secrets where an operator looks: every byte the vault and the store keep, and all that
//! the host saw, in every common encoding.

use crate::output::{Failure, Kind};
use crate::sample::{SENTENCE, listing};
use std::path::PathBuf;
use strongroom_client::BackupKeys;
use strongroom_client::code::RecoveryCode;

/// Secrets, each under a name, in all encodings.
pub(crate) struct Needles(Vec<(&'static str, Vec<u8>)>);

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).flat_map(|three| {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift & 63) as usize])
    });
    groups.collect()
}

impl Needles {
    /// What nobody but the phone may know.
    pub(crate) fn of(code: &RecoveryCode, keys: &BackupKeys) -> Self {
        let device = keys.to_device_bytes();
        let age = keys.age_secret();
        let secrets = [
            ("the code", code.expose().as_bytes().to_vec()),
            ("the code in groups", code.grouped().as_bytes().to_vec()),
            ("the root", device[..32].to_vec()),
            ("the backup's age key", age.to_vec()),
            (
                "the repository password",
                keys.repository_password().as_bytes().to_vec(),
            ),
            ("a line of the backup", SENTENCE.as_bytes().to_vec()),
        ];
        let encoded = secrets.iter().flat_map(|(name, bytes)| {
            let hex = hex::encode(bytes);
            let encodings = [
                bytes.clone(),
                hex.to_uppercase().into_bytes(),
                hex.into_bytes(),
                base64(bytes),
            ];
            encodings.map(|needle| (*name, needle))
        });
        Self(encoded.collect())
    }

    /// Searches directories; an error names the first secret found. Also proves that it can find:
    /// an account token, which the host knows, must turn up in the host's recording.
    pub(crate) fn search(&self, tops: &[PathBuf]) -> Result<String, Failure> {
        let (mut files, mut bytes, mut control) = (0_u32, 0_u64, false);
        for top in tops {
            for path in listing(top)?.into_keys() {
                let path = top.join(path);
                if !path.is_file() {
                    continue;
                }
                let content = std::fs::read(&path)?;
                files += 1;
                bytes += content.len() as u64;
                // The beginning of every JWT: the host sees the admission tokens.
                control |= contains(&content, b"eyJ");
                if let Some((name, _)) = self.0.iter().find(|(_, n)| contains(&content, n)) {
                    let message = format!("{name} is in {}", path.display());
                    return Err(Failure::new(Kind::Fault, message));
                }
            }
        }
        if !control {
            let message = "the search finds nothing at all, not even the account tokens";
            return Err(Failure::new(Kind::Fault, message));
        }
        Ok(format!(
            "{files} files, {bytes} bytes of disk and traffic: no code, no key, no plaintext, in \
             no encoding"
        ))
    }
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else {
        return false;
    };
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{base64, contains};

    #[test]
    fn a_needle_is_found_wherever_it_lies() {
        assert!(contains(b"aab", b"ab") && contains(b"ab", b"ab") && contains(b"xaxabx", b"ab"));
        assert!(!contains(b"aaa", b"ab") && !contains(b"a", b"ab") && !contains(b"", b"ab"));
        assert_eq!(base64(b"Strong"), b"U3Ryb25n");
    }
}
