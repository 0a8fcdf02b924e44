//! Starting other programs: what is started is printed, and a failure names the command.

use anyhow::{Context as _, Result, bail};
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command from words separated by blanks; paths with blanks go through `Command::arg`.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command line has a first word"));
    command.args(words);
    command
}

/// Runs with inherited output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs with inherited output and gives the status.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    println!("$ {}", shown(command));
    command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))
}

/// Runs with inherited output, and ends the child when `limit` has passed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    println!("$ {}", shown(command));
    let started = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{} ended with {status}", shown(command));
            }
            return Ok(());
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!(
                "{} was still running after {} s",
                shown(command),
                limit.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs quietly and gives standard output; on failure the error carries standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            message.trim()
        );
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// Runs with inherited errors, prints standard output as it comes, and gives it as well.
pub(crate) fn tee(command: &mut Command) -> Result<String> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut pipe = child
        .stdout
        .take()
        .expect("standard output was set to a pipe");
    let mut all = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let length = pipe.read(&mut part)?;
        if length == 0 {
            break;
        }
        print!("{}", String::from_utf8_lossy(&part[..length]));
        all.extend_from_slice(&part[..length]);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Whether `program --version` (or any start at all) works.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether the command runs quietly and succeeds.
pub(crate) fn succeeds(line: &str) -> bool {
    command(line)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!(
                "{}={}",
                name.display(),
                quoted(&value.to_string_lossy())
            ));
        }
    }
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(
        command
            .get_args()
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}
