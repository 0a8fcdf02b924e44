//! What a person or a script reads: the answer on standard output (before it, once, a drawn code),
//! words and errors on standard error, and an exit code that says which kind of error.

use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::ExitCode;
use strongroom_client::code::CodeError;
use strongroom_client::transport::TransportError;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::{BundleError, Error as VaultError, Outcome, Settled};

/// A kind of error: its exit code and its name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fault,
    Usage,
    WrongCode,
    Refused,
    Unreachable,
    Untrusted,
    Damaged,
    NotSetUp,
    CodeMayBeKnown,
    Incomplete,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Fault => 1,
            Self::Usage => 2,
            Self::WrongCode => 3,
            Self::Refused => 4,
            Self::Unreachable => 5,
            Self::Untrusted => 6,
            Self::Damaged => 7,
            Self::NotSetUp => 8,
            Self::CodeMayBeKnown => 9,
            Self::Incomplete => 10,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Usage => "usage",
            Self::WrongCode => "wrong-code",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::Damaged => "damaged",
            Self::NotSetUp => "not-set-up",
            Self::CodeMayBeKnown => "code-may-be-known",
            Self::Incomplete => "incomplete",
        }
    }
}

/// An error for a person: what is wrong and what to do, and details for a script.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    message: String,
    details: Value,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// Says more.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self, output: Output) -> ExitCode {
        if output.json {
            let error = json!({
                "kind": self.kind.name(), "message": self.message, "details": self.details,
            });
            eprintln!("{}", json!({ "error": error }));
        } else {
            eprintln!("strongroom: {}", self.message);
        }
        ExitCode::from(self.kind.exit_code())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Kind::Fault, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Fault, error.to_string())
    }
}

impl From<CodeError> for Failure {
    fn from(error: CodeError) -> Self {
        let hint = "Nothing was sent. (A password of your own needs --password.)";
        let error = error.to_string();
        let stop = if error.ends_with(['.', '?', '!']) {
            ""
        } else {
            "."
        };
        Self::new(Kind::WrongCode, format!("{error}{stop} {hint}"))
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let mut message = error.to_string();
        let (kind, details) = match &error {
            VaultError::WrongCode {
                attempts_left,
                totals,
            } => {
                let details = json!({
                    "attempts_left": attempts_left, "guesses_ever": totals.starts,
                });
                (Kind::WrongCode, details)
            }
            VaultError::Refused(refusal) => {
                let (more, details) = refused(refusal);
                message.push_str(&more);
                (Kind::Refused, details)
            }
            VaultError::Bundle(BundleError::Malformed) => (Kind::Unreachable, Value::Null),
            VaultError::Bundle(_) => (Kind::Untrusted, Value::Null),
            VaultError::Transport(TransportError::Refused { status, .. }) => {
                (Kind::Refused, json!({ "status": status }))
            }
            VaultError::Transport(TransportError::Settings(_)) => (Kind::Fault, Value::Null),
            VaultError::Transport(_) => (Kind::Unreachable, Value::Null),
            VaultError::Session(_) => (Kind::Untrusted, Value::Null),
            VaultError::CodeMayBeKnown { destroyed } => {
                message.push_str(". If it is another one, say --different-code");
                (Kind::CodeMayBeKnown, json!({ "destroyed": destroyed }))
            }
            VaultError::CodeInUse => (Kind::Usage, Value::Null),
            VaultError::Journal(_) | VaultError::Tokens(_) => (Kind::Fault, Value::Null),
        };
        Self {
            kind,
            message,
            details,
        }
    }
}

/// What a refusal carries: more words, and the same for scripts.
fn refused(refusal: &Refusal) -> (String, Value) {
    match refusal {
        Refusal::WaitUntil {
            until,
            now,
            attempts_left,
        } => {
            let seconds = until.0.saturating_sub(now.0).div_ceil(1000);
            let more = format!(
                ": {} from now; {attempts_left} attempts are left",
                span(seconds)
            );
            let details = json!({
                "refusal": "wait", "seconds": seconds, "attempts_left": attempts_left,
            });
            (more, details)
        }
        Refusal::Destroyed { at, totals, .. } => {
            let details = json!({
                "refusal": "destroyed", "at_unix_ms": at.0, "guesses_ever": totals.starts,
            });
            (String::new(), details)
        }
        Refusal::ResetPending { until } => (
            String::new(),
            json!({ "refusal": "reset-pending", "until_unix_ms": until.0 }),
        ),
        other => (String::new(), json!({ "refusal": format!("{other:?}") })),
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Damaged { .. } => "damaged",
        Outcome::Recovered(_) => "recovered",
        Outcome::RecoveryRefused(_) => "recovery-refused",
        Outcome::Registered(_) => "registered",
        Outcome::RegistrationRefused(_) => "registration-refused",
        Outcome::Unreadable(_) => "unreadable",
    }
}

/// Seconds in the largest fitting units.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds.div_ceil(60)),
        7_200..=172_799 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

/// Prints a line. A reader that went away wants no more; a full disk is told, with its exit code.
pub(crate) fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let printed = writeln!(out, "{line}").and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("strongroom: standard output: {error}");
            std::process::exit(i32::from(Kind::Fault.exit_code()));
        }
        _ => {}
    }
}

/// Where answers go.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// The one answer of a command.
    pub(crate) fn answer<T: Serialize>(self, value: &T, words: impl FnOnce() -> String) {
        let words = if self.json {
            json!(value).to_string()
        } else {
            words()
        };
        print(&words);
    }

    /// What must be read before the answer comes, even if it never comes.
    ///
    /// # Errors
    /// Those of standard output: nobody read it, so nothing may be done that counts on it.
    pub(crate) fn ahead<T: Serialize>(
        self,
        value: &T,
        words: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        let words = if self.json {
            json!(value).to_string()
        } else {
            words()
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{words}")?;
        out.flush()
    }

    /// What became of an earlier command that had no answer.
    pub(crate) fn settled(self, settled: &Settled) {
        let slot = settled.slot.0;
        if self.json {
            let (name, words) = (outcome_name(&settled.outcome), settled.outcome.to_string());
            let note = json!({ "slot": slot, "settled": name, "message": words });
            eprintln!("{}", json!({ "note": note }));
        } else {
            eprintln!("Slot {slot}: {}.", settled.outcome);
        }
    }

    /// Something on the way, for people only.
    pub(crate) fn note(self, words: &str) {
        if !self.json {
            eprintln!("{words}");
        }
    }
}
