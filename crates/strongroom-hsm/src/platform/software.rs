//! The `software` platform: files in a directory, class `none`. For development.
//!
//! | file | content |
//! | --- | --- |
//! | `lock` | held exclusively while the process lives |
//! | `sealing.key` | 32 random bytes, made once, mode 0600 |
//! | `draft.sealed`, `member.sealed` | blobs, replaced by rename |
//! | `anchor.0`, `anchor.1` | two slots: sequence (8) ‖ length (4) ‖ anchor ‖ HMAC-SHA-256 (32) |
//!
//! The slot with the highest valid sequence is the anchor; a swap writes the other one and syncs
//! it, so a torn write leaves the old anchor. A directory that lost its anchor but has a member is
//! damaged: it is refused, never begun anew. What this platform cannot stop: a copy of the whole
//! directory put back (rollback by whoever can write there).

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::{FlockOperation, Mode, OFlags};
use sha2::Sha256;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::SealingKey;
use strongroom_vault::{Blob, Platform, PlatformFault};
use strongroom_wire::entry::Anchor;
use strongroom_wire::manifest::PlatformClass;
use strongroom_wire::{UnixMs, decode, encode};
use zeroize::Zeroizing;

/// Why the directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// A member without an anchor, or an anchor that is not readable.
    AnchorLost,
    /// The sealing key is not 32 bytes.
    KeyDamaged,
    /// Another process holds the directory.
    InUse,
    /// The system refused.
    Io(PathBuf, std::io::Error),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AnchorLost => f.write_str(
                "the directory holds a member but no readable anchor: it was damaged or partly \
                 restored; restore all of it from the same moment, or replace this member",
            ),
            Self::KeyDamaged => f.write_str("sealing.key is damaged: restore it from a copy"),
            Self::InUse => f.write_str("another strongroom-hsm uses this directory"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

struct Slots {
    files: [File; 2],
    /// The anchor, its sequence, and the slot it stands in.
    held: Option<(Anchor, u64, usize)>,
}

/// The platform.
pub struct Software {
    dir: PathBuf,
    key: Zeroizing<[u8; 32]>,
    slots: Mutex<Slots>,
    _lock: OwnedFd,
}

const ANCHOR_BYTES_MAX: usize = 1024;

impl Software {
    /// Opens a directory, or makes it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| OpenError::Io(path, error)
        };
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(io(dir))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(dir, mode).map_err(io(dir))?;
        }
        let lock_path = dir.join("lock");
        let lock = open_file(&lock_path).map_err(io(&lock_path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::InUse)?;
        let member = dir.join("member.sealed").exists();
        let key = sealing_key(dir, member)?;
        let paths = [dir.join("anchor.0"), dir.join("anchor.1")];
        let anchors_before = paths
            .iter()
            .any(|p| fs::metadata(p).is_ok_and(|m| m.len() > 0));
        let files = [
            File::from(open_file(&paths[0]).map_err(io(&paths[0]))?),
            File::from(open_file(&paths[1]).map_err(io(&paths[1]))?),
        ];
        sync_dir(dir).map_err(io(dir))?;
        let held = newest(&files, &key);
        if let Some((_, _, slot)) = held {
            // What was read may stand in the page cache only, after a sync that failed. The next
            // swap overwrites the other slot, so this one must be on the disk before.
            settle(&files[slot]).map_err(io(&paths[slot]))?;
        }
        // A first anchor torn before it was ever whole counts as none; behind it stands no member.
        if held.is_none() && (member || (anchors_before && both_written(&files))) {
            return Err(OpenError::AnchorLost);
        }
        Ok(Self {
            dir: dir.to_owned(),
            key,
            slots: Mutex::new(Slots { files, held }),
            _lock: lock,
        })
    }

    fn path(&self, blob: Blob) -> PathBuf {
        self.dir.join(match blob {
            Blob::Draft => "draft.sealed",
            Blob::Member => "member.sealed",
        })
    }
}

fn open_file(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?)
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads the sealing key, or makes it. A member without its key is damaged, not new.
fn sealing_key(dir: &Path, member: bool) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    let path = dir.join("sealing.key");
    let io = |error| OpenError::Io(path.clone(), error);
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let key: [u8; 32] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| OpenError::KeyDamaged)?;
            Ok(Zeroizing::new(key))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !member => {
            let mut key = Zeroizing::new([0; 32]);
            fill(&mut *key);
            replace(dir, "sealing.key", &*key).map_err(io)?;
            Ok(key)
        }
        Err(error) => Err(io(error)),
    }
}

