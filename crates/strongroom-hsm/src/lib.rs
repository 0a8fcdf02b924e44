//! The HSM image: a [`Platform`](strongroom_vault::Platform), a framed serve loop and worker
//! threads around `strongroom-vault` (DESIGN §3, §8).
//!
//! The process has one socket, to its host, and one directory. It opens no network and runs nothing
//! ([`sandbox`]). On the `software` platform its class is `none`: whoever is root on the machine
//! reads its memory. It is for development, and keeps the same boundary as the real ones.

#![forbid(unsafe_code)]

pub mod link;
pub mod platform;
pub mod sandbox;
pub mod serve;

use platform::software::{OpenError, Software};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// How to start it.
pub const USAGE: &str = "\
strongroom-hsm: the HSM process of a Strongroom node (software platform, class none)

usage: strongroom-hsm --dir DIR [--threads N] [--self-test-sandbox]

It is started by strongroom-node with one end of a socket pair as its standard input, and serves
frames there until the other end closes.

  --dir DIR             its own directory; nobody else may use it
  --threads N           worker threads (default: one for each core)
  --self-test-sandbox   enter the sandbox, try what it must forbid, print what happened
  --version, --help

exit codes: 0 the host closed the connection; 2 usage; 3 the directory is in use; 4 the directory's
contents are damaged or incomplete; 5 the sandbox could not be set up; 6 the connection broke the
protocol of frames; 7 a fault of its own
";

enum Command {
    Serve {
        dir: PathBuf,
        threads: usize,
        self_test: bool,
    },
    Print(String),
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut dir, mut threads, mut self_test) = (None, None, false);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = |name: &str| arguments.next().ok_or(format!("{name} needs a value"));
        match argument.as_str() {
            "--dir" => dir = Some(PathBuf::from(value("--dir")?)),
            "--threads" => {
                let number = value("--threads")?.parse::<usize>().ok();
                threads = Some(
                    number
                        .filter(|n| (1..=256).contains(n))
                        .ok_or("--threads: 1 to 256")?,
                );
            }
            "--self-test-sandbox" => self_test = true,
            "--version" => {
                return Ok(Command::Print(format!(
                    "strongroom-hsm {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            "--help" | "-h" => return Ok(Command::Print(USAGE.to_owned())),
            other => return Err(format!("unknown argument {other:?}; see --help")),
        }
    }
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let dir = dir.ok_or("--dir is missing; see --help")?;
    Ok(Command::Serve {
        dir,
        threads: threads.unwrap_or(cores),
        self_test,
    })
}

/// Runs the HSM process: parses arguments, opens the platform, enters the sandbox, serves.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    match parse(arguments) {
        Ok(Command::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Command::Serve {
            dir,
            threads,
            self_test,
        }) => serve_dir(&dir, threads, self_test),
        Err(message) => fail(2, &message),
    }
}

fn serve_dir(dir: &std::path::Path, threads: usize, self_test: bool) -> ExitCode {
    let platform = match Software::open(dir) {
        Ok(platform) => Arc::new(platform),
        Err(error @ OpenError::InUse) => return fail(3, &error.to_string()),
        Err(error) => return fail(4, &error.to_string()),
    };
    if let Err(error) = sandbox::enter(dir) {
        return fail(5, &error);
    }
    if self_test {
        if let Err(error) = sandbox::close_calls() {
            return fail(5, &error);
        }
        print!("{}", sandbox::self_test());
        return ExitCode::SUCCESS;
    }
    match serve::serve_stdin(&platform, threads, sandbox::close_calls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ serve::ServeError::Start) => fail(4, &error.to_string()),
        Err(error @ serve::ServeError::Sandbox(_)) => fail(5, &error.to_string()),
        Err(error @ serve::ServeError::Frames(_)) => fail(6, &error.to_string()),
        Err(error) => fail(7, &error.to_string()),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("strongroom-hsm: {message}");
    ExitCode::from(code)
}
