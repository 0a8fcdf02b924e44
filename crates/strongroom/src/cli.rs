//! The command line: names, help, and nothing else.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Backups that survive the loss of every device, opened by a recovery code that nobody can guess
/// more than ten times.
#[derive(Parser)]
#[command(name = "strongroom", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// One JSON object a line: answers on standard output, errors and notes on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Directory of this device's profile: which fleet, which account, and the device's keys
    #[arg(long, global = true, env = "STRONGROOM_PROFILE", value_name = "DIR")]
    pub(crate) profile: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a fault of this machine or this program: the message names it
  2  wrong usage
  3  the code is wrong, or not a code; the message says how many attempts are left
  4  the fleet refused, and the message says why
  5  the server cannot be reached or is busy; nothing more is spent by trying again
  6  the fleet is not the one that this profile trusts
  7  the backup is damaged, or not for this key
  8  this device has no profile or no key yet
  9  guessing erased a key of this account: register with another code, and say that it is one
  10 the backup stands, but without what could not be read

Start with `strongroom demo`, or leave a vault running with `strongroom dev`.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lose a phone and get the backup back, on this machine, in a minute
    Demo(Demo),
    /// Leave a vault running here to try every command against
    Dev(Dev),
    /// Make a backup key and store it under a new recovery code
    Register(NewKey),
    /// Get the backup key back with the code
    Recover(Recover),
    /// Check a code against this device, without spending an attempt
    Rehearse(Rehearse),
    /// Show attempts left, waits, resets and history
    Status(Slot),
    /// Put the same backup key under a new code
    ChangeCode(Register),
    /// Erase the backup key from the fleet
    Delete(Delete),
    /// Begin replacing a key that nobody can prove to own any more; it waits
    Reset(Slot),
    /// Stop a reset that waits
    CancelReset(Slot),
    /// Write an encrypted backup of a directory
    Backup(Backup),
    /// Read a backup back
    Restore(Restore),
    /// List the backups of a store
    Snapshots(Store),
    /// A 64-digit key for people who want no vault at all
    #[command(subcommand)]
    Key(Key),
    /// Look after a fleet: its health, its clock
    #[command(subcommand)]
    Fleet(Fleet),
    /// Keep the transparency log, witness another one, hand in an entry
    #[command(subcommand)]
    Auditor(crate::auditor::cli::Auditor),
    /// Run a node: the untrusted host with its HSM process
    Node(Node),
    /// Print completions for a shell
    Completions {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// The directory to back up; a sample of a few hundred files if absent
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Dev {
    /// Where the vault's data and a ready profile go
    #[arg(long, default_value = "strongroom-dev")]
    pub(crate) dir: PathBuf,
    /// Members of the fleet, each a node and an HSM in processes of their own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) members: u8,
    /// R: members that may be rolled back or cloned without breaking the bound on guesses
    #[arg(long, default_value_t = 0, value_name = "R")]
    pub(crate) rollback_tolerance: u8,
    /// Address and port of the first member, the others take the next ports; port 0 takes free ones
    #[arg(long, default_value = "127.0.0.1:7311")]
    pub(crate) listen: SocketAddr,
    /// Waits: a person can sit out `short`, `demo` is shorter still, `default` is what a fleet has
    #[arg(long, value_enum, default_value_t = Waits::Short)]
    pub(crate) waits: Waits,
    /// Also write all that this host sees (requests, answers, frames to the HSM) to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Waits {
    Short,
    Demo,
    Default,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Slot {
    /// Which of the account's records (0 to 3)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) slot: u8,
}

#[derive(Args)]
pub(crate) struct Secret {
    /// A password or PIN of your own instead of a generated code
    #[arg(long)]
    pub(crate) password: bool,
    /// Read it from a file instead of asking (`-` is standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) code_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Register {
    #[command(flatten)]
    pub(crate) slot: Slot,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// How hard each guess is made on this device
    #[arg(long, value_enum, default_value_t = Hardness::Standard)]
    pub(crate) stretching: Hardness,
    /// The password is not the one of a key that guessing erased
    #[arg(long)]
    pub(crate) different_code: bool,
    #[command(flatten)]
    pub(crate) keep: KeepCode,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct KeepCode {
    /// Keep the code itself on this device, sealed under its key; else only what `rehearse` needs
    #[arg(long)]
    pub(crate) keep_code: bool,
}

/// Argon2id parameter sets, chosen by measurement; docs/decisions/0005.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Hardness {
    /// 19 MiB, 2 passes: the floor, for small devices
    Light,
    /// 64 MiB, 3 passes
    Standard,
    /// 128 MiB, 3 passes: the ceiling
    Strong,
}

#[derive(Args)]
pub(crate) struct NewKey {
    #[command(flatten)]
    pub(crate) register: Register,
    /// Give up the key that this device holds: no new code will open what was backed up with it
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) slot: Slot,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Print a secret for another program, and nothing else. Uses the key on this device if it is
    /// there, so that it may be called often
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "password")]
    pub(crate) print: Option<Print>,
    /// Accept a code with three letters corrected, without asking
    #[arg(long)]
    pub(crate) accept_suggestion: bool,
    #[command(flatten)]
    pub(crate) keep: KeepCode,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Print {
    /// For `RESTIC_PASSWORD_COMMAND`: 64 hexadecimal digits
    Password,
    /// For `age --decrypt --identity -`
    Age,
}

