//! A directory becomes a tar stream.
//!
//! - The first entry is the directory itself (`./`); every entry follows the directory it lies in.
//! - An entry is as long as its header says, whatever happens to the file meanwhile: what a file
//!   lost is filled with zeros and reported, what it gained is left for the next backup.
//! - Owners are written, but restoring does not set them. Extended attributes, access control lists
//!   and holes are not kept.

use crate::Error;
use crate::header::{END_BYTES, EntryHead, Time, pad};
use crate::report::{Contents, Progress, Reason};
use crate::walk::{Walk, reason};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;

/// Read and passed on at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// Writes archives to `out`.
pub(crate) struct Archiver<'a, W> {
    top: &'a Path,
    out: W,
    progress: &'a dyn Progress,
    contents: Contents,
    /// The first name of each file that has several, by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Archiver<'a, W> {
    pub(crate) fn new(top: &'a Path, out: W, progress: &'a dyn Progress) -> Self {
        Self {
            top,
            out,
            progress,
            contents: Contents::default(),
            linked: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Writes the whole archive; gives back the sink, which is not finished yet.
    pub(crate) fn write(mut self) -> Result<(W, Contents), Error> {
        let top = |source| Error::Read {
            path: self.top.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(self.top).map_err(top)?;
        let walk = Walk::new(self.top).map_err(top)?;
        self.head(Path::new("."), &metadata, EntryType::Directory, b"", 0)?;
        for visit in walk {
            self.progress.entry(&visit.relative);
            match visit.found {
                Ok(metadata) => self.entry(&visit.relative, &metadata)?,
                Err(reason) => self.contents.gap(&visit.relative, reason),
            }
        }
        let end = [0; END_BYTES as usize];
        self.out.write_all(&end).map_err(Error::Pipeline)?;
        Ok((self.out, self.contents))
    }

    fn entry(&mut self, relative: &Path, metadata: &Metadata) -> Result<(), Error> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.contents.directories += 1;
            self.head(relative, metadata, EntryType::Directory, b"", 0)
        } else if kind.is_symlink() {
            self.symlink(relative, metadata)
        } else if kind.is_file() {
            self.file(relative, metadata)
        } else {
            self.contents.gap(relative, Reason::Special);
            Ok(())
        }
    }

    fn symlink(&mut self, relative: &Path, metadata: &Metadata) -> Result<(), Error> {
        match std::fs::read_link(self.top.join(relative)) {
            Ok(target) => {
                self.contents.symlinks += 1;
                let target = target.as_os_str().as_bytes();
                self.head(relative, metadata, EntryType::Symlink, target, 0)
            }
            Err(error) => {
                self.contents.gap(relative, reason(&error));
                Ok(())
            }
        }
    }

    fn file(&mut self, relative: &Path, listed: &Metadata) -> Result<(), Error> {
        let inode = (listed.dev(), listed.ino());
        // The inode of a deleted file may serve a new one meanwhile, but hardly with many names.
        let first = self.linked.get(&inode).filter(|_| listed.nlink() > 1);
        if let Some(first) = first.cloned() {
            self.contents.hard_links += 1;
            let target = first.as_os_str().as_bytes();
            return self.head(relative, listed, EntryType::Link, target, 0);
        }
        let path = self.top.join(relative);
        // What was a file when it was listed may be a link or a FIFO now: neither is followed,
        // and neither makes us wait.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let opened = options
            .open(&path)
            .and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.contents.gap(relative, reason(&error));
                return Ok(());
            }
        };
        if !metadata.is_file() {
            self.contents.gap(relative, Reason::Changed);
            return Ok(());
        }
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            self.linked.insert(inode, relative.to_owned());
        }
        self.contents.files += 1;
        self.contents.bytes += metadata.len();
        self.head(relative, &metadata, EntryType::Regular, b"", metadata.len())?;
        let whole = self.content(&path, file, &metadata)?;
        if !whole {
            self.contents.gap(relative, Reason::Changed);
        }
        Ok(())
    }

    /// Copies exactly the announced bytes. False if the file is not what it was when it was opened.
    fn content(&mut self, path: &Path, mut file: File, opened: &Metadata) -> Result<bool, Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut left = opened.len();
        let mut short = false;
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(BUFFER_BYTES)
                .min(BUFFER_BYTES);
            let mut taken = match file.read(&mut self.buffer[..wanted]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(read)?,
            };
            if taken == 0 {
                short = true;
                self.buffer[..wanted].fill(0);
                taken = wanted;
            }
            self.out
                .write_all(&self.buffer[..taken])
                .map_err(Error::Pipeline)?;
            self.progress.bytes(taken as u64);
            left -= taken as u64;
        }
        pad(&mut self.out, opened.len()).map_err(Error::Pipeline)?;
        let now = file.metadata().map_err(read)?;
        let times = |it: &Metadata| (it.len(), it.mtime(), it.mtime_nsec());
        Ok(!short && times(&now) == times(opened))
    }

    fn head(
        &mut self,
        relative: &Path,
        metadata: &Metadata,
        kind: EntryType,
        link: &[u8],
        size: u64,
    ) -> Result<(), Error> {
        let mut path = relative.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory {
            path.push(b'/');
        }
        let head = EntryHead {
            kind,
            path: &path,
            link,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: Time {
                seconds: metadata.mtime(),
                // Below 10^9, always.
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            size,
        };
        head.write(&mut self.out).map_err(Error::Pipeline)
    }
}
