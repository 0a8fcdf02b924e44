//! `demo`: the main job end to end, with real processes and a real directory. Every step that does
//! not do what it says ends the demo with an error.

mod search;
mod stage;

use crate::cli;
use crate::output::{Failure, Kind, Output, span};
use crate::sample;
use crate::snapshots::identity;
use anyhow::Context as _;
use search::Needles;
use stage::{Phone, Vault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_backup::{Store, Which};
use strongroom_client::code::{Parsed, RecoveryCode};
use strongroom_client::wire::Slot;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::{BackupKeys, Error, NewCode, Os};

const SLOT: Slot = Slot(0);

/// Prints steps and how long each took.
struct Story {
    began: Instant,
    output: Output,
}

impl Story {
    fn chapter(&self, title: &str) {
        if !self.output.json {
            crate::output::print(&format!("\n{title}"));
        }
    }

    fn done(&self, since: Instant, words: &str) {
        if !self.output.json {
            let seconds = since.elapsed().as_secs_f64();
            crate::output::print(&format!("  ✓ {words}  ({seconds:.2} s)"));
        }
    }
}

fn fault(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Fault, message)
}

/// `demo`.
pub(crate) async fn run(options: &cli::Demo, output: Output) -> Result<(), Failure> {
    let story = Story {
        began: Instant::now(),
        output,
    };
    let place = tempfile::tempdir().context("a temporary directory")?;
    let result = tell(&story, options.dir.as_deref(), place.path()).await;
    let seconds = story.began.elapsed().as_secs_f64();
    let verdict = serde_json::json!({"verdict": "passed", "seconds": seconds});
    result?;
    output.answer(&verdict, || {
        format!("\nVerdict: every step did what it says, in {seconds:.1} s.")
    });
    Ok(())
}

async fn tell(story: &Story, dir: Option<&Path>, place: &Path) -> Result<(), Failure> {
    let since = Instant::now();
    story.chapter("1. A vault: a fleet of five members, each a node with an HSM process");
    let mut vault = Vault::start(place).await?;
    story.done(since, &vault.words());

    let since = Instant::now();
    story.chapter("2. A phone makes a backup key and puts it under a recovery code");
    let phone = Phone::new(&vault, &place.join("phone"))?;
    let code = RecoveryCode::generate(&Os);
    let connected = phone.connect().await?;
    let registered = connected
        .register(code.expose().as_bytes(), b"", SLOT, None)
        .await?;
    let left = registered.receipt.attempts_left;
    story.done(since, &format!("code {}, {left} guesses", *code.grouped()));

    story.chapter("3. It backs up a directory");
    let (source, store) = back_up(story, dir, place, &registered.keys).await?;
    let needles = Needles::of(&code, &registered.keys);
    drop((registered, connected));

    story.chapter("4. The phone falls into a river, and two of the five members die");
    let since = Instant::now();
    phone.wipe()?;
    let dead = vault.kill_leader_and_another().await?;
    let names: Vec<_> = dead.iter().map(u8::to_string).collect();
    let words = format!(
        "phone wiped; members {} killed (SIGKILL), the leader first",
        names.join(" and ")
    );
    story.done(since, &words);

    let keys = recover_and_compare(story, &vault, place, &code, (&source, &store)).await?;

    story.chapter("6. The dead come back; then the power is cut at every site");
    let since = Instant::now();
    let index = vault.revive(&dead).await?;
    story.done(since, &format!("all five stand at entry {index}"));
    let since = Instant::now();
    vault.power_cut(place).await?;
    story.done(
        since,
        "all nodes and HSMs killed (SIGKILL) and started again",
    );
    thief(story, &vault, place, &code, &keys).await?;

    story.chapter("8. What the operator sees");
    let since = Instant::now();
    vault.stop().await?;
    let haystack = ["vault", "store", "seen"].map(|dir| place.join(dir));
    let looked = needles.search(&haystack)?;
    story.done(since, &looked);
    Ok(())
}

