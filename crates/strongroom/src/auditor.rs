//! `auditor`: the transparency log, a witness of another one, and handing entries in.

pub(crate) mod cli;

use crate::output::{Failure, Kind, Output};
use cli::{Auditor, Init, Kind as EntryKind, Place, Submit, Witness};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;
use strongroom_client::wire::entry::OfficerSignature;
use strongroom_client::wire::manifest::Bundle;
use strongroom_client::wire::{Digest, FleetId, PublicKey, Signature, UnixMs, decode};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_log::client::{self, SubmitError};
use strongroom_log::entry::{Entry, Release, SignedManifest, Transcript};
use strongroom_log::log::LogError;
use strongroom_log::note::VerifierKey;
use strongroom_log::policy::TrustedLog;
use strongroom_log::serve::{ServeError, Service, WitnessService, create_witness};
use strongroom_log::settings::{self, SetupError};
use strongroom_log::submission::Submission;

pub(crate) async fn run(command: &Auditor, output: Output) -> Result<(), Failure> {
    match command {
        Auditor::Init(options) => init(options, output),
        Auditor::Serve(place) => serve(place, output).await,
        Auditor::Key(place) => key(place, output),
        Auditor::Submit(options) => submit(options, output).await,
        Auditor::Witness(Witness::Init { place, name }) => {
            let key = create_witness(&place.dir, name)?;
            let settings = place.dir.join("witness.toml");
            made(&key, &settings, "logs to watch", output);
            Ok(())
        }
        Auditor::Witness(Witness::Serve(place)) => witness(place, output).await,
    }
}

fn init(options: &Init, output: Output) -> Result<(), Failure> {
    let dir = &options.place.dir;
    let key = settings::create(dir, &options.origin, options.state.as_deref())?;
    made(
        &key,
        &dir.join("auditor.toml"),
        "submitters and witnesses",
        output,
    );
    Ok(())
}

fn made(key: &VerifierKey, settings: &Path, what: &str, output: Output) {
    let key = key.to_string();
    output.answer(&json!({ "key": key, "settings": settings }), || {
        format!(
            "Its public key, for whoever verifies:\n\n  {key}\n\nName the {what} in {}, then serve \
             it. The file `key` beside it must never be lost, copied or read.",
            settings.display()
        )
    });
}

fn key(place: &Place, output: Output) -> Result<(), Failure> {
    let key = settings::read_key(&place.dir)?;
    let key = key.verifier().to_string();
    output.answer(&json!({ "key": key }), || key.clone());
    Ok(())
}

async fn serve(place: &Place, output: Output) -> Result<(), Failure> {
    crate::dev::log();
    let service = Service::open(&place.dir)?;
    ready(service.address()?, service.key(), output);
    Ok(service.run(crate::dev::stopped()).await?)
}

async fn witness(place: &Place, output: Output) -> Result<(), Failure> {
    crate::dev::log();
    let service = WitnessService::open(&place.dir)?;
    ready(service.address()?, service.key(), output);
    Ok(service.run(crate::dev::stopped()).await?)
}

fn ready(address: std::net::SocketAddr, key: &VerifierKey, output: Output) {
    let (url, key) = (format!("http://{address}"), key.to_string());
    output.answer(&json!({ "url": url, "key": key }), || {
        format!("Serving {key}\nat {url}, until Ctrl-C.")
    });
}

async fn submit(options: &Submit, output: Output) -> Result<(), Failure> {
    let named = |key: &String| {
        let wrong = |error| Failure::usage(format!("{key}: {error}"));
        VerifierKey::parse(key).map_err(wrong)
    };
    let witnesses = options
        .witness
        .iter()
        .map(named)
        .collect::<Result<_, _>>()?;
    let log = TrustedLog::new(named(&options.log)?, witnesses, options.quorum);
    let log = log.map_err(|error| Failure::usage(error.to_string()))?;
    let key = seed(&options.operator, "operator")?;
    let entry = entry(&options.entry)?.to_bytes();
    let entry = entry.map_err(|_| Failure::usage("the entry is longer than 65,535 bytes"))?;
    let submission = Submission::sign(&key, log.origin(), &entry);
    let answer = client::submit(&options.url, &submission, &log).await;
    let (proof, inclusion) = answer.map_err(|error| refused(error, &key))?;
    let out = &options.out;
    std::fs::write(out, proof.to_string()).map_err(|error| at(out, &error))?;
    let checkpoint = inclusion.checkpoint();
    let answer = json!({
        "index": inclusion.index(), "size": checkpoint.size(),
        "cosigned": checkpoint.cosigned_s().len(), "proof": out,
    });
    output.answer(&answer, || {
        format!(
            "Logged at index {} of {}, cosigned by {}. The proof is in {}.",
            inclusion.index(),
            log.origin(),
            checkpoint.cosigned_s().len(),
            out.display()
        )
    });
    Ok(())
}