#[derive(Args)]
pub(crate) struct Rehearse {
    #[command(flatten)]
    pub(crate) slot: Slot,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) slot: Slot,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Store {
    /// A folder, or s3://BUCKET/PREFIX (credentials from the usual AWS_ variables)
    #[arg(long, env = "STRONGROOM_STORE", value_name = "FOLDER|URL")]
    pub(crate) store: String,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// What to back up
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) slot: Slot,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// Where to; must not exist, or be empty
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) store: Store,
    #[command(flatten)]
    pub(crate) slot: Slot,
    /// Which one; the newest if absent
    #[arg(long)]
    pub(crate) snapshot: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make one, show it once, and keep it on this device
    New(Slot),
    /// Type one in
    Enter {
        #[command(flatten)]
        slot: Slot,
        /// Read it from a file instead of asking (`-` is standard input)
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Fleet {
    /// Ask every member how it is: who leads, who is behind, whose clock is off
    Doctor,
    /// Set the fleet's time, after a clock that was ahead moved it; signed by an officer
    Clock {
        /// File with the officer's seed: `founders.json` of a development fleet
        #[arg(long, value_name = "FILE")]
        officer: PathBuf,
        /// The time, milliseconds since 1970; by default this machine's
        #[arg(long, value_name = "MS")]
        time: Option<u64>,
    },
    /// Take members in: each runs already, with `node --join`
    Add(Added),
    /// Take members out for ever: they erase the fleet's secret when they hear of it
    Remove(Removed),
    /// Take members out and others in, in one change
    Replace {
        /// Number of a member that leaves
        #[arg(long, value_name = "NUMBER", required = true)]
        member: Vec<u8>,
        #[command(flatten)]
        added: Added,
    },
}

#[derive(Args)]
pub(crate) struct Added {
    /// What `node --join` wrote at a host that joins; several times for several of them
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) joiner: Vec<PathBuf>,
    /// The name of the site where they stand
    #[arg(long)]
    pub(crate) site: Option<String>,
    #[command(flatten)]
    pub(crate) signers: Signers,
}

#[derive(Args)]
pub(crate) struct Removed {
    /// Number of a member that leaves
    #[arg(long, value_name = "NUMBER", required = true)]
    pub(crate) member: Vec<u8>,
    #[command(flatten)]
    pub(crate) signers: Signers,
}

#[derive(Args)]
pub(crate) struct Signers {
    /// File with an officer's seed (`founders.json` of a development fleet); several times for
    /// several officers
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) officer: Vec<PathBuf>,
    /// File with the operator's seed; by default the first officer's
    #[arg(long, value_name = "FILE")]
    pub(crate) operator: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Node {
    /// Configuration: listen, data, and optionally peers, hsm, certificate, key
    #[arg(long, default_value = "node.toml")]
    pub(crate) config: PathBuf,
    /// The store is lost: begin a new one from another member's, for the fleet of this bundle (what
    /// `GET /v1/fleet` of any member serves)
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) reseed: Option<PathBuf>,
    /// Join the fleet of this bundle: writes `joiner.json` into the data directory, for
    /// `fleet add`, and waits to be taken in
    #[arg(long, value_name = "BUNDLE", conflicts_with = "reseed")]
    pub(crate) join: Option<PathBuf>,
    /// Stop when standard input ends, as it does when the process that started this one is gone
    #[arg(long)]
    pub(crate) with_parent: bool,
}
