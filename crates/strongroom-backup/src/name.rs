//! Names of snapshots: `2026-11-24T01-02-03.004Z-0a1b2c3d`, 33 bytes.
//!
//! The time in UTC stands first, so the order of names is the order of taking; milliseconds,
//! because two small backups fit a second. Four random bytes keep apart what two devices take in
//! the same millisecond. Colons are left out: some file systems refuse them.

use crate::Error;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the object is called after the name: each layer, outermost last.
pub(crate) const SUFFIX: &str = ".tar.zst.age";
/// `d` a digit, `x` a lower-case hexadecimal digit, everything else itself.
const PATTERN: &[u8] = b"dddd-dd-ddTdd-dd-dd.dddZ-xxxxxxxx";
/// The last second of the year 9999; later ones would not keep the order.
const LAST_SECOND: u64 = 253_402_300_799;

/// The name of one snapshot in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// The name of what is taken now.
    pub(crate) fn now() -> Result<Self, Error> {
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(Error::Random)?;
        Ok(Self::at(SystemTime::now(), salt))
    }

    /// A clock before 1970 counts as 1970: a wrong clock must not prevent a backup.
    fn at(time: SystemTime, salt: [u8; 4]) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = since.as_secs().min(LAST_SECOND);
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
        let (second, milli) = (seconds % 60, since.subsec_millis());
        let salt = u32::from_be_bytes(salt);
        Self(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{milli:03}Z-{salt:08x}"
        ))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of the object's path.
    pub(crate) fn object(&self) -> String {
        format!("{}{SUFFIX}", self.0)
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant, `chrono`-compatible low-level date
/// algorithms: years begin in March, so that the leap day is the last one).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SnapshotName {
    type Err = Error;

    /// Takes the name, or the name of the object (with `.tar.zst.age`).
    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.strip_suffix(SUFFIX).unwrap_or(text);
        let fits = |(byte, pattern): (u8, &u8)| match pattern {
            b'd' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            other => byte == *other,
        };
        if name.len() == PATTERN.len() && name.bytes().zip(PATTERN).all(fits) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::BadSnapshotName(text.to_owned()))
        }
    }
}

impl Serialize for SnapshotName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Which snapshot to restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The newest, by name.
    #[default]
    Latest,
    /// This one.
    Named(SnapshotName),
}

impl FromStr for Which {
    type Err = Error;

    /// `latest`, or a name.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        text.parse().map(Self::Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(seconds: u64, millis: u64) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
        SnapshotName::at(time, [0x0a, 0x1b, 0x2c, 0x3d]).to_string()
    }

    #[test]
    fn a_name_is_the_time_in_utc_and_a_salt() {
        // Checked with `date -u -d @SECONDS`.
        for (seconds, text) in [
            (0, "1970-01-01T00-00-00"),
            (951_782_400, "2000-02-29T00-00-00"),
            (1_795_482_123, "2026-11-24T01-02-03"),
            (4_107_542_399, "2100-02-28T23-59-59"),
            (4_107_542_400, "2100-03-01T00-00-00"),
            (LAST_SECOND, "9999-12-31T23-59-59"),
        ] {
            assert_eq!(name(seconds, 4), format!("{text}.004Z-0a1b2c3d"));
        }
    }

    #[test]
    fn names_parse_with_and_without_the_suffix_and_nothing_else_does() {
        let name: SnapshotName = name(1_795_482_123, 4).parse().unwrap();
        assert_eq!(name.object().parse::<SnapshotName>().unwrap(), name);
        assert_eq!(SnapshotName::now().unwrap().as_str().len(), PATTERN.len());
        for wrong in ["", "latest", "../2026", "2026-11-24T01-02-03Z-0a1b2c3d"] {
            assert!(wrong.parse::<SnapshotName>().is_err(), "{wrong}");
        }
        assert!(
            name.as_str()
                .to_uppercase()
                .parse::<SnapshotName>()
                .is_err()
        );
        assert!(
            name.as_str()
                .replace('T', "/")
                .parse::<SnapshotName>()
                .is_err()
        );
        assert_eq!("latest".parse::<Which>().unwrap(), Which::Latest);
    }

    #[test]
    fn later_is_greater_and_a_clock_before_1970_still_names() {
        assert!(name(1_795_482_123, 4) < name(1_795_482_123, 5));
        let old = SnapshotName::at(UNIX_EPOCH - Duration::from_secs(9), [0; 4]);
        assert_eq!(old.to_string(), "1970-01-01T00-00-00.000Z-00000000");
    }
}
