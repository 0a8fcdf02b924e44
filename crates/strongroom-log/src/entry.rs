//! What a log of Strongroom holds: manifests, transcripts of ceremonies, image releases.
//!
//! An entry is the canonical CBOR of [`Entry`] ([`strongroom_wire::codec`]), at most
//! [`ENTRY_BYTES_MAX`] bytes. A verifier that has a manifest and its signatures makes the entry
//! again and hashes it; nothing else of the log is needed. What may follow what is the auditor's
//! business (`registry`, with the feature `auditor`).

use crate::tiles::ENTRY_BYTES_MAX;
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};
pub use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::{Digest, FleetId, Malformed, UnixMs, decode, encode};

/// Longest version of a release, bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    /// A fleet's manifest with everybody's signature but the auditor's, which is the log's.
    #[n(0)]
    Manifest(#[n(0)] SignedManifest),
    /// What everybody could see of a ceremony.
    #[n(1)]
    Transcript(#[n(0)] Transcript),
    /// An image that may run inside.
    #[n(2)]
    Release(#[n(0)] Release),
}

/// A ceremony's public inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transcript {
    /// The fleet.
    #[n(0)]
    pub fleet: FleetId,
    /// Epoch of the manifest that came out.
    #[n(1)]
    pub epoch: u64,
    /// The signed transcript, in a form of its own.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub transcript: Vec<u8>,
}

/// An image release.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Release {
    /// What a platform measures of the image.
    #[n(0)]
    pub measurement: Digest,
    /// Its version, 1 to [`VERSION_BYTES_MAX`] visible ASCII characters.
    #[n(1)]
    pub version: String,
    /// When it was released.
    #[n(2)]
    pub date: UnixMs,
}

impl Entry {
    /// The bytes that are logged.
    ///
    /// # Errors
    /// [`Malformed::OutOfBounds`] if a log could not hold them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let bytes = encode(self);
        match bytes.len() <= ENTRY_BYTES_MAX {
            true => Ok(bytes),
            false => Err(Malformed::OutOfBounds),
        }
    }

    /// Reads an entry. Says nothing about signatures.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Malformed::OutOfBounds);
        }
        let entry: Self = decode(bytes)?;
        if let Self::Release(release) = &entry {
            let visible = release.version.bytes().all(|byte| byte.is_ascii_graphic());
            let fits = (1..=VERSION_BYTES_MAX).contains(&release.version.len());
            if !visible || !fits {
                return Err(Malformed::OutOfBounds);
            }
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Release, SignedManifest, Transcript};
    use alloc::string::String;
    use alloc::vec;
    use strongroom_wire::entry::OfficerSignature;
    use strongroom_wire::{Digest, FleetId, Malformed, PublicKey, Signature, UnixMs};

    fn all() -> [Entry; 3] {
        let officer = OfficerSignature {
            officer: PublicKey([3; 32]),
            signature: Signature([4; 64]),
        };
        [
            Entry::Manifest(SignedManifest {
                manifest: vec![1, 2],
                operator: Signature([2; 64]),
                officers: vec![officer],
            }),
            Entry::Transcript(Transcript {
                fleet: FleetId([5; 32]),
                epoch: 6,
                transcript: vec![7],
            }),
            Entry::Release(Release {
                measurement: Digest([8; 32]),
                version: String::from("1.0.0"),
                date: UnixMs(9),
            }),
        ]
    }

    #[test]
    fn entries_come_back_from_their_bytes() {
        for entry in all() {
            let bytes = entry.to_bytes().unwrap();
            assert_eq!(Entry::parse(&bytes), Ok(entry));
            assert!(Entry::parse(&bytes[1..]).is_err());
            let longer = [&bytes[..], &[0]].concat();
            assert!(Entry::parse(&longer).is_err());
        }
    }

    /// What stands first: `[kind, [fields]]`. A kind never changes its number.
    #[test]
    fn the_first_bytes_are_what_they_always_were() {
        let heads = all().map(|entry| entry.to_bytes().unwrap()[..6].to_vec());
        assert_eq!(heads[0], [0x82, 0, 0x81, 0x83, 0x42, 1]);
        assert_eq!(heads[1], [0x82, 1, 0x81, 0x83, 0x58, 0x20]);
        assert_eq!(heads[2], [0x82, 2, 0x81, 0x83, 0x58, 0x20]);
    }

    #[test]
    fn versions_are_short_and_visible() {
        for version in ["", "1 0", "1\n", "ä", &"1".repeat(65)] {
            let release = Release {
                measurement: Digest([8; 32]),
                version: String::from(version),
                date: UnixMs(9),
            };
            let bytes = Entry::Release(release).to_bytes().unwrap();
            assert_eq!(
                Entry::parse(&bytes),
                Err(Malformed::OutOfBounds),
                "{version}"
            );
        }
    }

    #[test]
    fn what_no_log_holds_is_refused() {
        let entry = Entry::Transcript(Transcript {
            fleet: FleetId([5; 32]),
            epoch: 6,
            transcript: vec![7; 65_535],
        });
        assert_eq!(entry.to_bytes(), Err(Malformed::OutOfBounds));
    }
}
