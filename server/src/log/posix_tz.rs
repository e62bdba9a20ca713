//! Rules for local time as POSIX writes them in `TZ`, such as `CET-1CEST,M3.5.0,M10.5.0/3`: also the last line of a
//! zone file, where it says what holds after the file's last change.
//!
//! Source: POSIX.1-2017, 8.3; times of -167 to 167 hours as RFC 8536, 3.3.1.

use super::local_time::{civil_from_days, days_before_year};

const DAY_S: i64 = 86_400;

/// Standard time, and perhaps another time during a part of each year. Offsets are seconds ahead of UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    standard_s: i64,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Summer {
    offset_s: i64,
    /// In standard time.
    start: Change,
    /// In summer time.
    end: Change,
}

/// A moment of each year: a day, and seconds from its midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    day: Day,
    second: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    /// 1 to 365; February 29 is never counted.
    Julian(i64),
    /// 0 to 365.
    Zero(i64),
    /// The n-th (5: the last) weekday (0: Sunday) of a month (from 1).
    Weekday { month: i64, nth: i64, weekday: i64 },
}

impl Rule {
    /// Reads a rule; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Rest(text);
        rest.name()?;
        let standard_s = -rest.time(24)?;
        if rest.0.is_empty() {
            return Some(Rule { standard_s, summer: None });
        }
        rest.name()?;
        let offset_s = match rest.0.starts_with(',') || rest.0.is_empty() {
            true => standard_s + 3600,
            false => -rest.time(24)?,
        };
        if rest.0.is_empty() {
            // What the C library takes when nothing is said: the rule of the United States.
            rest = Rest(",M3.2.0,M11.1.0");
        }
        let (start, end) = (rest.change()?, rest.change()?);
        rest.0.is_empty().then_some(Rule { standard_s, summer: Some(Summer { offset_s, start, end }) })
    }

    /// The offset at a moment, in seconds since 1970.
    pub fn offset_s(&self, at: i64) -> i64 {
        let Some(summer) = &self.summer else { return self.standard_s };
        let (year, ..) = civil_from_days(at.saturating_add(self.standard_s).div_euclid(DAY_S));
        // Moments beyond any calendar must not overflow.
        let year = year.clamp(-100_000, 100_000);
        let start = summer.start.seconds(year) - self.standard_s;
        let end = summer.end.seconds(year) - summer.offset_s;
        let is_summer = if start < end { (start..end).contains(&at) } else { !(end..start).contains(&at) };
        if is_summer { summer.offset_s } else { self.standard_s }
    }
}

impl Change {
    /// The moment in a year, in seconds since 1970 on the clock that the change is given in.
    fn seconds(&self, year: i64) -> i64 {
        let first = days_before_year(year);
        let is_leap = days_before_year(year + 1) - first == 366;
        let day = match self.day {
            Day::Julian(day) => first + day - 1 + i64::from(is_leap && day > 59),
            Day::Zero(day) => first + day,
            Day::Weekday { month, nth, weekday } => {
                let (month_first, next_month_first) =
                    (month_start(first, is_leap, month), month_start(first, is_leap, month + 1));
                // 1970-01-01 was a Thursday.
                let first_weekday = (month_first + 4).rem_euclid(7);
                let day = month_first + (weekday - first_weekday).rem_euclid(7) + 7 * (nth - 1);
                if day < next_month_first { day } else { day - 7 }
            }
        };
        day * DAY_S + self.second
    }
}

/// The day on which a month (from 1; 13 is the next year's first) starts.
fn month_start(year_first: i64, is_leap: bool, month: i64) -> i64 {
    const BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let before = usize::try_from(month - 1).ok().and_then(|index| BEFORE.get(index)).copied().unwrap_or(0);
    year_first + before + i64::from(is_leap && month > 2)
}

