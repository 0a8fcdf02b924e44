//! What a person does with a key: register, recover, look, change, delete.

use crate::cli::{Delete, Hardness, Key, NewKey, Print, Recover, Register, Rehearse};
use crate::output::{Failure, Kind, Output, span};
use crate::profile::{Profile, Source};
use crate::secret;
use serde_json::json;
use std::io::IsTerminal as _;
use strongroom_backup::Identity;
use strongroom_client::digits::DigitKey;
use strongroom_client::wire::Slot;
use strongroom_client::wire::answer::{Receipt, StatusReport};
use strongroom_client::{BackupKeys, Error, Ksf, NewCode, Os, Rehearsal, Vault};

fn ksf(hardness: Hardness) -> Ksf {
    match hardness {
        Hardness::Light => Ksf::Argon2idM19T2,
        Hardness::Standard => Ksf::Argon2idM64T3,
        Hardness::Strong => Ksf::Argon2idM128T3,
    }
}

fn receipt_json(receipt: &Receipt) -> serde_json::Value {
    json!({
        "kind": format!("{:?}", receipt.kind),
        "record": receipt.record.to_string(),
        "generation": receipt.generation.0,
        "index": receipt.index.0,
        "at_unix_ms": receipt.at.0,
        "attempts_left": receipt.attempts_left,
        "guesses_ever": receipt.totals.starts,
        "reset_until_unix_ms": receipt.reset_until.map(|until| until.0),
    })
}

/// `register`.
pub(crate) async fn register(
    profile: &Profile,
    options: &NewKey,
    output: Output,
) -> Result<(), Failure> {
    let slot = Slot(options.register.slot.slot);
    if !options.replace && profile.device(slot).keys()?.is_some() {
        let message = "this device holds a key already. `strongroom change-code` puts it under a \
                       new code; --replace gives it up, and with it what was backed up";
        return Err(Failure::usage(message));
    }
    store(profile, &options.register, false, output).await
}

/// Puts a key under a new code: the one this device holds, or a new one.
pub(crate) async fn store(
    profile: &Profile,
    options: &Register,
    same_key: bool,
    output: Output,
) -> Result<(), Failure> {
    let slot = Slot(options.slot.slot);
    let held = profile.device(slot).keys()?;
    if same_key && held.is_none() {
        profile.needed_keys(slot)?;
    }
    let (code, shown) = secret::choose(&options.secret, &[profile.subject()])?;
    let vault = profile.open_vault(output).await?;
    let vault = vault
        .with_ksf(ksf(options.stretching))
        .with_code_kept(options.keep.keep_code);
    if let Some(code) = &shown {
        show(code, output)?;
    }
    let mut new = NewCode::new(&code);
    if shown.is_some() || options.different_code {
        new = new.confirmed_different();
    }
    let keys = held.as_ref();
    let receipt = match put(&vault, new, slot, keys, same_key).await {
        Err(Error::CodeMayBeKnown { destroyed }) if options.secret.asks() => {
            let known = Error::CodeMayBeKnown { destroyed };
            if !secret::confirmed(&format!("Careful: {known}. Is this another code?"))? {
                return Err(known.into());
            }
            put(&vault, new.confirmed_different(), slot, keys, same_key).await?
        }
        // The fleet said no, or was not asked: the code that was shown is nobody's.
        Err(error @ (Error::Refused(_) | Error::CodeInUse)) if shown.is_some() => {
            let worthless = "; the code shown above does not count";
            return Err(Failure::from(error).and(worthless));
        }
        other => other?,
    };
    let answer = json!({
        "code": shown.as_ref().map(|code| code.as_str()), "receipt": receipt_json(&receipt),
    });
    output.answer(&answer, || match &shown {
        Some(_) => format!(
            "Registered: the code above counts, and opens your backup when every device is lost. \
             {} guesses, then the key is erased.",
            receipt.attempts_left
        ),
        None => "Registered. The password opens your backup when every device is lost.".to_owned(),
    });
    Ok(())
}

/// Shows a drawn code before it is sent: once sent, it may count although no answer comes.
fn show(code: &str, output: Output) -> std::io::Result<()> {
    output.ahead(&json!({ "code": code, "receipt": null }), || {
        format!(
            "Your recovery code. Write it down; it is not shown again:\n\n    {code}\n\nIt counts \
             once the next line says so. If no such line comes, keep it with any older one until \
             a later command says what became of it.\n"
        )
    })
}

async fn put(
    vault: &Vault<Source>,
    code: NewCode<'_>,
    slot: Slot,
    held: Option<&BackupKeys>,
    same_key: bool,
) -> Result<Receipt, Error> {
    match held {
        Some(keys) if same_key => vault.change_code(code, keys, slot).await,
        _ => Ok(vault.register(code, &[], slot, held).await?.receipt),
    }
}

