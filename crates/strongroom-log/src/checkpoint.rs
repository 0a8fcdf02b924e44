//! Checkpoints (C2SP tlog-checkpoint): the text of a note that says what a log's tree is.
//!
//! ```text
//! ORIGIN
//! SIZE, decimal
//! base64(ROOT HASH)
//! EXTENSION, none in ours; any number of lines, opaque
//! ```
//!
//! A [`Checkpoint`] is what somebody wrote. Who vouches for it is [`crate::policy`]'s business.

use crate::base64;
use crate::merkle::{Hash, SIZE_MAX, empty_root};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// Why a text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// A tree without entries has the hash of nothing, and this one has another.
    EmptyRoot,
    /// An empty extension line, or one with control characters.
    Extension,
    /// Fewer than three lines, or no newline at the end.
    Lines,
    /// The origin is empty or has control characters.
    Origin,
    /// The root is not 32 bytes in Base64.
    Root,
    /// The size is not a decimal number up to 2⁶³ − 1 in its one form.
    Size,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyRoot => "the root of an empty tree is the hash of nothing",
            Self::Extension => "an extension line of a checkpoint is not empty",
            Self::Lines => "a checkpoint has three lines: origin, size, root",
            Self::Origin => "a checkpoint's origin is a line that is not empty",
            Self::Root => "a checkpoint's root is 32 bytes in Base64",
            Self::Size => "a checkpoint's size is a decimal number without leading zeros",
        })
    }
}

impl core::error::Error for CheckpointError {}

/// A tree: whose, how many entries, and its root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`], [`CheckpointError::Size`], [`CheckpointError::EmptyRoot`].
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        if !is_line(origin) {
            return Err(CheckpointError::Origin);
        }
        if size > SIZE_MAX {
            return Err(CheckpointError::Size);
        }
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self {
            origin: origin.to_string(),
            size,
            root,
            extensions: Vec::new(),
        })
    }

    /// Reads the text of a note, its last newline included.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        let size = base64::decimal(size).ok_or(CheckpointError::Size)?;
        let root = base64::decode_hash(root).ok_or(CheckpointError::Root)?;
        let mut checkpoint = Self::new(origin, size, root)?;
        for line in lines {
            if !is_line(line) {
                return Err(CheckpointError::Extension);
            }
            checkpoint.extensions.push(line.to_string());
        }
        Ok(checkpoint)
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Merkle tree hash of them.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Lines that the log added, without meaning here.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

/// The text that [`Checkpoint::parse`] reads.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = base64::encode(&self.root);
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte >= 0x20)
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointError};
    use crate::merkle::empty_root;
    use alloc::format;
    use alloc::string::ToString as _;

    /// The example of the specification.
    const SPEC: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let checkpoint = Checkpoint::parse(SPEC).unwrap();
        assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size(), 20_852_163);
        assert_eq!(checkpoint.to_string(), SPEC);
        let extended = format!("{SPEC}one\ntwo \n");
        let checkpoint = Checkpoint::parse(&extended).unwrap();
        assert_eq!(checkpoint.extensions().len(), 2);
        assert_eq!(checkpoint.to_string(), extended);
    }

    #[test]
    fn the_empty_tree_has_one_root() {
        let empty = Checkpoint::new("o", 0, empty_root()).unwrap();
        assert_eq!(Checkpoint::parse(&empty.to_string()), Ok(empty));
        assert_eq!(
            Checkpoint::new("o", 0, [0; 32]),
            Err(CheckpointError::EmptyRoot)
        );
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        use CheckpointError::{Extension, Lines, Origin, Root, Size};
        let spec = |from: &str, to: &str| SPEC.replacen(from, to, 1);
        let cases = [
            ("".to_string(), Lines),
            ("\n".to_string(), Lines),
            ("a\n1\n".to_string(), Lines),
            (SPEC.trim_end().to_string(), Lines),
            (spec("example.com/behind-the-sofa", ""), Origin),
            (spec("behind", "be\thind"), Origin),
            (spec("20852163", "020852163"), Size),
            (spec("20852163", "+20852163"), Size),
            (spec("20852163", ""), Size),
            (spec("20852163", "9223372036854775808"), Size),
            (spec("q2I=", "q2J="), Root),
            (spec("q2I=", "q2I"), Root),
            (spec("q2I=", "q2I= "), Root),
            (spec("CsUY", "CsUYCsUY"), Root),
            (format!("{SPEC}\n"), Extension),
            (format!("{SPEC}a\n\nb\n"), Extension),
        ];
        for (text, error) in cases {
            assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
        }
        assert!(Checkpoint::parse(&spec("20852163", "9223372036854775807")).is_ok());
    }
}
