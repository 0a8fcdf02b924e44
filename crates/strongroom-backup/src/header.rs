//! Headers of the archive: names and times that the classic tar header is too small for.
//!
//! Names above 100 bytes go into GNU records (`L`, `K`), which keep every byte; times that are not
//! whole seconds since 1970 go into a PAX record (`mtime`). GNU tar, bsdtar and Python read both.

use crate::Refusal;
use std::io::{self, Write};
use tar::{EntryType, Header};

pub(crate) const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
pub(crate) const END_BYTES: u64 = 2 * BLOCK;
/// Bytes of a name in the header itself.
const NAME_MAX: usize = 100;

/// A time with nanoseconds, as `stat` gives it: the fraction counts upwards, before 1970 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// What stands before the content of an entry.
pub(crate) struct EntryHead<'a> {
    pub(crate) kind: EntryType,
    pub(crate) path: &'a [u8],
    /// Target of a link, else empty.
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: Time,
    pub(crate) size: u64,
}

impl EntryHead<'_> {
    /// Writes all blocks up to the content.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.modified.nanos != 0 || self.modified.seconds < 0 {
            let record = record("mtime", &self.modified.decimal());
            extension(out, EntryType::XHeader, record.as_bytes())?;
        }
        for (kind, name) in [
            (EntryType::GNULongName, self.path),
            (EntryType::GNULongLink, self.link),
        ] {
            if name.len() > NAME_MAX {
                extension(out, kind, &[name, &[0]].concat())?;
            }
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(self.kind);
        let old = header.as_old_mut();
        fill(&mut old.name, self.path);
        fill(&mut old.linkname, self.link);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0.into());
        header.set_gid(self.owner.1.into());
        header.set_mtime(u64::try_from(self.modified.seconds).unwrap_or(0));
        header.set_size(self.size);
        header.set_cksum();
        out.write_all(header.as_bytes())
    }
}

/// Writes an entry that describes the next one.
fn extension(out: &mut impl Write, kind: EntryType, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}

/// Writes zeros up to the next block.
pub(crate) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let zeros = [0; BLOCK as usize];
    // Below 512, so it fits.
    out.write_all(&zeros[..(size.next_multiple_of(BLOCK) - size) as usize])
}

fn fill(field: &mut [u8; NAME_MAX], bytes: &[u8]) {
    let taken = bytes.len().min(NAME_MAX);
    field[..taken].copy_from_slice(&bytes[..taken]);
}

/// One PAX record, whose length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// Reads PAX records: the time, if there is one. Records that change what an entry *is* are
/// refused, because other programs would then see another archive than we do.
pub(crate) fn modified_in(mut records: &[u8]) -> Result<Option<Time>, Refusal> {
    let mut modified = None;
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ');
        let length = space.and_then(|at| std::str::from_utf8(&records[..at]).ok()?.parse().ok());
        let (Some(space), Some(length)) = (space, length) else {
            return Err(Refusal::Extension);
        };
        let record = records.get(space + 1..length).ok_or(Refusal::Extension)?;
        records = &records[length..];
        let record = record.strip_suffix(b"\n").ok_or(Refusal::Extension)?;
        if let Some(value) = record.strip_prefix(b"mtime=") {
            let value = std::str::from_utf8(value).map_err(|_| Refusal::BadTime)?;
            modified = Some(Time::parse(value).ok_or(Refusal::BadTime)?);
        } else if !record.starts_with(b"atime=") && !record.starts_with(b"ctime=") {
            return Err(Refusal::Extension);
        }
    }
    Ok(modified)
}

impl Time {
    /// As PAX writes it: `-1.5` is one and a half seconds before 1970.
    fn decimal(self) -> String {
        let Self { seconds, nanos } = self;
        if seconds >= 0 || nanos == 0 {
            return format!("{seconds}.{nanos:09}");
        }
        // Never overflows: the sum is at most zero.
        let (seconds, nanos) = (seconds + 1, 1_000_000_000 - nanos);
        format!("-{}.{nanos:09}", seconds.unsigned_abs())
    }

    /// Reads [`decimal`](Self::decimal) and what others write; digits beyond nine are dropped.
    fn parse(text: &str) -> Option<Self> {
        let (negative, size) = match text.strip_prefix('-') {
            Some(size) => (true, size),
            None => (false, text),
        };
        let (whole, fraction) = size.split_once('.').unwrap_or((size, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nine = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = nine.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        match (negative, nanos) {
            (false, _) => Some(Self { seconds, nanos }),
            (true, 0) => Some(Self {
                seconds: -seconds,
                nanos,
            }),
            (true, _) => Some(Self {
                seconds: -seconds - 1,
                nanos: 1_000_000_000 - nanos,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> Time {
        Time { seconds, nanos }
    }

    #[test]
    fn times_before_1970_and_with_fractions_survive_their_text() {
        for (it, text) in [
            (time(0, 0), "0.000000000"),
            (time(1_795_482_123, 7), "1795482123.000000007"),
            (time(-1, 500_000_000), "-0.500000000"),
            (time(-2, 500_000_000), "-1.500000000"),
            (time(-2, 0), "-2.000000000"),
        ] {
            assert_eq!(it.decimal(), text);
            assert_eq!(Time::parse(text), Some(it));
        }
        let least = time(i64::MIN + 1, 1);
        assert_eq!(Time::parse(&least.decimal()), Some(least));
        assert_eq!(Time::parse("12.5"), Some(time(12, 500_000_000)));
        assert_eq!(Time::parse("12"), Some(time(12, 0)));
        assert_eq!(Time::parse("-12"), Some(time(-12, 0)));
        for wrong in [
            "",
            "-",
            "--1",
            "1.2.3",
            ".5",
            "x",
            "99999999999999999999",
            "1e9",
        ] {
            assert_eq!(Time::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        assert_eq!(record("k", "v"), "6 k=v\n");
        for length in 0..2000 {
            let record = record("k", &"v".repeat(length));
            assert!(record.starts_with(&format!("{} k=", record.len())));
        }
    }

    #[test]
    fn records_that_change_what_an_entry_is_are_refused() {
        assert_eq!(modified_in(b""), Ok(None));
        let records = [record("atime", "1"), record("mtime", "2.5")].concat();
        assert_eq!(
            modified_in(records.as_bytes()),
            Ok(Some(time(2, 500_000_000)))
        );
        for key in ["path", "linkpath", "size", "GNU.sparse.name"] {
            let record = record(key, "1");
            assert_eq!(modified_in(record.as_bytes()), Err(Refusal::Extension));
        }
        for wrong in [
            "x",
            "9 mtime=2",
            "99 mtime=2\n",
            "1 mtime=2\n",
            "0 ",
            "10 mtime=2\n",
        ] {
            assert_eq!(
                modified_in(wrong.as_bytes()),
                Err(Refusal::Extension),
                "{wrong}"
            );
        }
        assert_eq!(modified_in(b"11 mtime=x\n"), Err(Refusal::BadTime));
    }
}
