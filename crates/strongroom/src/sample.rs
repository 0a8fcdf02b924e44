//! A sample to back up: a few hundred files of mixed types, some megabytes; and the comparison of
//! two directories in every byte, mode and time.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use strongroom_client::Os;
use strongroom_crypto::random::Entropy as _;

/// A sentence in many files of the sample: who finds it outside the phone reads backups.
pub(crate) const SENTENCE: &str = "Dear diary, nobody but me will ever read this line.";

/// Writes the sample.
pub(crate) fn write(top: &Path) -> Result<()> {
    for chat in 0..12 {
        let dir = top.join(format!("chats/{chat:02}"));
        fs::create_dir_all(&dir)?;
        for message in 0..24 {
            let line = format!("{SENTENCE} Chat {chat}, message {message}.\n");
            fs::write(
                dir.join(format!("{message:03}.txt")),
                line.repeat(1 + message * 3),
            )?;
        }
    }
    fs::create_dir_all(top.join("media/empty folder"))?;
    for photo in 0..16 {
        let mut bytes = vec![0; 40_000 + photo * 23_456];
        Os.fill(&mut bytes);
        fs::write(top.join(format!("media/photo {photo}.jpg")), bytes)?;
    }
    fs::write(top.join("media/silence.wav"), vec![0; 1_500_000])?;
    fs::write(top.join("notes, überall 🗒.md"), SENTENCE)?;
    let not_text = OsString::from_vec(b"name that is not text \xff\xfe".to_vec());
    fs::write(top.join(not_text), "and content that is")?;
    fs::write(top.join("empty"), "")?;
    fs::write(top.join("run.sh"), "#!/bin/sh\necho hello\n")?;
    fs::set_permissions(top.join("run.sh"), fs::Permissions::from_mode(0o750))?;
    fs::set_permissions(top.join("empty"), fs::Permissions::from_mode(0o400))?;
    symlink("media/photo 0.jpg", top.join("favourite"))?;
    symlink("nowhere/at all", top.join("dangling"))?;
    fs::hard_link(top.join("chats/00/000.txt"), top.join("first message"))?;
    old(&top.join("chats/03/005.txt"), 1_234_567_890, 123_456_789)?;
    old(&top.join("media/empty folder"), 86_400, 1)
}

fn old(path: &Path, seconds: u64, nanos: u32) -> Result<()> {
    let time = UNIX_EPOCH + Duration::new(seconds, nanos);
    Ok(fs::File::open(path)?.set_modified(time)?)
}

/// What a directory holds.
#[derive(Default)]
pub(crate) struct Census {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

/// Compares two directories; says the first difference.
pub(crate) fn same(one: &Path, other: &Path) -> Result<Census> {
    let (left, right) = (listing(one)?, listing(other)?);
    if let Some(path) = left.keys().find(|path| !right.contains_key(*path)) {
        bail!("{} was not restored", path.display());
    }
    if let Some(path) = right.keys().find(|path| !left.contains_key(*path)) {
        bail!("{} appeared from nowhere", path.display());
    }
    let mut census = Census::default();
    for path in left.keys() {
        let (a, b) = (one.join(path), other.join(path));
        let what = |what: &str| format!("{}: {what} differ", path.display());
        let (from, to) = (fs::symlink_metadata(&a)?, fs::symlink_metadata(&b)?);
        if from.mode() != to.mode() {
            bail!(what("type or mode"));
        }
        if (from.mtime(), from.mtime_nsec()) != (to.mtime(), to.mtime_nsec()) {
            bail!(what("times"));
        }
        if from.is_symlink() && fs::read_link(&a)? != fs::read_link(&b)? {
            bail!(what("links"));
        }
        if from.is_file() {
            if fs::read(&a)? != fs::read(&b)? {
                bail!(what("bytes"));
            }
            census.files += 1;
            census.bytes += from.len();
        }
    }
    Ok(census)
}

/// Every path below `top`, sockets and the like left out, as a backup leaves them out.
pub(crate) fn listing(top: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(top.join(&dir));
        for entry in entries.with_context(|| top.join(&dir).display().to_string())? {
            let path = dir.join(entry?.file_name());
            let about = fs::symlink_metadata(top.join(&path))?;
            if about.is_dir() {
                open.push(path.clone());
            }
            if about.is_dir() || about.is_file() || about.is_symlink() {
                found.insert(path, about.len());
            }
        }
    }
    Ok(found)
}
