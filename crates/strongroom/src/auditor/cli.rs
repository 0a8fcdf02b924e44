//! The words of `strongroom auditor`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Auditor {
    /// Make a log: its key, its configuration, its first checkpoint
    Init(Init),
    /// Serve the log and take submissions
    Serve(Place),
    /// Print the log's public key, as verifiers are configured with it
    Key(Place),
    /// Hand an entry in, verify the proof that comes back, and keep it
    Submit(Submit),
    /// Look after other logs: cosign what continues what was cosigned before
    #[command(subcommand)]
    Witness(Witness),
}

#[derive(Args)]
pub(crate) struct Place {
    /// The directory that `init` made
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Name of the log for ever: its URL without `https://`
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    /// Where the newest signed checkpoint is kept: best on another disk than the directory, so that
    /// a directory restored from an older copy is noticed
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Witness {
    /// Make a witness: its key and its configuration
    Init {
        #[command(flatten)]
        place: Place,
        /// Name of the witness for ever: its URL without `https://`
        #[arg(long)]
        name: String,
    },
    /// Serve the witness
    Serve(Place),
}

#[derive(Args)]
pub(crate) struct Submit {
    /// Where the log takes submissions
    #[arg(long)]
    pub(crate) url: String,
    /// The log's public key, NAME+ID+BASE64
    #[arg(long, value_name = "KEY")]
    pub(crate) log: String,
    /// Public key of a witness; once for each
    #[arg(long, value_name = "KEY")]
    pub(crate) witness: Vec<String>,
    /// How many of them must have cosigned
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) quorum: usize,
    /// File with the seed that submissions are signed with: `operator` of a `founders.json`
    #[arg(long, value_name = "FILE")]
    pub(crate) operator: PathBuf,
    /// Where the proof goes, by custom with the ending `.tlog-proof`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(subcommand)]
    pub(crate) entry: Kind,
}

#[derive(Subcommand)]
pub(crate) enum Kind {
    /// A fleet's manifest
    Manifest {
        /// The bundle that `GET /v1/fleet` serves
        bundle: PathBuf,
        /// File with the seed of an officer who approves it; once for each
        #[arg(long, value_name = "FILE")]
        officer: Vec<PathBuf>,
    },
    /// The transcript of a ceremony
    Transcript {
        /// The transcript
        file: PathBuf,
        /// The fleet
        #[arg(long, value_name = "ID")]
        fleet: String,
        /// Epoch of the manifest that came out
        #[arg(long)]
        epoch: u64,
    },
    /// An image release
    Release {
        /// Its version
        #[arg(value_name = "VERSION")]
        number: String,
        /// What platforms measure of it, 64 hexadecimal digits
        #[arg(long, value_name = "HEX")]
        measurement: String,
        /// When, milliseconds since 1970
        #[arg(long, value_name = "MS")]
        date: u64,
    },
}
