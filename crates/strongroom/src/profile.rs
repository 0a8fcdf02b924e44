//! This device's profile: a directory with `profile.json` (fleet, server, account) and the device's
//! keys. A real app keeps the keys in the platform's keystore; a terminal has files of mode 0600.

use crate::output::{Failure, Kind, Output};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_client::issuer::{Account, Issuer};
use strongroom_client::tokens::{CommandTokens, TokenError};
use strongroom_client::transport::Http;
use strongroom_client::wire::manifest::PlatformClass;
use strongroom_client::wire::{FleetId, Slot};
use strongroom_client::{
    BackupKeys, Device, FileJournal, Journal, Roots, TokenSource, Tokens, Vault,
};

/// `profile.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// `https://` and a host.
    pub(crate) server: String,
    /// More nodes of the same fleet, for when that one does not answer.
    #[serde(default)]
    pub(crate) other_servers: Vec<String>,
    /// The fleet's id, 64 hexadecimal digits.
    pub(crate) fleet: String,
    /// PEM file of the authority to trust, relative to the profile; else the system's.
    pub(crate) authority: Option<PathBuf>,
    /// Least class of platform that this device accepts.
    pub(crate) class_min: Class,
    /// Least R that this device accepts: members that may be rolled back or cloned.
    #[serde(default)]
    pub(crate) rollback_tolerance_min: u8,
    /// Where account tokens come from.
    pub(crate) tokens: TokensFrom,
}

/// Platform classes (DESIGN §8), weakest first.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    None,
    AtRest,
    Isolating,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokensFrom {
    /// A command that prints them, run by `sh -c`.
    Command(String),
    /// The issuer's own key: development fleets only.
    Development {
        issuer: String,
        seed: String,
        subject: String,
    },
}

/// Either source of tokens.
pub(crate) enum Source {
    Command(CommandTokens),
    Development(Box<Account>),
}

impl TokenSource for Source {
    async fn tokens(&self) -> Result<Tokens, TokenError> {
        match self {
            Self::Command(command) => command.tokens().await,
            Self::Development(account) => account.tokens().await,
        }
    }
}

/// An opened profile.
pub(crate) struct Profile {
    dir: PathBuf,
    settings: Settings,
    journal: Arc<FileJournal>,
}

/// Where a profile is looked for if none is named.
fn default_dir() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    base.or_else(home)
        .map(|base| base.join("strongroom"))
        .ok_or_else(|| Failure::usage("name a profile with --profile DIR: HOME is not set"))
}

impl Profile {
    /// Opens the named profile, or the default one.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, Failure> {
        let dir = named.map_or_else(default_dir, |dir| Ok(dir.to_owned()))?;
        let path = dir.join("profile.json");
        let text = std::fs::read(&path).map_err(|error| {
            let message = format!(
                "no profile at {}: {error}. `strongroom dev` makes one; name it with --profile or \
                 STRONGROOM_PROFILE",
                path.display()
            );
            Failure::new(Kind::NotSetUp, message)
        })?;
        let settings = serde_json::from_slice(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        let journal = Arc::new(FileJournal::open(&dir.join("device"))?);
        Ok(Self {
            dir,
            settings,
            journal,
        })
    }

    /// Writes a new profile.
    pub(crate) fn create(dir: &Path, settings: &Settings) -> Result<(), Failure> {
        let journal = FileJournal::open(dir)?;
        let text = serde_json::to_vec_pretty(settings).map_err(anyhow::Error::from)?;
        Ok(journal.put("profile.json", &text)?)
    }

    pub(crate) fn fleet(&self) -> Result<FleetId, Failure> {
        let bytes = hex::decode(&self.settings.fleet).ok();
        bytes
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(FleetId)
            .ok_or_else(|| Failure::usage("profile.json: fleet is not 64 hexadecimal digits"))
    }