/// `recover`.
pub(crate) async fn recover(
    profile: &Profile,
    options: &Recover,
    output: Output,
) -> Result<(), Failure> {
    let slot = Slot(options.slot.slot);
    let kept = profile.device(slot).keys()?;
    if let (Some(print), Some(keys)) = (options.print, &kept) {
        return print_secret(print, keys);
    }
    let code = secret::typed(&options.secret, options.accept_suggestion, output)?;
    let vault = profile.open_vault(output).await?;
    let vault = vault.with_code_kept(options.keep.keep_code);
    let recovered = vault.recover(&code, slot).await?;
    let not_kept = recovered.not_kept.as_ref().map(|error| {
        format!(
            "the code is right and no guess is lost, but this device could not keep the key \
             ({error}): make room and recover again"
        )
    });
    match (not_kept, options.print) {
        (None, _) => {}
        (Some(words), Some(_)) => eprintln!("strongroom: warning: {words}"),
        (Some(words), None) => return Err(Failure::new(Kind::Fault, words)),
    }
    if let Some(print) = options.print {
        return print_secret(print, &recovered.keys);
    }
    let unproved = recovered.totals.unproved;
    let answer = json!({
        "receipt": recovered.receipt.as_ref().map(receipt_json),
        "guesses_ever": recovered.totals.starts, "wrong_guesses_ever": unproved,
    });
    output.answer(&answer, || {
        let mut words = "Recovered. The backup key is on this device again.".to_owned();
        if unproved > 0 {
            words.push_str(&format!(
                "\n{unproved} guesses at this account were never proved right: yours with typing \
                 errors, or somebody else's. `strongroom status` shows when."
            ));
        }
        words
    });
    Ok(())
}

fn print_secret(print: Print, keys: &BackupKeys) -> Result<(), Failure> {
    match print {
        Print::Password => crate::output::print(&keys.repository_password()),
        Print::Age => {
            let identity = Identity::from_secret(&keys.age_secret());
            crate::output::print(&identity.to_secret_string());
        }
    }
    Ok(())
}

/// `rehearse`.
pub(crate) fn rehearse(
    profile: &Profile,
    options: &Rehearse,
    output: Output,
) -> Result<(), Failure> {
    // The nearest code is compared where three letters are wrong: to ask costs nothing here.
    let code = secret::typed(&options.secret, true, output)?;
    match profile.device(Slot(options.slot.slot)).rehearse(&code)? {
        Rehearsal::Right => {
            output.answer(&json!({"rehearsal": "right"}), || {
                "Right. Nothing was sent and no guess was spent.".to_owned()
            });
            Ok(())
        }
        Rehearsal::Wrong => Err(Failure::new(
            Kind::WrongCode,
            "this is not the code; no guess was spent. `strongroom change-code` makes a new one",
        )),
        Rehearsal::Unknown => Err(Failure::new(
            Kind::NotSetUp,
            "this device does not know the code: register, recover or change it here first",
        )),
    }
}

/// `status`.
pub(crate) async fn status(profile: &Profile, slot: u8, output: Output) -> Result<(), Failure> {
    let slot = Slot(slot);
    let vault = profile.open_vault(output).await?;
    let keys = profile.device(slot).keys()?;
    let report = match vault.status(slot, keys.as_ref()).await {
        // The keys on this device were replaced elsewhere: the account alone may still look.
        Err(Error::Refused(_)) if keys.is_some() => vault.status(slot, None).await?,
        other => other?,
    };
    // Without the history the proof was not good: what this device holds is not what the fleet has.
    let replaced = keys.is_some() && report.history.is_none();
    let mut answer = status_json(&report);
    answer["replaced_elsewhere"] = replaced.into();
    output.answer(&answer, || {
        let mut words = status_words(&report);
        if replaced {
            words.push_str(
                "\nThe key on this device is not the fleet's any more: another device registered a \
                 new one, and the code you know for this one no longer works. If that was not you, \
                 somebody has your account.",
            );
        }
        words
    });
    Ok(())
}

fn status_json(report: &StatusReport) -> serde_json::Value {
    let history = report.history.as_ref().map(|history| {
        let events = history.proved.iter().chain(&history.unproved);
        let mut events: Vec<_> = events.collect();
        events.sort_by_key(|event| event.at);
        events
            .iter()
            .map(|event| json!({"kind": format!("{:?}", event.kind), "at_unix_ms": event.at.0}))
            .collect::<Vec<_>>()
    });
    json!({
        "record": report.record.to_string(),
        "generation": report.generation.0,
        "attempts_left": report.attempts_left,
        "attempts_max": report.attempts_max,
        "wait_seconds": report.wait_until.map(|until| wait_seconds(report, until.0)),
        "pending": report.pending,
        "reset_until_unix_ms": report.reset.map(|reset| reset.until.0),
        "guesses_ever": report.totals.starts,
        "wrong_guesses_ever": report.totals.unproved,
        "history": history,
    })
}