/// Writes a file whole: temporary name, sync, rename, sync of the directory.
fn replace(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::from(open_file(&temporary)?);
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

fn tag(key: &[u8; 32], body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(b"strongroom/v1 anchor slot");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

fn read_slot(file: &File, key: &[u8; 32]) -> Option<(Anchor, u64)> {
    let mut bytes = Vec::new();
    let mut at_start = file;
    std::io::Seek::rewind(&mut at_start).ok()?;
    file.take(ANCHOR_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    let (sequence, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (anchor, rest) = rest.split_at_checked(length)?;
    let claimed = rest.first_chunk::<32>()?;
    let body = bytes.get(..12 + length)?;
    use strongroom_crypto::subtle::ConstantTimeEq as _;
    if !bool::from(claimed.ct_eq(&tag(key, body))) {
        return None;
    }
    Some((decode(anchor).ok()?, u64::from_be_bytes(*sequence)))
}

fn newest(files: &[File; 2], key: &[u8; 32]) -> Option<(Anchor, u64, usize)> {
    let slots = files.iter().enumerate();
    slots
        .filter_map(|(slot, file)| read_slot(file, key).map(|(anchor, n)| (anchor, n, slot)))
        .max_by_key(|(_, sequence, _)| *sequence)
}

/// Writes a slot again as it is, and syncs it.
fn settle(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(ANCHOR_BYTES_MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()
}

fn both_written(files: &[File; 2]) -> bool {
    files
        .iter()
        .all(|file| file.metadata().is_ok_and(|m| m.len() > 0))
}

fn fill(out: &mut [u8]) {
    // Without randomness nothing here may go on.
    getrandom::fill(out).expect("the operating system gives random bytes");
}

/// Random bytes drawn ahead by one thread: an operation draws some ten times, and each time was a
/// system call. Erased as they are given out, so none is given twice or found later.
struct Drawn {
    bytes: Zeroizing<[u8; DRAWN_BYTES]>,
    used: usize,
}

const DRAWN_BYTES: usize = 1024;

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::new(Drawn {
        bytes: Zeroizing::new([0; DRAWN_BYTES]),
        used: DRAWN_BYTES,
    });
}

impl Drawn {
    fn give(&mut self, out: &mut [u8]) {
        if out.len() > DRAWN_BYTES {
            return fill(out);
        }
        if out.len() > DRAWN_BYTES - self.used {
            fill(&mut *self.bytes);
            self.used = 0;
        }
        let next = self.bytes.iter_mut().skip(self.used);
        for (given, drawn) in out.iter_mut().zip(next) {
            *given = core::mem::take(drawn);
        }
        self.used += out.len();
    }
}

impl Entropy for Software {
    fn fill(&self, out: &mut [u8]) {
        DRAWN.with_borrow_mut(|drawn| drawn.give(out));
    }
}

impl Platform for Software {
    fn name(&self) -> &'static str {
        "software"
    }

    fn class(&self) -> PlatformClass {
        PlatformClass::None
    }

    fn wall_clock(&self) -> UnixMs {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        // Boot time: it goes on while the machine sleeps, as the fleet's time does.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default();
        seconds.saturating_mul(1000).saturating_add(milliseconds)
    }

    fn sealing_key(&self) -> SealingKey {
        SealingKey::from_bytes(*self.key)
    }

    fn load(&self, blob: Blob) -> Result<Option<Vec<u8>>, PlatformFault> {
        match fs::read(self.path(blob)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(_) => Err(PlatformFault::Io),
        }
    }

    fn store(&self, blob: Blob, bytes: &[u8]) -> Result<(), PlatformFault> {
        let path = self.path(blob);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or(PlatformFault::Io)?;
        replace(&self.dir, name, bytes).map_err(|_| PlatformFault::Io)
    }

    fn erase(&self, blob: Blob) -> Result<(), PlatformFault> {
        match fs::remove_file(self.path(blob)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(PlatformFault::Io),
            _ => sync_dir(&self.dir).map_err(|_| PlatformFault::Io),
        }
    }

    fn anchor(&self) -> Result<Option<Anchor>, PlatformFault> {
        let slots = self.slots.lock().map_err(|_| PlatformFault::Io)?;
        Ok(slots.held.as_ref().map(|(anchor, _, _)| anchor.clone()))
    }

    fn swap_anchor(&self, old: Option<&Anchor>, new: &Anchor) -> Result<(), PlatformFault> {
        let mut slots = self.slots.lock().map_err(|_| PlatformFault::Io)?;
        if slots.held.as_ref().map(|(anchor, _, _)| anchor) != old {
            return Err(PlatformFault::AnchorMoved);
        }
        let (sequence, slot) = slots
            .held
            .as_ref()
            .map_or((1, 0), |(_, n, s)| (n + 1, 1 - s));
        let anchor = encode(new);
        let length = u32::try_from(anchor.len()).map_err(|_| PlatformFault::Io)?;
        let mut bytes = sequence.to_be_bytes().to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&anchor);
        let tag = tag(&self.key, &bytes);
        bytes.extend_from_slice(&tag);
        assert!(
            bytes.len() <= ANCHOR_BYTES_MAX,
            "an anchor is about 150 bytes"
        );
        let file = slots.files.get(slot).ok_or(PlatformFault::Io)?;
        std::os::unix::fs::FileExt::write_all_at(file, &bytes, 0).map_err(|_| PlatformFault::Io)?;
        file.sync_data().map_err(|_| PlatformFault::Io)?;
        slots.held = Some((new.clone(), sequence, slot));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DRAWN_BYTES, Drawn};
    use std::collections::HashSet;
    use zeroize::Zeroizing;

    #[test]
    fn what_is_drawn_ahead_is_given_once_and_erased() {
        let mut drawn = Drawn {
            bytes: Zeroizing::new([0; DRAWN_BYTES]),
            used: DRAWN_BYTES,
        };
        let mut seen = HashSet::new();
        for length in [16, 24, 32, 8].into_iter().cycle().take(400) {
            let mut out = vec![0; length];
            drawn.give(&mut out);
            assert!(seen.insert(out), "the same bytes twice");
            assert!(drawn.bytes[..drawn.used].iter().all(|byte| *byte == 0));
        }
        let mut long = vec![0; DRAWN_BYTES * 2];
        drawn.give(&mut long);
        assert!(long.chunks(64).all(|chunk| chunk.iter().any(|b| *b != 0)));
    }
}
