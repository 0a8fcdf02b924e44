//! The project's own commands. `cargo xtask help` lists them; `docs/development.md` explains them.
//!
//! Everything here is development machinery: nothing of it ships, and nothing that ships depends
//! on it. It uses the standard library and one error type, so that it compiles in a second.

mod bare;
mod bench;
mod command;
mod deny;
mod fuzz;
mod mutants;
mod nightly;
mod packages;
mod sim;
mod steps;
mod tcb;
mod test;
mod tidy;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

  test      every check and every test, as CI runs them (alias: ci)
              --only A,B   run these steps only      --list   print the steps
              --fuzz-seconds N (default 60)          --no-install
  tidy      house rules: sizes, names, links, forbidden words
              --fix [FOLDER]   break long comment lines
  tcb       size and dependencies of the code inside the boundary
              --check   compare with docs/tcb.txt    --write  update it
  bare      build the inside crates for a target without an operating system
  deny      licences, banned crates, sources, advisories
  fuzz      [TARGET [FILE]]  run fuzzers, or replay one input
              --seconds N (default 60)               --list   print the targets
  bench     [NAME]  run the benches in release, print one table
              --big     the sizes that take long     --list   print the benches
  mutants   [NAME]  break one rule after another; the tests must notice
              --list    print the rules
  sim       one run of the cluster: --seed N (default 0)
              --members N   so many      --replay   print each event
  nightly   ignored tests, fleets and an upgrade, long fuzzing, mutants, big benches
              --only A,B   run these steps only
  packages  install the Debian packages that the tests use";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_else(|| "help".to_owned());
    match run(&command, Options::new(args.collect())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, mut options: Options) -> Result<()> {
    std::env::set_current_dir(workspace::root())?;
    match command {
        "test" | "ci" => test::main(&mut options),
        "tidy" => tidy::main(&mut options),
        "tcb" => tcb::main(&mut options),
        "bare" => steps::alone("bare", &mut options, |_| bare::check()),
        "deny" => {
            steps::alone("licences", &mut options, |_| deny::licences())?;
            steps::alone("advisories", &mut options, |_| deny::advisories())
        }
        "fuzz" => fuzz::main(&mut options),
        "bench" => bench::main(&mut options),
        "mutants" => mutants::main(&mut options),
        "sim" => sim::main(&mut options),
        "nightly" => nightly::main(&mut options),
        "packages" => steps::alone("packages", &mut options, |_| packages::install()),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("no command {other:?}; `cargo xtask help` lists them"),
    }
}

/// What stands after the command: each use takes its words out, and what is left over is an error.
struct Options {
    words: Vec<String>,
}

impl Options {
    fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 >= self.words.len() {
            bail!("{name} needs a value");
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    fn seconds(&mut self, name: &str, default: u64) -> Result<u64> {
        match self.value(name)? {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| anyhow::anyhow!("{name} takes seconds, not {text:?}")),
        }
    }

    fn positional(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with("--"))?;
        Some(self.words.remove(at))
    }

    fn done(&self) -> Result<()> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => bail!("unknown option {word:?}; `cargo xtask help` lists them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn options(text: &str) -> Options {
        Options::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_taken_out_and_the_rest_is_refused() {
        let mut options = options("name --only a,b --list");
        assert_eq!(options.value("--only").unwrap().as_deref(), Some("a,b"));
        assert!(options.done().is_err());
        assert!(options.flag("--list"));
        assert_eq!(options.positional().as_deref(), Some("name"));
        assert!(options.done().is_ok());
    }

    #[test]
    fn an_option_without_its_value_is_refused() {
        assert!(options("--only").value("--only").is_err());
        assert!(options("--seconds soon").seconds("--seconds", 1).is_err());
    }
}