/// What is left to be read.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn take(&mut self, char: char) -> Option<()> {
        self.0 = self.0.strip_prefix(char)?;
        Some(())
    }

    /// At least three letters, or anything in angle brackets.
    fn name(&mut self) -> Option<()> {
        let len = match self.0.strip_prefix('<') {
            Some(quoted) => quoted.find('>')? + 2,
            None => self.0.bytes().take_while(u8::is_ascii_alphabetic).count(),
        };
        self.0 = self.0.get(len..)?;
        (len >= 1).then_some(())
    }

    fn number(&mut self, min: i64, max: i64) -> Option<i64> {
        let len = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        digits.parse().ok().filter(|number| (min..=max).contains(number))
    }

    /// `[+-]hh[:mm[:ss]]`, in seconds.
    fn time(&mut self, hours_max: i64) -> Option<i64> {
        let sign = if self.take('-').is_some() { -1 } else { 1 };
        if sign == 1 {
            let _ = self.take('+');
        }
        let mut seconds = self.number(0, hours_max)? * 3600;
        for unit in [60, 1] {
            if self.take(':').is_none() {
                break;
            }
            seconds += self.number(0, 59)? * unit;
        }
        Some(sign * seconds)
    }

    /// `,day[/time]`; the time is 02:00 if not given.
    fn change(&mut self) -> Option<Change> {
        self.take(',')?;
        let day = if self.take('M').is_some() {
            let month = self.number(1, 12)?;
            self.take('.')?;
            let nth = self.number(1, 5)?;
            self.take('.')?;
            Day::Weekday { month, nth, weekday: self.number(0, 6)? }
        } else if self.take('J').is_some() {
            Day::Julian(self.number(1, 365)?)
        } else {
            Day::Zero(self.number(0, 365)?)
        };
        let second = if self.take('/').is_some() { self.time(167)? } else { 7200 };
        Some(Change { day, second })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(rule: &str, at: i64, offset_s: i64) {
        assert_eq!(Rule::parse(rule).unwrap().offset_s(at), offset_s, "{rule} at {at}");
    }

    #[test]
    fn without_summer_the_offset_never_changes() {
        check("UTC0", 1_500_000_000, 0);
        check("EST5", 1_500_000_000, -18_000);
        check("<+0545>-5:45", 1_500_000_000, 20_700);
        check("LMT+0:1:15", 0, -75);
    }

    #[test]
    fn summer_starts_and_ends_at_a_moment_of_the_year() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        // 2024-03-31 01:00 UTC and 2024-10-27 01:00 UTC.
        check(berlin, 1_711_846_799, 3600);
        check(berlin, 1_711_846_800, 7200);
        check(berlin, 1_729_990_799, 7200);
        check(berlin, 1_729_990_800, 3600);
        // 2024-03-10 07:00 UTC and 2024-11-03 06:00 UTC.
        for new_york in ["EST5EDT,M3.2.0,M11.1.0", "EST5EDT"] {
            check(new_york, 1_710_053_999, -18_000);
            check(new_york, 1_710_054_000, -14_400);
            check(new_york, 1_730_613_599, -14_400);
            check(new_york, 1_730_613_600, -18_000);
        }
    }

    #[test]
    fn in_the_south_summer_spans_the_new_year() {
        // Until 2024-04-06 16:00 UTC, and from 2024-10-05 16:00 UTC.
        let sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        check(sydney, 1_704_067_200, 39_600);
        check(sydney, 1_712_419_199, 39_600);
        check(sydney, 1_712_419_200, 36_000);
        check(sydney, 1_728_143_999, 36_000);
        check(sydney, 1_728_144_000, 39_600);
    }

    #[test]
    fn days_may_be_counted_from_the_start_of_the_year() {
        // 2024-03-01 00:00 is day 60 without the leap day, day 60 from zero with it.
        for rule in ["A0B,J60/0,J300/0", "A0B,60/0,300/0"] {
            check(rule, 1_709_251_199, 0);
            check(rule, 1_709_251_200, 3600);
        }
        // All year: from the first moment to one hour after the last, as RFC 8536 writes it.
        check("XXX3EDT4,0/0,J365/23", 1_709_251_200, -14_400);
        check("XXX3EDT4,0/0,J365/23", 1_704_067_200, -14_400);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in
            ["", "CET", "1", "CET-", "CET-25", "CET-1CEST,M3", "CET-1CEST,M13.1.0,M1.1.0", "CET-1CEST,J0,J1", "UTC0x,"]
        {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_moment_makes_a_rule_panic(text in "[A-Z<>0-9,.:/MJ+-]{0,40}|\\PC{0,20}", at: i64) {
            if let Some(rule) = Rule::parse(&text) {
                for at in [at, i64::MIN, i64::MAX] {
                    rule.offset_s(at);
                }
            }
        }
    }
}
