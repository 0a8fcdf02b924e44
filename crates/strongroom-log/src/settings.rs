//! An auditor's directory: its key, its configuration, and how it is set up.
//!
//! | file | holds |
//! | --- | --- |
//! | `key` | the log's signing key, mode 0600 |
//! | `auditor.toml` | [`Settings`] |
//!
//! and what the log keeps there ([`crate::log`]).

use crate::files::{Disk, Locks, beside, put};
use crate::log::{Log, LogError, default_state};
use crate::note::{KeyError, Signer, VerifierKey};
use crate::policy::{PolicyError, TrustedLog};
use serde::Deserialize;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use strongroom_wire::PublicKey;
use zeroize::Zeroizing;

/// Why an auditor's directory is not usable.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration is malformed.
    #[error("{path}: {what}")]
    Settings {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The key's file is no key.
    #[error("{path}: {error}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// Others may read the key.
    #[error("{0} can be read by others: chmod 600 it, and ask who has read it")]
    KeyIsOpen(PathBuf),
    /// The directory has the key of another log.
    #[error("this directory has a key for {0} already")]
    OtherOrigin(String),
    /// There is no log here.
    #[error("no log in {0}: `strongroom auditor init` makes one")]
    NoLog(PathBuf),
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The log refuses.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl SetupError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A witness that is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessAddress {
    /// Its key, type 0x04, as `NAME+ID+BASE64`.
    pub key: String,
    /// Its submission prefix: `add-checkpoint` is appended.
    pub url: String,
}

/// `auditor.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the newest signed checkpoint is kept; relative to the directory. Best on another disk.
    pub state: PathBuf,
    /// Who may submit: Ed25519 public keys, 64 hexadecimal digits each.
    #[serde(default)]
    pub submitters: Vec<String>,
    /// Witnesses.
    #[serde(default)]
    pub witnesses: Vec<WitnessAddress>,
    /// How many of them must have cosigned before a submitter gets its proof.
    #[serde(default)]
    pub quorum: usize,
    /// Longest wait for a witness, ms.
    #[serde(default = "default_witness_ms")]
    pub witness_ms: u64,
}

fn default_witness_ms() -> u64 {
    5_000
}

impl Settings {
    /// Reads the configuration of an auditor's directory.
    ///
    /// # Errors
    /// [`SetupError::NoLog`], [`SetupError::Settings`], [`SetupError::Io`].
    pub fn read(dir: &Path) -> Result<Self, SetupError> {
        let path = dir.join("auditor.toml");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SetupError::NoLog(dir.to_owned()));
            }
            text => text.map_err(SetupError::at(&path))?,
        };
        toml::from_str(&text).map_err(|error| SetupError::Settings {
            path,
            what: error.to_string(),
        })
    }

    /// The submitters' keys.
    ///
    /// # Errors
    /// [`SetupError::Settings`].
    pub fn submitters(&self, dir: &Path) -> Result<Vec<PublicKey>, SetupError> {
        let key = |text: &String| {
            let bytes = hex::decode(text).ok();
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let what = || format!("submitters: {text:?} is not 64 hexadecimal digits");
            bytes.map(PublicKey).ok_or_else(|| self.wrong(dir, what()))
        };
        self.submitters.iter().map(key).collect()
    }

    /// What this auditor's log is trusted for: its key, its witnesses, its quorum.
    ///
    /// # Errors
    /// [`SetupError::Settings`].
    pub fn policy(&self, dir: &Path, log: &VerifierKey) -> Result<TrustedLog, SetupError> {
        let key = |witness: &WitnessAddress| {
            let what = |error: KeyError| format!("witness {:?}: {error}", witness.key);
            VerifierKey::parse(&witness.key).map_err(|error| self.wrong(dir, what(error)))
        };
        let keys = self.witnesses.iter().map(key).collect::<Result<_, _>>()?;
        let policy = TrustedLog::new(log.clone(), keys, self.quorum);
        policy.map_err(|error: PolicyError| self.wrong(dir, error.to_string()))
    }

    fn wrong(&self, dir: &Path, what: String) -> SetupError {
        SetupError::Settings {
            path: dir.join("auditor.toml"),
            what,
        }
    }
}

/// Reads the key of an auditor's directory.
///
/// # Errors
/// [`SetupError::NoLog`], [`SetupError::KeyIsOpen`], [`SetupError::Key`], [`SetupError::Io`].
pub fn read_key(dir: &Path) -> Result<Signer, SetupError> {
    named(dir, Signer::parse(key_text(dir)?.trim_end()))
}

