//! Local time for the log, without the C library: its `localtime` cannot be called from safe code.
//!
//! The zone is read once, when first needed, as the C library reads it: `TZ` names a file of the zone database or
//! is a rule of its own; without `TZ` it is `/etc/localtime`; whatever cannot be read is UTC.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use super::posix_tz::Rule;
use super::tzif;

const DAY_S: i64 = 86_400;
const ZONES: &str = "/usr/share/zoneinfo";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment as a clock on the wall shows it. Prints as `08 Nov 21:05:33.123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// From 0.
    month: usize,
    /// From 1.
    day: i64,
    second_of_day: i64,
    millisecond: u32,
}

impl LocalTime {
    /// `time` in this machine's zone.
    pub fn at(time: SystemTime) -> Self {
        static ZONE: OnceLock<Zone> = OnceLock::new();
        let zone = ZONE.get_or_init(|| Zone::of_process(std::env::var_os("TZ").as_deref()));
        Self::with_offset(time, zone.offset_s(seconds(time)))
    }

    /// `time` in a zone that is `offset_s` seconds ahead of UTC.
    pub(super) fn with_offset(time: SystemTime, offset_s: i64) -> Self {
        let local = seconds(time).saturating_add(offset_s);
        let (_, month, day) = civil_from_days(local.div_euclid(DAY_S));
        let millisecond = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
        LocalTime { month, day, second_of_day: local.rem_euclid(DAY_S), millisecond }
    }

    /// The form of RFC 3164: `Nov  8 21:05:33`.
    pub(super) fn rfc3164(&self) -> String {
        format!("{} {:2} {}", self.month_name(), self.day, self.clock())
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(self.month).copied().unwrap_or_default()
    }

    fn clock(&self) -> String {
        let second = self.second_of_day;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02} {} {}.{:03}", self.day, self.month_name(), self.clock(), self.millisecond)
    }
}

/// How far local time is ahead of UTC, at any moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Zone {
    /// Moments at which the offset changes (seconds since 1970, ascending), and the offset from then on.
    pub changes: Vec<(i64, i64)>,
    /// The offset before the first of them.
    pub first_offset_s: i64,
    /// What holds after the last of them.
    pub rule: Option<Rule>,
}

impl Zone {
    fn of_process(tz: Option<&OsStr>) -> Self {
        let Some(tz) = tz else { return Self::read(Path::new("/etc/localtime")).unwrap_or_default() };
        let name = tz.as_bytes().strip_prefix(b":").unwrap_or(tz.as_bytes());
        if name.is_empty() {
            return Self::default();
        }
        let from_rule = || std::str::from_utf8(name).ok().and_then(Rule::parse);
        let file = PathBuf::from(ZONES).join(OsStr::from_bytes(name));
        match Self::read(&file) {
            Some(zone) => zone,
            None => Zone { rule: from_rule(), ..Zone::default() },
        }
    }

    fn read(file: &Path) -> Option<Self> {
        tzif::parse(&std::fs::read(file).ok()?)
    }

    /// The offset at a moment, in seconds since 1970.
    pub(super) fn offset_s(&self, at: i64) -> i64 {
        let passed = self.changes.partition_point(|(change, _)| *change <= at);
        match (&self.rule, passed == self.changes.len()) {
            (Some(rule), true) => rule.offset_s(at),
            _ => passed
                .checked_sub(1)
                .and_then(|last| self.changes.get(last))
                .map_or(self.first_offset_s, |(_, offset)| *offset),
        }
    }
}

/// Seconds since 1970; times before are not told apart.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Year, month (from 0) and day (from 1) of a day counted from 1970-01-01 in the Gregorian calendar.
///
/// Years are counted from March, so that a leap day is the last of its year; 400 years are 146,097 days.
pub(super) fn civil_from_days(days: i64) -> (i64, usize, i64) {
    let days = days.saturating_add(719_468); // from 0000-03-01
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    (year, usize::try_from(month).unwrap_or(0), day)
}

/// The day counted from 1970-01-01 of the first day of a year.
pub(super) fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    365 * (year - 1970) + (past.div_euclid(4) - 492) - (past.div_euclid(100) - 19) + (past.div_euclid(400) - 4)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn shown(seconds: u64, offset_s: i64) -> String {
        LocalTime::with_offset(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), offset_s).to_string()
    }

    #[test]
    fn times_are_shown_in_their_zone() {
        assert_eq!(shown(0, 0), "01 Jan 00:00:00.000");
        assert_eq!(shown(0, -3600), "31 Dec 23:00:00.000");
        assert_eq!(shown(951_782_400, 0), "29 Feb 00:00:00.000");
        assert_eq!(shown(951_782_399, 2), "29 Feb 00:00:01.000");
        assert_eq!(shown(4_102_444_799, 0), "31 Dec 23:59:59.000");
        let time = LocalTime::with_offset(SystemTime::UNIX_EPOCH + Duration::from_secs(5), 0);
        assert_eq!(time.rfc3164(), "Jan  1 00:00:05");
    }

    #[test]
    fn tz_may_be_a_rule_or_nothing() {
        let zone = |tz: &str| Zone::of_process(Some(OsStr::new(tz)));
        assert_eq!(zone("").offset_s(0), 0);
        assert_eq!(zone("UTC0").offset_s(0), 0);
        assert_eq!(zone("XYZ-5:30").offset_s(0), 19_800);
        assert_eq!(zone(":/no/such/file").offset_s(0), 0);
    }

    #[test]
    fn changes_hold_from_their_moment_on() {
        let zone = Zone { changes: vec![(100, 1), (200, 2)], first_offset_s: 7, rule: None };
        let offsets = [99, 100, 199, 200, 999].map(|at| zone.offset_s(at));
        assert_eq!(offsets, [7, 1, 1, 2, 2]);
        let ruled = Zone { rule: Rule::parse("X-1"), ..zone };
        assert_eq!([199, 200].map(|at| ruled.offset_s(at)), [1, 3600]);
    }

    proptest! {
        #[test]
        fn days_follow_each_other(days in -800_000i64..800_000) {
            let (year, month, day) = civil_from_days(days);
            let next = civil_from_days(days + 1);
            let month_ends = next == (year, month + 1, 1) || next == (year + 1, 0, 1) && month == 11;
            prop_assert!(next == (year, month, day + 1) || month_ends && (28..=31).contains(&day));
            prop_assert_eq!(days_before_year(year) <= days, true);
            prop_assert_eq!(days_before_year(year + 1) > days, true);
            prop_assert_eq!(civil_from_days(days_before_year(year)), (year, 0, 1));
        }
    }
}