async fn back_up(
    story: &Story,
    dir: Option<&Path>,
    place: &Path,
    keys: &BackupKeys,
) -> Result<(PathBuf, Store), Failure> {
    let since = Instant::now();
    let source = match dir {
        Some(dir) => dir.to_owned(),
        None => {
            let source = place.join("sample");
            sample::write(&source)?;
            source
        }
    };
    let store = Store::create(&place.join("store").to_string_lossy())?;
    let recipient = identity(keys).recipient();
    let done = strongroom_backup::backup(&source, &store, &recipient, Arc::new(())).await?;
    if let Some(gap) = done.contents.gaps.first() {
        story
            .output
            .note(&format!("  {}: {}", gap.path.escape_debug(), gap.reason));
    }
    let (files, bytes) = (done.contents.files, done.contents.bytes);
    let stored = done.snapshot.stored_bytes;
    let words = format!("{files} files, {bytes} bytes; {stored} bytes encrypted with age");
    story.done(since, &words);
    Ok((source, store))
}

async fn recover_and_compare(
    story: &Story,
    vault: &Vault,
    place: &Path,
    code: &RecoveryCode,
    (source, store): (&Path, &Store),
) -> Result<BackupKeys, Failure> {
    story.chapter("5. A new phone, and the code typed with a wrong letter");
    let since = Instant::now();
    let typed = stage::with_typing_error(&code.grouped());
    let Ok(Parsed::Corrected(read, places)) = RecoveryCode::parse(&typed) else {
        return Err(fault("a wrong letter in the code was not corrected"));
    };
    story.done(since, &format!("letter {} corrected", places[0]));
    let since = Instant::now();
    let phone = Phone::new(vault, &place.join("new-phone"))?;
    let connected = phone.connect().await?;
    let recovered = connected.recover(read.expose().as_bytes(), SLOT).await?;
    story.done(
        since,
        "backup key recovered from the three that are left (most of it is key stretching)",
    );
    let since = Instant::now();
    let target = place.join("restored");
    let identity = identity(&recovered.keys);
    strongroom_backup::restore(store, &Which::Latest, &identity, &target, Arc::new(())).await?;
    let census = sample::same(source, &target)?;
    let words = format!(
        "restored; {} files, {} bytes: every byte, mode and time is the same",
        census.files, census.bytes
    );
    story.done(since, &words);
    Ok(recovered.keys)
}

/// A thief with the account, without the code.
async fn thief(
    story: &Story,
    vault: &Vault,
    place: &Path,
    code: &RecoveryCode,
    keys: &BackupKeys,
) -> Result<(), Failure> {
    story.chapter("7. A thief has the account, and guesses");
    let phone = Phone::new(vault, &place.join("thief"))?;
    let connected = phone.connect().await?;
    let (mut guesses, mut refused) = (0, 0);
    let since = Instant::now();
    loop {
        let guess = RecoveryCode::generate(&Os);
        match connected.recover(guess.expose().as_bytes(), SLOT).await {
            Err(Error::WrongCode { attempts_left, .. }) => {
                guesses += 1;
                let words = format!("guess {guesses}: wrong, {attempts_left} attempts left");
                story.done(since, &words);
            }
            Err(Error::Refused(Refusal::WaitUntil { until, now, .. })) => {
                refused += 1;
                let wait = until.0.saturating_sub(now.0);
                let words = format!("told to wait {}", span(wait.div_ceil(1000)));
                if refused == 1 || guesses == 10 {
                    story.done(since, &words);
                }
                tokio::time::sleep(Duration::from_millis(wait + 1)).await;
            }
            Err(Error::Refused(Refusal::Destroyed { totals, .. })) => {
                let words = format!("Destroyed, after {} guesses in all", totals.starts);
                story.done(since, &words);
                break;
            }
            Ok(_) => return Err(fault("a drawn code opened another code's record")),
            Err(error) => return Err(error.into()),
        }
        if guesses > 10 {
            return Err(fault("an eleventh guess was answered"));
        }
    }
    if guesses != 10 {
        return Err(fault(format!(
            "{guesses} guesses were answered instead of 10"
        )));
    }
    match connected.recover(code.expose().as_bytes(), SLOT).await {
        Err(Error::Refused(Refusal::Destroyed { .. })) => {}
        _ => return Err(fault("the record was not destroyed")),
    }
    story.done(
        since,
        "even the right code gets nothing now: the key is erased",
    );
    let since = Instant::now();
    let owner = Phone::new(vault, &place.join("new-phone"))?
        .connect()
        .await?;
    let fresh = RecoveryCode::generate(&Os);
    let letters = fresh.expose();
    let new = NewCode::new(letters.as_bytes()).confirmed_different();
    owner.change_code(new, keys, SLOT).await?;
    story.done(
        since,
        "the owner's new phone still has the key, and puts it under a new code",
    );
    Ok(())
}
