//! The entries of a directory, parents before children, names in byte order.
//!
//! - Never follows a symbolic link below the top.
//! - Holds the names of the directories on the way, not of the tree.
//! - What vanishes or refuses to be read is an item, not an error: a person who backs up a
//!   living directory wants the rest.

use crate::report::Reason;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Something found below the top directory.
pub(crate) struct Visit {
    /// Relative to the top directory.
    pub(crate) relative: PathBuf,
    /// What it is, or why nobody can tell.
    pub(crate) found: Result<Metadata, Reason>,
}

/// Goes through a directory.
pub(crate) struct Walk {
    top: PathBuf,
    levels: Vec<Level>,
    /// Follows the directory whose names cannot be read.
    pending: Option<Visit>,
}

struct Level {
    relative: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

impl Walk {
    /// Starts below `top`, which itself must be readable.
    pub(crate) fn new(top: &Path) -> io::Result<Self> {
        Ok(Self {
            top: top.to_owned(),
            levels: vec![Level {
                relative: PathBuf::new(),
                names: names(top)?,
            }],
            pending: None,
        })
    }

    fn visit(&mut self, relative: PathBuf) -> Visit {
        let path = self.top.join(&relative);
        let found = fs::symlink_metadata(&path).map_err(|it| reason(&it));
        if found.as_ref().is_ok_and(Metadata::is_dir) {
            match names(&path) {
                Ok(names) => self.levels.push(Level {
                    relative: relative.clone(),
                    names,
                }),
                Err(error) => {
                    self.pending = Some(Visit {
                        relative: relative.clone(),
                        found: Err(reason(&error)),
                    });
                }
            }
        }
        Visit { relative, found }
    }
}

impl Iterator for Walk {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        if let Some(visit) = self.pending.take() {
            return Some(visit);
        }
        loop {
            let level = self.levels.last_mut()?;
            if let Some(name) = level.names.next() {
                let relative = level.relative.join(name);
                return Some(self.visit(relative));
            }
            self.levels.pop();
        }
    }
}

/// What a failure to look at an entry means for the backup.
pub(crate) fn reason(error: &io::Error) -> Reason {
    match error.kind() {
        // A directory that became a file is gone as a directory.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reason::Vanished,
        // A file that became a link.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Reason::Changed
        }
        _ => Reason::Unreadable,
    }
}

fn names(directory: &Path) -> io::Result<std::vec::IntoIter<OsString>> {
    let entries = fs::read_dir(directory)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<OsString>>>()?;
    names.sort_unstable();
    Ok(names.into_iter())
}
