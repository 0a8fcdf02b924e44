//! One entry of a foreign archive: its header and extensions, joined and checked.
//!
//! What an attacker controls: every byte. Names and extensions take at most 1 MiB of memory.

use crate::header::{BLOCK, END_BYTES, Time, modified_in};
use crate::{Error, Refusal};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{EntryType, Header};

/// The longest name or PAX record; Linux takes paths of 4 KiB.
const EXTENSION_MAX: u64 = 1 << 20;

/// What the extensions before an entry say about it.
#[derive(Default)]
pub(crate) struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    modified: Option<Time>,
}

/// An entry with its extensions applied and its path checked.
pub(crate) struct Item {
    /// Relative, without `.` and `..`; empty for the top directory.
    pub(crate) path: PathBuf,
    pub(crate) kind: EntryType,
    /// Target of a link as it stands there, else empty.
    pub(crate) link: Vec<u8>,
    /// The lowest twelve bits.
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) modified: Time,
    pub(crate) size: u64,
}

impl Extensions {
    /// Takes an entry that describes the next one. False if this is a real entry.
    pub(crate) fn take(&mut self, header: &Header, content: &mut impl Read) -> Result<bool, Error> {
        let kind = header.entry_type();
        let hostile = |rule| hostile(&header.path_bytes(), rule);
        if kind == EntryType::XGlobalHeader {
            return Err(hostile(Refusal::Extension));
        }
        if !matches!(
            kind,
            EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
        ) {
            return Ok(false);
        }
        let size = header.entry_size().map_err(Error::Damaged)?;
        if size > EXTENSION_MAX {
            return Err(hostile(Refusal::TooLong));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(Error::Damaged)?;
        if bytes.len() as u64 != size {
            return Err(damaged("it ends within a name"));
        }
        let name = bytes.strip_suffix(&[0]).unwrap_or(&bytes).to_vec();
        let repeated = match kind {
            EntryType::GNULongName => self.path.replace(name).is_some(),
            EntryType::GNULongLink => self.link.replace(name).is_some(),
            _ => match modified_in(&bytes).map_err(hostile)? {
                Some(time) => self.modified.replace(time).is_some(),
                None => false,
            },
        };
        if repeated {
            return Err(hostile(Refusal::Extension));
        }
        Ok(true)
    }

    /// Nothing waits for its entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.modified.is_none()
    }

    /// Joins the extensions to their entry.
    pub(crate) fn join(self, header: &Header) -> Result<Item, Error> {
        let path = self
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let short = || header.link_name_bytes().unwrap_or_default().into_owned();
        let modified = match self.modified {
            Some(time) => time,
            None => whole_seconds(header).ok_or_else(|| hostile(&path, Refusal::BadTime))?,
        };
        Ok(Item {
            kind: header.entry_type(),
            link: self.link.unwrap_or_else(short),
            mode: header.mode().map_err(Error::Damaged)? & 0o7777,
            owner: (
                header.uid().map_err(Error::Damaged)?,
                header.gid().map_err(Error::Damaged)?,
            ),
            modified,
            size: header.entry_size().map_err(Error::Damaged)?,
            path: clean(&path).map_err(|rule| hostile(&path, rule))?,
        })
    }
}

fn whole_seconds(header: &Header) -> Option<Time> {
    let seconds = i64::try_from(header.mtime().ok()?).ok()?;
    Some(Time { seconds, nanos: 0 })
}

/// A path as the archive writes it becomes one that stays below the top, or is refused.
pub(crate) fn clean(bytes: &[u8]) -> Result<PathBuf, Refusal> {
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Refusal::BadPath);
    }
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(Refusal::Parent),
            Component::Prefix(_) | Component::RootDir => return Err(Refusal::Absolute),
        }
    }
    Ok(clean)
}

pub(crate) fn hostile(path: &[u8], rule: Refusal) -> Error {
    Error::Hostile {
        path: String::from_utf8_lossy(path).into_owned(),
        rule,
    }
}

pub(crate) fn damaged(how: &'static str) -> Error {
    Error::Damaged(io::Error::new(io::ErrorKind::UnexpectedEof, how))
}

/// Counts what is read, and the zeros at its end.
pub(crate) struct Counted<R> {
    inner: R,
    bytes: u64,
    zeros: u64,
}

impl<R: Read> Counted<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            bytes: 0,
            zeros: 0,
        }
    }

    /// Reads to the end. After the last entry there must be at least two whole blocks, all zeros:
    /// the marker without which an archive that lost its tail would look complete.
    pub(crate) fn at_end(mut self, last_entry: u64) -> Result<R, Error> {
        io::copy(&mut self, &mut io::sink()).map_err(Error::Damaged)?;
        let after = self.bytes.saturating_sub(last_entry);
        if after < END_BYTES || !after.is_multiple_of(BLOCK) || self.zeros < after {
            return Err(damaged("the archive has no end"));
        }
        Ok(self.inner)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.inner.read(into)?;
        self.bytes += taken as u64;
        match into[..taken].iter().rposition(|byte| *byte != 0) {
            None => self.zeros += taken as u64,
            Some(last) => self.zeros = (taken - last - 1) as u64,
        }
        Ok(taken)
    }
}
