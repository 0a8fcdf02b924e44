//! A tar stream becomes a directory.
//!
//! What an attacker controls: whoever knows the recipient, every byte of the archive. So:
//!
//! 1. A path is relative and never leads upwards.
//! 2. Every entry lies in a directory that this archive made before. A symbolic link is none, so
//!    nothing is ever written through one, wherever it points.
//! 3. Nothing is written twice: files are created exclusively.
//! 4. Only files, directories, symbolic links and hard links to files of this archive.
//!
//! Targets of symbolic links are kept as they are: they belong to the user, and nobody here follows
//! them. The tree is built where nobody else writes (`staging`). How much it unpacks to is not
//! limited: a full disk is an error like any other, and leaves nothing.

use crate::entry::{Counted, Extensions, Item, clean, damaged, hostile};
use crate::header::{BLOCK, Time};
use crate::report::{Contents, Progress, Reason};
use crate::{Error, Refusal};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;

const BUFFER_BYTES: usize = 128 * 1024;
/// Set-user-ID and set-group-ID.
const PRIVILEGE: u32 = 0o6000;

/// Builds the tree below `top`.
pub(crate) struct Extractor<'a> {
    top: &'a Path,
    progress: &'a dyn Progress,
    contents: Contents,
    /// Rule 2. The top itself is the empty path.
    known: HashSet<PathBuf>,
    /// In the order of the archive: parents first.
    directories: Vec<(PathBuf, u32, Time)>,
    buffer: Vec<u8>,
}