/// The text of a key that only its owner can read.
pub(crate) fn key_text(dir: &Path) -> Result<Zeroizing<String>, SetupError> {
    let path = dir.join("key");
    let metadata = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SetupError::NoLog(dir.to_owned()));
        }
        metadata => metadata.map_err(SetupError::at(&path))?,
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SetupError::KeyIsOpen(path));
    }
    let text = fs::read_to_string(&path).map_err(SetupError::at(&path))?;
    Ok(Zeroizing::new(text))
}

/// Names the file of a key that is none.
pub(crate) fn named<T>(dir: &Path, key: Result<T, KeyError>) -> Result<T, SetupError> {
    key.map_err(|error| SetupError::Key {
        path: dir.join("key"),
        error,
    })
}

/// A log that is open, with the locks that keep others out.
pub type Opened = (Locks, Log<Disk>);

/// Opens the log of an auditor's directory.
///
/// # Errors
/// [`SetupError`].
pub fn open(dir: &Path, settings: &Settings) -> Result<Opened, SetupError> {
    let key = read_key(dir)?;
    let state = dir.join(&settings.state);
    let locks = Locks::take(dir, &state).map_err(SetupError::at(dir))?;
    let log = Log::open(Disk, dir, &state, key)?;
    Ok((locks, log))
}

/// Makes an auditor's directory: key, configuration, empty log. Goes on where it was interrupted.
///
/// # Errors
/// [`SetupError`]; [`LogError::Exists`] if it is there already.
pub fn create(dir: &Path, origin: &str, state: Option<&Path>) -> Result<VerifierKey, SetupError> {
    fs::create_dir_all(dir).map_err(SetupError::at(dir))?;
    let own = default_state(Path::new(""));
    let state = match state {
        Some(state) => std::path::absolute(state).map_err(SetupError::at(state))?,
        None => own,
    };
    let key = match read_key(dir) {
        Err(SetupError::NoLog(_)) => {
            let seed = new_seed(dir)?;
            let key = named(dir, Signer::new(origin, &seed))?;
            write_key(dir, &key.private_text())?;
            key
        }
        key => key?,
    };
    if key.verifier().name() != origin {
        return Err(SetupError::OtherOrigin(key.verifier().name().to_owned()));
    }
    let settings = dir.join("auditor.toml");
    if !settings.exists() {
        let text = template(&state);
        put(&Disk, &settings, text.as_bytes()).map_err(SetupError::at(&settings))?;
    }
    // What the configuration says: an interrupted run may have written another place.
    let state = dir.join(Settings::read(dir)?.state);
    let _locks = Locks::take(dir, &state).map_err(SetupError::at(dir))?;
    let log = Log::create(Disk, dir, &state, key)?;
    Ok(log.signer().verifier().clone())
}

/// 32 random bytes.
pub(crate) fn new_seed(dir: &Path) -> Result<Zeroizing<[u8; 32]>, SetupError> {
    let mut seed = Zeroizing::new([0; 32]);
    let random = getrandom::fill(seed.as_mut_slice());
    random.map_err(|error| SetupError::at(dir)(io::Error::other(error)))?;
    Ok(seed)
}

/// Writes a key that only its owner can read.
pub(crate) fn write_key(dir: &Path, text: &str) -> Result<(), SetupError> {
    let path = dir.join("key");
    let written = || -> io::Result<()> {
        let new = beside(&path, ".new");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        // One that was there keeps its mode.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    written().map_err(SetupError::at(&path))
}

fn template(state: &Path) -> String {
    let state = toml::Value::String(state.display().to_string());
    format!(
        "# Where to listen: HTTP, for a server in front of it that speaks HTTPS.\n\
         listen = \"127.0.0.1:7411\"\n\n\
         # The newest signed checkpoint. On a disk of its own, so that a directory restored\n\
         # from an older copy is noticed.\n\
         state = {state}\n\n\
         # Who may submit: Ed25519 public keys in hexadecimal.\n\
         submitters = []\n\n\
         # How many witnesses must have cosigned before a submitter gets its proof.\n\
         quorum = 0\n\n\
         # [[witnesses]]\n\
         # key = \"witness.example/w1+0123abcd+BASE64\"\n\
         # url = \"https://witness.example\"\n"
    )
}
