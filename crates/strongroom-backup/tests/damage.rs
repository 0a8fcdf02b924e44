//! A snapshot that was cut or changed anywhere restores to nothing.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Desk, noise, rich, tree};
use std::fs;
use std::io::Write;
use strongroom_backup::{Error, Identity};

/// Restores what is in `bytes` now, and requires that nothing of it appears.
#[track_caller]
fn refused(desk: &Desk, bytes: &[u8], what: &str) -> Error {
    let names = desk.names();
    fs::write(desk.newest_file(), bytes).unwrap();
    let error = desk.restore("target").expect_err(what);
    assert_eq!(desk.names(), names, "{what}: nothing is left behind");
    error
}

#[track_caller]
fn refused_as_damage(desk: &Desk, bytes: &[u8], what: &str) {
    let error = refused(desk, bytes, what);
    let told = matches!(
        error,
        Error::Damaged(_) | Error::NotABackup | Error::WrongIdentity
    );
    assert!(told, "{what}: {error}");
}

fn small(desk: &Desk) -> Vec<u8> {
    fs::create_dir(desk.path("source")).unwrap();
    fs::write(desk.path("source/file"), "some text, some more text").unwrap();
    desk.backup("source").unwrap();
    fs::read(desk.newest_file()).unwrap()
}

#[test]
fn a_small_snapshot_cut_at_any_byte_is_refused() {
    let desk = Desk::new();
    let whole = small(&desk);
    for length in 0..whole.len() {
        refused_as_damage(&desk, &whole[..length], &format!("cut at {length}"));
    }
    fs::write(desk.newest_file(), whole).unwrap();
    desk.restore("target").unwrap();
}

#[test]
fn a_small_snapshot_with_any_byte_changed_is_refused() {
    let desk = Desk::new();
    let whole = small(&desk);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        refused_as_damage(&desk, &changed, &format!("flipped at {at}"));
    }
    refused_as_damage(&desk, &[&whole[..], &[0]].concat(), "a byte more");
    refused_as_damage(&desk, &[&whole[..], &whole[..]].concat(), "twice");
}

/// age works in chunks of 64 KiB and 16 bytes of MAC: their borders are where a cut is hardest to
/// see. Files are on the disk already when the last chunks are read.
#[test]
fn a_large_snapshot_cut_or_changed_anywhere_is_refused() {
    const CHUNK: usize = 64 * 1024 + 16;
    let desk = Desk::new();
    rich(&desk.path("source"));
    fs::write(desk.path("source/zz"), noise(9, 400_000)).unwrap();
    desk.backup("source").unwrap();
    let whole = fs::read(desk.newest_file()).unwrap();
    let payload = whole.len() % CHUNK;
    let borders = (0..whole.len() / CHUNK).map(|chunk| payload + chunk * CHUNK);
    let head = 200;
    let starts = (0..8).map(|chunk| head + chunk * CHUNK);
    let spread = (0..40).map(|part| part * whole.len() / 40);
    for at in borders.chain(starts).chain(spread).chain([whole.len() - 1]) {
        for at in [at.saturating_sub(1), at, at + 1] {
            let at = at.min(whole.len() - 1);
            refused_as_damage(&desk, &whole[..at], &format!("cut at {at}"));
        }
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        refused_as_damage(&desk, &changed, &format!("flipped at {at}"));
    }
}

#[test]
fn another_key_is_told_from_damage() {
    let desk = Desk::new();
    let whole = small(&desk);
    let other = Identity::from_secret(&[8; 32]);
    let names = desk.names();
    assert!(matches!(
        desk.restore_with(&other, "target"),
        Err(Error::WrongIdentity)
    ));
    assert_eq!(desk.names(), names);
    let error = refused(
        &desk,
        b"not a backup at all, but a text of some length\n",
        "text",
    );
    assert!(matches!(error, Error::NotABackup), "{error}");
    let error = refused(&desk, &whole[..whole.len() - 1], "cut");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

/// Encrypts `payload` as if it were the compressed archive.
fn encrypt(desk: &Desk, payload: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = desk.identity.recipient().to_string().parse().unwrap();
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).unwrap();
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(payload).unwrap();
    writer.finish().unwrap()
}

/// The layers below age, taken apart: an attacker cannot make these, but a defect of our own could.
#[test]
fn each_layer_must_reach_its_own_end() {
    let desk = Desk::new();
    fs::create_dir(desk.path("source")).unwrap();
    fs::write(desk.path("source/file"), noise(3, 5_000)).unwrap();
    desk.backup("source").unwrap();
    let decryptor = age::Decryptor::new(fs::File::open(desk.newest_file()).unwrap()).unwrap();
    let identity: age::x25519::Identity = desk.identity.to_secret_string().parse().unwrap();
    let identities = std::iter::once(&identity as &dyn age::Identity);
    let mut compressed = Vec::new();
    std::io::copy(&mut decryptor.decrypt(identities).unwrap(), &mut compressed).unwrap();
    let tar = zstd::decode_all(&compressed[..]).unwrap();
    let pack = |tar: &[u8]| encrypt(&desk, &zstd::encode_all(tar, 1).unwrap());

    let end = tar.len() - 1024;
    for length in [
        512,
        1024,
        2048,
        end - 512,
        end - 1,
        end,
        end + 511,
        end + 512,
        end + 1023,
    ] {
        let error = refused(&desk, &pack(&tar[..length]), "a cut archive");
        assert!(matches!(error, Error::Damaged(_)), "{length}: {error}");
    }
    let mut more = tar.clone();
    more.extend_from_slice(b"x");
    refused_as_damage(&desk, &pack(&more), "bytes after the end of the archive");
    more.truncate(tar.len());
    more.extend_from_slice(&tar[..512]);
    refused_as_damage(&desk, &pack(&more), "a header after the end of the archive");

    for length in 0..compressed.len() {
        if length < 20 || length + 20 > compressed.len() || length % 97 == 0 {
            let cut = encrypt(&desk, &compressed[..length]);
            refused_as_damage(&desk, &cut, "a cut frame");
        }
    }
    let mut changed = compressed.clone();
    *changed.last_mut().unwrap() ^= 1;
    refused_as_damage(&desk, &encrypt(&desk, &changed), "another checksum");
    let more = [&compressed[..], b"more"].concat();
    refused_as_damage(&desk, &encrypt(&desk, &more), "bytes after the frame");

    fs::write(desk.newest_file(), pack(&tar)).unwrap();
    desk.restore("target").unwrap();
    assert_eq!(tree(&desk.path("target")), tree(&desk.path("source")));
}
