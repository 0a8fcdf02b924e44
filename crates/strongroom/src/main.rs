//! Strongroom: one program for the person, the operator and the auditor (DESIGN §12).
//!
//! Secrets are never arguments: a code or password is typed hidden or read from a file.
#![forbid(unsafe_code)]

mod auditor;
mod cli;
mod demo;
mod dev;
mod fleet;
mod output;
mod profile;
mod sample;
mod secret;
mod snapshots;
mod user;

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Command};
use output::{Failure, Output};
use profile::Profile;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    // The HSM process: before anything is allocated or started that it should not have.
    if arguments.peek().is_some_and(|first| first == "hsm") {
        return strongroom_hsm::run(arguments.skip(1));
    }
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(output),
    };
    match runtime.block_on(run(&cli, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

async fn run(cli: &Cli, output: Output) -> Result<(), Failure> {
    let profile = || Profile::open(cli.profile.as_deref());
    match &cli.command {
        // Dropped half way, it takes its processes and its directory with it.
        Command::Demo(options) => tokio::select! {
            done = demo::run(options, output) => done,
            _ = tokio::signal::ctrl_c() => {
                let words = "interrupted; what it had made is removed again";
                Err(Failure::new(output::Kind::Fault, words))
            }
        },
        Command::Dev(options) => dev::run(options, output).await,
        Command::Fleet(command) => fleet::run(&profile()?, command, output).await,
        Command::Auditor(command) => auditor::run(command, output).await,
        Command::Node(options) => dev::node(options).await,
        Command::Register(options) => user::register(&profile()?, options, output).await,
        Command::ChangeCode(options) => user::store(&profile()?, options, true, output).await,
        Command::Recover(options) => user::recover(&profile()?, options, output).await,
        Command::Rehearse(options) => user::rehearse(&profile()?, options, output),
        Command::Status(slot) => user::status(&profile()?, slot.slot, output).await,
        Command::Delete(options) => user::delete(&profile()?, options, output).await,
        Command::Reset(slot) => user::reset(&profile()?, slot.slot, output).await,
        Command::CancelReset(slot) => user::cancel(&profile()?, slot.slot, output).await,
        Command::Key(command) => user::key(&profile()?, command, output),
        Command::Backup(options) => snapshots::backup(&profile()?, options, output).await,
        Command::Restore(options) => snapshots::restore(&profile()?, options, output).await,
        Command::Snapshots(store) => snapshots::list(store, output).await,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, "strongroom", &mut text);
            print_page(&text);
            Ok(())
        }
        Command::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut text)?;
            print_page(&text);
            Ok(())
        }
    }
}

fn print_page(text: &[u8]) {
    output::print(String::from_utf8_lossy(text).trim_end());
}
