//! Codes, passwords and keys as a person types them: hidden, never in an argument, never printed
//! but once.

use crate::cli::Secret;
use crate::output::{Failure, Kind, Output};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use strongroom_client::Os;
use strongroom_client::code::{Parsed, RecoveryCode};
use strongroom_client::weak::UserSecret;
use zeroize::Zeroizing;

/// What OPAQUE gets.
pub(crate) type Code = Zeroizing<Vec<u8>>;

impl Secret {
    /// Somebody is there to be asked more than the secret itself.
    pub(crate) fn asks(&self) -> bool {
        self.code_file.is_none() && std::io::stdin().is_terminal()
    }
}

/// Reads one line: from a file, from standard input if it is no terminal, else hidden.
pub(crate) fn line(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) if path != Path::new("-") => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
            let text = Zeroizing::new(text);
            Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
        }
        None if std::io::stdin().is_terminal() => Zeroizing::new(
            rpassword::prompt_password(prompt)
                .map_err(|e| Failure::usage(format!("cannot ask on this terminal: {e}")))?,
        ),
        _ => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().lock().read_line(&mut text)?;
            text
        }
    };
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() {
        return Err(Failure::usage("nothing was typed"));
    }
    Ok(text)
}

/// A new code to register with: drawn, or chosen by the person and judged. A drawn one is returned
/// for showing.
pub(crate) fn choose(
    secret: &Secret,
    about: &[&str],
) -> Result<(Code, Option<Zeroizing<String>>), Failure> {
    if !secret.password {
        if secret.code_file.is_some() {
            let message = "a recovery code is drawn, not chosen; --code-file goes with --password";
            return Err(Failure::usage(message));
        }
        let code = RecoveryCode::generate(&Os);
        let bytes = Zeroizing::new(code.expose().as_bytes().to_vec());
        return Ok((bytes, Some(code.grouped())));
    }
    let typed = line(secret.code_file.as_deref(), "New password or PIN: ")?;
    if secret.asks() {
        let again = line(None, "The same again: ")?;
        if *again != *typed {
            return Err(Failure::usage(
                "the two were not the same; nothing was changed",
            ));
        }
    }
    let chosen = UserSecret::choose(&typed, about)
        .map_err(|weak| Failure::new(Kind::WrongCode, weak.to_string()))?;
    Ok((Zeroizing::new(chosen.expose().to_vec()), None))
}

/// A code typed to recover: understood, corrected where that is certain, asked about where not.
pub(crate) fn typed(secret: &Secret, accept: bool, output: Output) -> Result<Code, Failure> {
    if secret.password {
        let typed = line(secret.code_file.as_deref(), "Password or PIN: ")?;
        return Ok(Zeroizing::new(UserSecret::typed(&typed).expose().to_vec()));
    }
    let typed = line(secret.code_file.as_deref(), "Recovery code: ")?;
    let code = match RecoveryCode::parse(&typed)? {
        Parsed::Exact(code) => code,
        Parsed::Corrected(code, positions) => {
            let places: Vec<String> = positions.iter().map(ToString::to_string).collect();
            let places = places.join(" and ");
            let plural = if positions.len() > 1 { "s" } else { "" };
            output.note(&format!("Corrected: letter{plural} {places}."));
            code
        }
        Parsed::Suggestion(code, positions) => {
            if accept {
                output.note("Three letters seem wrong; the nearest code was taken.");
            } else {
                confirm_suggestion(&code, &positions)?;
            }
            code
        }
    };
    Ok(Zeroizing::new(code.expose().as_bytes().to_vec()))
}

fn confirm_suggestion(code: &RecoveryCode, positions: &[usize]) -> Result<(), Failure> {
    let places: Vec<String> = positions.iter().map(ToString::to_string).collect();
    let places = places.join(", ");
    if !std::io::stdin().is_terminal() {
        let message = format!(
            "three letters seem wrong ({places}); look at them again, or accept the correction \
             with --accept-suggestion. Nothing was sent"
        );
        return Err(Failure::new(Kind::WrongCode, message));
    }
    eprintln!("Three letters seem wrong ({places}). Is this your code?");
    eprintln!("  {}", *code.grouped());
    if confirmed("Use it? It costs a guess if it is wrong.")? {
        return Ok(());
    }
    Err(Failure::new(Kind::WrongCode, "nothing was sent"))
}

/// Asks; only `y` and `yes` are yes.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