    fn source(&self, fleet: FleetId) -> Result<Source, Failure> {
        Ok(match &self.settings.tokens {
            TokensFrom::Command(command) => Source::Command(CommandTokens(command.clone())),
            TokensFrom::Development {
                issuer,
                seed,
                subject,
            } => {
                let seed = hex::decode(seed).ok();
                let seed = seed
                    .and_then(|seed| <[u8; 32]>::try_from(seed).ok())
                    .ok_or_else(|| Failure::usage("profile.json: seed is not 32 bytes in hex"))?;
                let account = Account::new(Issuer::new(issuer, &seed), fleet, subject);
                Source::Development(Box::new(account))
            }
        })
    }

    /// Connects, and ends what an earlier command sent and had no answer to: whoever typed that
    /// one must hear what became of it.
    pub(crate) async fn open_vault(&self, output: Output) -> Result<Vault<Source>, Failure> {
        let vault = self.connect().await?;
        let finished = vault.finish_pending().await;
        for settled in vault.take_settled() {
            output.settled(&settled);
        }
        finished?;
        Ok(vault)
    }

    /// A connection to each node of the fleet by itself, and one to any of them.
    pub(crate) fn nodes(&self) -> Result<(Vec<(String, Http)>, Http), Failure> {
        let authority = self.authority()?;
        let servers = self.servers();
        let any = Http::to_any(&servers, authority.as_deref());
        let any = any.map_err(strongroom_client::Error::from)?;
        let each = servers.into_iter().map(|server| {
            let http = Http::new(&server, authority.as_deref());
            Ok((server, http.map_err(strongroom_client::Error::from)?))
        });
        Ok((each.collect::<Result<_, Failure>>()?, any))
    }

    fn servers(&self) -> Vec<String> {
        let first = std::iter::once(&self.settings.server);
        first.chain(&self.settings.other_servers).cloned().collect()
    }

    fn authority(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.settings.authority else {
            return Ok(None);
        };
        let path = self.dir.join(path);
        let read = std::fs::read(&path);
        let read = read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Some(read))
    }

    /// Connects to the fleet and checks that it is the one this profile trusts.
    pub(crate) async fn connect(&self) -> Result<Vault<Source>, Failure> {
        let fleet = self.fleet()?;
        let (authority, servers) = (self.authority()?, self.servers());
        let http =
            Http::to_any(&servers, authority.as_deref()).map_err(strongroom_client::Error::from)?;
        let roots = self.roots()?;
        let source = self.source(fleet)?;
        Ok(Vault::connect(http, &roots, source, self.journal.clone()).await?)
    }

    /// What this profile trusts.
    pub(crate) fn roots(&self) -> Result<Roots, Failure> {
        Ok(Roots {
            fleet: self.fleet()?,
            attempts_max: 10,
            members_min: 1,
            rollback_tolerance_min: self.settings.rollback_tolerance_min,
            class_min: match self.settings.class_min {
                Class::None => PlatformClass::None,
                Class::AtRest => PlatformClass::AtRest,
                Class::Isolating => PlatformClass::Isolating,
            },
        })
    }

    /// The account's name: a password must not contain it.
    pub(crate) fn subject(&self) -> &str {
        match &self.settings.tokens {
            TokensFrom::Development { subject, .. } => subject,
            TokensFrom::Command(_) => "",
        }
    }

    /// What this device keeps for a slot.
    pub(crate) fn device(&self, slot: Slot) -> Device<'_> {
        Device::new(self.journal.as_ref(), slot)
    }

    /// The keys of a slot, or the error that says how to get them.
    pub(crate) fn needed_keys(&self, slot: Slot) -> Result<BackupKeys, Failure> {
        self.device(slot).keys()?.ok_or_else(|| {
            let message = "this device holds no backup key: `strongroom register` makes one, \
                           `strongroom recover` gets yours back";
            Failure::new(Kind::NotSetUp, message)
        })
    }
}