impl<'a> Extractor<'a> {
    pub(crate) fn new(top: &'a Path, progress: &'a dyn Progress) -> Self {
        Self {
            top,
            progress,
            contents: Contents::default(),
            known: HashSet::from([PathBuf::new()]),
            directories: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Reads to the end of `plain` and gives it back.
    pub(crate) fn extract<R: Read>(mut self, plain: R) -> Result<(R, Contents), Error> {
        let mut archive = tar::Archive::new(Counted::new(plain));
        let mut extensions = Extensions::default();
        let mut end = 0;
        // Raw: the library neither joins extensions to entries nor guesses sizes for us.
        for entry in archive.entries().map_err(Error::Damaged)?.raw(true) {
            let mut entry = entry.map_err(Error::Damaged)?;
            let header = entry.header().clone();
            let size = header.entry_size().map_err(Error::Damaged)?;
            // The library has refused what overflows here.
            let padded = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
            end = entry.raw_file_position().saturating_add(padded);
            if !extensions.take(&header, &mut entry)? {
                let item = std::mem::take(&mut extensions).join(&header)?;
                self.progress.entry(&item.path);
                self.item(&item, &mut entry)?;
            }
        }
        if !extensions.is_empty() {
            return Err(damaged("it ends after half an entry"));
        }
        let plain = archive.into_inner().at_end(end)?;
        self.finish_directories()?;
        Ok((plain, self.contents))
    }

    fn item(&mut self, item: &Item, content: &mut impl Read) -> Result<(), Error> {
        let refuse = |rule| Err(hostile(item.path.as_os_str().as_bytes(), rule));
        match item.kind {
            EntryType::Directory => return self.directory(item),
            EntryType::Regular | EntryType::Link | EntryType::Symlink => {}
            _ => return refuse(Refusal::Kind),
        }
        if item.path.as_os_str().is_empty() {
            return refuse(Refusal::BadPath);
        }
        self.parent(&item.path).or_else(refuse)?;
        match item.kind {
            EntryType::Regular => self.file(item, content),
            EntryType::Symlink => self.symlink(item),
            _ => self.hard_link(item),
        }
    }

    /// Rule 2, with the reason why not.
    fn parent(&self, path: &Path) -> Result<(), Refusal> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.known.contains(parent) {
            return Ok(());
        }
        let unknown = parent.ancestors().filter(|it| !self.known.contains(*it));
        // The outermost unknown one lies in a known directory, so this follows nothing.
        let outermost = unknown.last().unwrap_or(parent);
        match fs::symlink_metadata(self.top.join(outermost)) {
            Ok(metadata) if metadata.is_symlink() => Err(Refusal::ThroughSymlink),
            _ => Err(Refusal::NoDirectory),
        }
    }

    /// Modes and times come last: a directory may be read-only, and its time changes until then.
    fn directory(&mut self, item: &Item) -> Result<(), Error> {
        let hostile = |rule| hostile(item.path.as_os_str().as_bytes(), rule);
        if item.path.as_os_str().is_empty() {
            // Made already.
            if self
                .directories
                .iter()
                .any(|(path, ..)| path.as_os_str().is_empty())
            {
                return Err(hostile(Refusal::Repeated));
            }
        } else {
            self.parent(&item.path).map_err(hostile)?;
            let made = DirBuilder::new()
                .mode(0o700)
                .create(self.top.join(&item.path));
            made.map_err(|error| sorted(item, self.top, error))?;
            self.known.insert(item.path.clone());
            self.contents.directories += 1;
        }
        let directory = (item.path.clone(), item.mode, item.modified);
        self.directories.push(directory);
        Ok(())
    }

    fn file(&mut self, item: &Item, content: &mut impl Read) -> Result<(), Error> {
        let fault = |error| sorted(item, self.top, error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(self.top.join(&item.path)).map_err(fault)?;
        let mut left = item.size;
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(BUFFER_BYTES)
                .min(BUFFER_BYTES);
            let taken = match content.read(&mut self.buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(Error::Damaged)?,
            };
            if taken == 0 {
                return Err(damaged("it ends within a file"));
            }
            file.write_all(&self.buffer[..taken]).map_err(fault)?;
            left -= taken as u64;
        }
        // Whoever owned the file gave away his own rights with these bits, not ours.
        let ours = (
            rustix::process::geteuid().as_raw().into(),
            rustix::process::getegid().as_raw().into(),
        );
        let mut mode = item.mode;
        if mode & PRIVILEGE != 0 && item.owner != ours {
            mode &= !PRIVILEGE;
            self.contents.gap(&item.path, Reason::Privilege);
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(fault)?;
        let timed = rustix::fs::futimens(&file, &times(item.modified));
        timed.map_err(|error| fault(error.into()))?;
        self.contents.files += 1;
        self.contents.bytes += item.size;
        Ok(())
    }

    fn symlink(&mut self, item: &Item) -> Result<(), Error> {
        if item.link.is_empty() || item.link.contains(&0) {
            return Err(hostile(item.path.as_os_str().as_bytes(), Refusal::BadPath));
        }
        let path = self.top.join(&item.path);
        let made = std::os::unix::fs::symlink(OsStr::from_bytes(&item.link), &path);
        made.map_err(|error| sorted(item, self.top, error))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let timed = rustix::fs::utimensat(CWD, &path, &times(item.modified), flags);
        timed.map_err(|error| sorted(item, self.top, error.into()))?;
        self.contents.symlinks += 1;
        Ok(())
    }

    fn hard_link(&mut self, item: &Item) -> Result<(), Error> {
        let hostile = |rule| hostile(item.path.as_os_str().as_bytes(), rule);
        let first = clean(&item.link).map_err(hostile)?;
        self.parent(&first).map_err(hostile)?;
        let first = self.top.join(first);
        if !fs::symlink_metadata(&first).is_ok_and(|it| it.is_file()) {
            return Err(hostile(Refusal::LinkTarget));
        }
        let linked = fs::hard_link(first, self.top.join(&item.path));
        linked.map_err(|error| sorted(item, self.top, error))?;
        self.contents.hard_links += 1;
        Ok(())
    }

    /// Children first: a parent without `x` hides them.
    fn finish_directories(&mut self) -> Result<(), Error> {
        for (path, mode, modified) in self.directories.iter().rev() {
            let path = self.top.join(path);
            let fault = |source| Error::Write {
                path: path.clone(),
                source,
            };
            let timed = rustix::fs::utimensat(CWD, &path, &times(*modified), AtFlags::empty());
            timed.map_err(|error| fault(error.into()))?;
            fs::set_permissions(&path, Permissions::from_mode(*mode)).map_err(fault)?;
        }
        Ok(())
    }
}

/// The archive's fault if it makes the same name twice, else the machine's.
fn sorted(item: &Item, top: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return hostile(item.path.as_os_str().as_bytes(), Refusal::Repeated);
    }
    Error::Write {
        path: top.join(&item.path),
        source,
    }
}

/// Access times are of no interest, and left as they are.
fn times(modified: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.seconds,
            tv_nsec: modified.nanos.into(),
        },
    }
}
