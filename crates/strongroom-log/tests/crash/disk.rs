//! A disk that keeps what was synced and may forget the rest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use strongroom_log::files::Files;

/// What a path stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Folder,
    File(usize),
}

/// Bytes as programs see them, and as a power cut leaves them.
#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Default)]
struct Inner {
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    inodes: Vec<Inode>,
    steps: u64,
    dies_at: Option<u64>,
    /// Every signed note that was ever written, even half.
    signed: Vec<Vec<u8>>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Killed: what it did stays.
    Kill,
    /// The power went: of what was not synced anything may be lost, by these choices.
    Power(u64),
}

/// The disk, shared by the log and the test.
#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<Inner>>);

impl Disk {
    pub fn new() -> Self {
        let disk = Self::default();
        for folder in ["/", "/state"] {
            let path = PathBuf::from(folder);
            let mut inner = disk.0.borrow_mut();
            inner.seen.insert(path.clone(), Node::Folder);
            inner.durable.insert(path, Node::Folder);
        }
        disk
    }

    /// Steps since the last start.
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// Starts a process that dies at this step.
    pub fn start(&self, dies_at: Option<u64>) {
        let mut inner = self.0.borrow_mut();
        (inner.steps, inner.dies_at) = (0, dies_at);
    }

    /// Ends the process.
    pub fn end(&self, end: End) {
        let inner = &mut *self.0.borrow_mut();
        inner.dies_at = None;
        let End::Power(mut choices) = end else {
            return;
        };
        let mut choose = move |among: u64| {
            // xorshift: the same choices for the same seed.
            choices ^= choices << 13;
            choices ^= choices >> 7;
            choices ^= choices << 17;
            choices % among
        };
        let names: Vec<PathBuf> = inner
            .seen
            .keys()
            .chain(inner.durable.keys())
            .cloned()
            .collect();
        let mut left = BTreeMap::new();
        for name in names {
            let (seen, durable) = (inner.seen.get(&name), inner.durable.get(&name));
            let kept = if choose(2) == 0 { seen } else { durable };
            let above = name.parent().is_none_or(|folder| left.contains_key(folder));
            if let Some(node) = kept.filter(|_| above) {
                left.insert(name, *node);
            }
        }
        for inode in &mut inner.inodes {
            inode.seen = match choose(3) {
                0 => inode.seen.clone(),
                1 => inode.synced.clone(),
                _ if inode.seen == inode.synced => inode.synced.clone(),
                _ => inode.seen[..choose(inode.seen.len() as u64 + 1) as usize].to_vec(),
            };
            inode.synced = inode.seen.clone();
        }
        inner.seen = left.clone();
        inner.durable = left;
    }

    /// Every signed note that ever left the log.
    pub fn signed(&self) -> Vec<Vec<u8>> {
        self.0.borrow().signed.clone()
    }

    /// All files and folders below a folder.
    pub fn copy_of(&self, folder: &str) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let inner = self.0.borrow();
        let below = inner
            .seen
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        let copied = below.map(|(path, node)| {
            let bytes = match node {
                Node::Folder => None,
                Node::File(at) => Some(inner.inodes[*at].seen.clone()),
            };
            (path.clone(), bytes)
        });
        copied.collect()
    }

    /// Puts a copy back in place of what is there.
    pub fn restore(&self, folder: &str, copy: &BTreeMap<PathBuf, Option<Vec<u8>>>) {
        let inner = &mut *self.0.borrow_mut();
        inner.seen.retain(|path, _| !path.starts_with(folder));
        for (path, bytes) in copy {
            let node = match bytes {
                None => Node::Folder,
                Some(bytes) => {
                    let (seen, synced) = (bytes.clone(), bytes.clone());
                    inner.inodes.push(Inode { seen, synced });
                    Node::File(inner.inodes.len() - 1)
                }
            };
            inner.seen.insert(path.clone(), node);
        }
        inner.durable = inner.seen.clone();
    }

    /// Changes a file where it lies.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let inner = &mut *self.0.borrow_mut();
        let Some(Node::File(at)) = inner.seen.get(Path::new(path)).copied() else {
            panic!("no file {path}");
        };
        change(&mut inner.inodes[at].seen);
    }

    pub fn erase(&self, path: &str) {
        self.0.borrow_mut().seen.remove(Path::new(path));
    }
}

impl Inner {
    /// One more step, unless it is the one that does not happen any more.
    fn step(&mut self) -> io::Result<()> {
        if self.dies_at.is_some_and(|at| self.steps >= at) {
            return Err(io::Error::other("the process is dead"));
        }
        self.steps += 1;
        Ok(())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.seen.get(path) {
            Some(Node::File(at)) => Ok(*at),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn in_folder(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|folder| self.seen.get(folder)) {
            Some(Node::Folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let inner = self.0.borrow();
        Ok(inner
            .file(path)
            .ok()
            .map(|at| inner.inodes[at].seen.clone()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        inner.in_folder(path)?;
        if path.ends_with("checkpoint.new") && inner.dies_at.is_none_or(|at| inner.steps < at) {
            inner.signed.push(bytes.to_vec());
        }
        let at = match inner.file(path) {
            Ok(at) => at,
            Err(_) => {
                inner.inodes.push(Inode::default());
                let at = inner.inodes.len() - 1;
                inner.seen.insert(path.to_owned(), Node::File(at));
                at
            }
        };
        if let Err(dead) = inner.step() {
            // It dies in the middle.
            inner.inodes[at].seen = bytes[..bytes.len() / 2].to_vec();
            return Err(dead);
        }
        inner.inodes[at].seen = bytes.to_vec();
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        let at = inner.file(path)?;
        inner.inodes[at].synced = inner.inodes[at].seen.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        inner.in_folder(to)?;
        let at = inner.file(from)?;
        inner.seen.remove(from);
        inner.seen.insert(to.to_owned(), Node::File(at));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        inner.seen.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        inner.in_folder(path)?;
        inner.seen.insert(path.to_owned(), Node::Folder);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        inner.step()?;
        if inner.seen.get(path) != Some(&Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = |name: &PathBuf| name.parent() == Some(path);
        inner.durable.retain(|name, _| !here(name));
        let names = inner.seen.iter().filter(|(name, _)| here(name));
        inner
            .durable
            .extend(names.map(|(name, node)| (name.clone(), *node)));
        Ok(())
    }
}