fn entry(kind: &EntryKind) -> Result<Entry, Failure> {
    match kind {
        EntryKind::Manifest { bundle, officer } => {
            let bytes = std::fs::read(bundle).map_err(|error| at(bundle, &error))?;
            let signed: Bundle = decode(&bytes).map_err(|error| at(bundle, &error))?;
            let approval = |path: &std::path::PathBuf| {
                let key = seed(path, "officer")?;
                let signature = statement::sign(&key, Label::Officers, &signed.manifest);
                Ok(OfficerSignature {
                    officer: PublicKey(key.public()),
                    signature: Signature(signature),
                })
            };
            let officers = officer
                .iter()
                .map(approval)
                .collect::<Result<_, Failure>>()?;
            Ok(Entry::Manifest(SignedManifest {
                operator: signed.operator,
                officers,
                manifest: signed.manifest,
            }))
        }
        EntryKind::Transcript { file, fleet, epoch } => Ok(Entry::Transcript(Transcript {
            fleet: FleetId(hex32(fleet, "--fleet")?),
            epoch: *epoch,
            transcript: std::fs::read(file).map_err(|error| at(file, &error))?,
        })),
        EntryKind::Release {
            number,
            measurement,
            date,
        } => Ok(Entry::Release(Release {
            measurement: Digest(hex32(measurement, "--measurement")?),
            version: number.clone(),
            date: UnixMs(*date),
        })),
    }
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

fn hex32(text: &str, what: &str) -> Result<[u8; 32], Failure> {
    let bytes = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Failure::usage(format!("{what} takes 64 hexadecimal digits")))
}

/// A seed in a file of founders.
fn seed(path: &Path, whose: &str) -> Result<SigningKey, Failure> {
    let text = zeroize::Zeroizing::new(std::fs::read(path).map_err(|error| at(path, &error))?);
    let seeds: Value = serde_json::from_slice(&text).map_err(|error| at(path, &error))?;
    let seed = seeds.get(whose).and_then(Value::as_str).unwrap_or_default();
    let seed = hex32(seed, whose).map_err(|_| {
        let wrong = format!("no seed of the {whose}: 64 hexadecimal digits under that name");
        at(path, &wrong)
    })?;
    Ok(SigningKey::from_seed(&seed))
}

fn refused(error: SubmitError, key: &SigningKey) -> Failure {
    let (kind, more) = match &error {
        SubmitError::Unreachable(_) | SubmitError::Busy(_) => (Kind::Unreachable, String::new()),
        SubmitError::Refused { name, .. } if name == "submitter" => (
            Kind::Refused,
            format!(". This key is {}", hex::encode(key.public())),
        ),
        SubmitError::Refused { name, .. } if name == "forked" => (Kind::Untrusted, String::new()),
        SubmitError::Refused { status: 500.., .. } => (Kind::Unreachable, String::new()),
        SubmitError::Refused { .. } => (Kind::Refused, String::new()),
        SubmitError::Malformed(_) | SubmitError::NotIncluded(_) => (Kind::Untrusted, String::new()),
        SubmitError::Submission(_) => (Kind::Fault, String::new()),
    };
    Failure::new(kind, format!("{error}{more}"))
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let kind = match &error {
            SetupError::NoLog(_) => Kind::NotSetUp,
            SetupError::Settings { .. }
            | SetupError::Key { .. }
            | SetupError::KeyIsOpen(_)
            | SetupError::OtherOrigin(_)
            | SetupError::Log(LogError::Exists) => Kind::Usage,
            SetupError::Io { source, .. } if source.kind() == ErrorKind::NotFound => Kind::NotSetUp,
            SetupError::Io { .. } | SetupError::Log(_) => Kind::Fault,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Setup(error) => error.into(),
            ServeError::Unpublished(error) => Self::new(Kind::Untrusted, error.to_string()),
            error => Self::new(Kind::Fault, error.to_string()),
        }
    }
}