fn wait_seconds(report: &StatusReport, until: u64) -> u64 {
    until.saturating_sub(report.now.0).div_ceil(1000)
}

fn status_words(report: &StatusReport) -> String {
    let mut lines = vec![format!(
        "Attempts left: {} of {}",
        report.attempts_left, report.attempts_max
    )];
    if let Some(until) = report.wait_until.filter(|until| *until > report.now) {
        lines.push(format!(
            "Next guess: in {}",
            span(wait_seconds(report, until.0))
        ));
    }
    if let Some(reset) = report.reset {
        let left = span(wait_seconds(report, reset.until.0));
        lines.push(format!(
            "A reset is waiting; over in {left}. Not yours? `strongroom cancel-reset`"
        ));
    }
    lines.push(format!(
        "Guesses ever: {}, of them never proved right: {}",
        report.totals.starts, report.totals.unproved
    ));
    if let Some(history) = &report.history {
        lines.push("History, newest last:".to_owned());
        let mut events: Vec<_> = history.proved.iter().chain(&history.unproved).collect();
        events.sort_by_key(|event| event.at);
        for event in events {
            let ago = span(report.now.0.saturating_sub(event.at.0) / 1000);
            lines.push(format!("  {ago:>8} ago  {:?}", event.kind));
        }
    }
    lines.join("\n")
}

/// `delete`.
pub(crate) async fn delete(
    profile: &Profile,
    options: &Delete,
    output: Output,
) -> Result<(), Failure> {
    let slot = Slot(options.slot.slot);
    let question = "Erase the backup key from the fleet? No code will open it any more.";
    if !options.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage("say --yes to delete without being asked"));
        }
        if !secret::confirmed(question)? {
            return Err(Failure::usage("nothing was deleted"));
        }
    }
    let vault = profile.open_vault(output).await?;
    let keys = profile.device(slot).keys()?;
    let receipt = vault.delete(slot, keys.as_ref()).await?;
    output.answer(&receipt_json(&receipt), || {
        "Deleted from the fleet. This device still holds its key and opens its backups.".to_owned()
    });
    Ok(())
}

/// `reset`.
pub(crate) async fn reset(profile: &Profile, slot: u8, output: Output) -> Result<(), Failure> {
    let receipt = profile.open_vault(output).await?.reset(Slot(slot)).await?;
    output.answer(&receipt_json(&receipt), || {
        let wait = receipt
            .reset_until
            .map_or(0, |until| until.0.saturating_sub(receipt.at.0));
        format!(
            "The reset waits {}. Then `strongroom register` replaces the key, which is lost with \
             its backup. The right code or the old device stops it.",
            span(wait.div_ceil(1000))
        )
    });
    Ok(())
}

/// `cancel-reset`.
pub(crate) async fn cancel(profile: &Profile, slot: u8, output: Output) -> Result<(), Failure> {
    let slot = Slot(slot);
    let keys = profile.needed_keys(slot)?;
    let vault = profile.open_vault(output).await?;
    let receipt = vault.cancel_reset(slot, &keys).await?;
    output.answer(&receipt_json(&receipt), || {
        "The reset is cancelled.".to_owned()
    });
    Ok(())
}

/// `key`.
pub(crate) fn key(profile: &Profile, command: &Key, output: Output) -> Result<(), Failure> {
    let (Key::New(slot) | Key::Enter { slot, .. }) = command;
    let slot = Slot(slot.slot);
    if profile.device(slot).keys()?.is_some() {
        let message = "this slot of this device holds a key already; take another --slot";
        return Err(Failure::usage(message));
    }
    let (key, shown) = match command {
        Key::New(_) => {
            let key = DigitKey::generate(&Os);
            let shown = key.grouped();
            (key, Some(shown))
        }
        Key::Enter { key_file, .. } => {
            let typed = secret::line(key_file.as_deref(), "64-digit key: ")?;
            let key = DigitKey::parse(&typed)
                .map_err(|error| Failure::new(Kind::WrongCode, error.to_string()))?;
            (key, None)
        }
    };
    profile.device(slot).keep(&key.keys())?;
    output.answer(
        &json!({"key": shown.as_ref().map(|key| key.as_str())}),
        || match &shown {
            Some(key) => format!(
                "Your key. Write it down; it is not shown again, and nobody can give it back:\n\n\
                 {}",
                **key
            ),
            None => "The key is on this device.".to_owned(),
        },
    );
    Ok(())
}
