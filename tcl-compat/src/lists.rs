//! The committed lists: `units.txt`, which units are run and how many tests each has; `skip.txt`,
//! which of those tests are known gaps; `timed.txt`, which of them a slow machine can fail.

use crate::Result;

/// The units that are run, in that order, each with the number of tests in it.
pub struct Units(Vec<(String, usize)>);

/// One test that is not run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The unit that holds the test, as the suite names it.
    pub unit: String,
    /// The test's name, to the letter.
    pub name: String,
    /// It is a gap with more than one server thread only, and then it may pass by chance.
    pub several_threads: bool,
}

/// How the reason begins of a test that is skipped with more than one server thread only.
const SEVERAL_THREADS: &str = "with several threads: ";

/// All tests that are not run.
pub struct Skips(Vec<Skip>);

/// All tests that measure time by an upper bound, with their units.
pub struct Timed(Vec<(String, String)>);

// === impl Units ===

impl Units {
    /// Reads lines of `unit number-of-tests`; `#` starts a comment line.
    pub fn parse(text: &str) -> Result<Units> {
        let mut units: Vec<(String, usize)> = Vec::new();
        for line in entries(text) {
            let entry =
                line.split_once(char::is_whitespace).and_then(|(unit, tests)| Some((unit, tests.trim().parse().ok()?)));
            let Some((unit, tests)) = entry else {
                return Err(format!("units.txt: not `unit number-of-tests`: {line}").into());
            };
            if units.iter().any(|(known, _)| known == unit) {
                return Err(format!("units.txt: twice: {unit}").into());
            }
            units.push((unit.to_owned(), tests));
        }
        Ok(Units(units))
    }

    /// Units and their numbers of tests, in the order in which they are run.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(unit, tests)| (unit.as_str(), *tests))
    }

    /// How many tests `unit` has; `None` if it is not listed.
    pub fn tests(&self, unit: &str) -> Option<usize> {
        self.iter().find(|(known, _)| *known == unit).map(|(_, tests)| tests)
    }
}

// === impl Skips ===

impl Skips {
    /// Reads lines of `unit | name | reason`; `#` starts a comment line.
    ///
    /// The name may itself contain `|`: the first and the last one separate.
    pub fn parse(text: &str) -> Result<Skips> {
        let mut skips: Vec<Skip> = Vec::new();
        for line in entries(text) {
            let (unit, name, reason) = with_reason("skip.txt", line)?;
            let several_threads = reason.starts_with(SEVERAL_THREADS);
            let skip = Skip { unit: unit.to_owned(), name: name.to_owned(), several_threads };
            if skips.contains(&skip) {
                return Err(format!("skip.txt: twice: {line}").into());
            }
            skips.push(skip);
        }
        Ok(Skips(skips))
    }

    /// An error if a skipped test's unit is never run, which would hide the entry for good.
    pub fn check(&self, units: &Units) -> Result<()> {
        match self.0.iter().find(|skip| units.tests(&skip.unit).is_none()) {
            Some(skip) => Err(format!("skip.txt: units.txt does not list {}", skip.unit).into()),
            None => Ok(()),
        }
    }

    /// The tests of `unit` that are not run with so many server threads.
    pub fn of(&self, unit: &str, threads: u16) -> Vec<Skip> {
        let skipped = |skip: &&Skip| skip.unit == unit && (threads > 1 || !skip.several_threads);
        self.0.iter().filter(skipped).cloned().collect()
    }
}

// === impl Timed ===

impl Timed {
    /// Reads lines of `unit | name | reason`, as [`Skips::parse`] does.
    pub fn parse(text: &str) -> Result<Timed> {
        let mut tests = Vec::new();
        for line in entries(text) {
            let (unit, name, _) = with_reason("timed.txt", line)?;
            let test = (unit.to_owned(), name.to_owned());
            if tests.contains(&test) {
                return Err(format!("timed.txt: twice: {line}").into());
            }
            tests.push(test);
        }
        Ok(Timed(tests))
    }

    /// An error if a test's unit is never run.
    pub fn check(&self, units: &Units) -> Result<()> {
        match self.0.iter().find(|(unit, _)| units.tests(unit).is_none()) {
            Some((unit, _)) => Err(format!("timed.txt: units.txt does not list {unit}").into()),
            None => Ok(()),
        }
    }

    /// The names of those of `unit`.
    pub fn of(&self, unit: &str) -> Vec<String> {
        self.0.iter().filter(|(of, _)| of == unit).map(|(_, name)| name.clone()).collect()
    }
}

/// Takes `unit | name | reason` apart.
fn with_reason<'a>(file: &str, line: &'a str) -> Result<(&'a str, &'a str, &'a str)> {
    let fields = line.split_once('|').and_then(|(unit, rest)| {
        let (name, reason) = rest.rsplit_once('|')?;
        Some((unit.trim(), name.trim(), reason.trim()))
    });
    match fields {
        None => Err(format!("{file}: not `unit | name | reason`: {line}").into()),
        Some((_, name, reason)) if name.is_empty() || reason.is_empty() => {
            Err(format!("{file}: a name and a reason are needed: {line}").into())
        }
        Some(fields) => Ok(fields),
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_keep_their_order_and_counts() {
        let units = Units::parse("# long ones first\nunit/type/list-3 14\n\n unit/printver   0\n").unwrap();
        assert_eq!(units.iter().collect::<Vec<_>>(), [("unit/type/list-3", 14), ("unit/printver", 0)]);
        assert_eq!(units.tests("unit/printver"), Some(0));
        assert_eq!(units.tests("unit/type/list"), None);
    }

    #[test]
    fn malformed_or_repeated_units_are_refused() {
        for text in ["unit/x", "unit/x many", "unit/x -1", "unit/x 1\nunit/x 1"] {
            assert!(Units::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn skips_belong_to_their_unit_and_may_hold_bars() {
        let skips = Skips::parse("unit/a | one | why\nunit/b | EVAL - a|b | why\nunit/b | two | why").unwrap();
        let names = |unit| skips.of(unit, 1).into_iter().map(|skip| skip.name).collect::<Vec<_>>();
        assert_eq!(names("unit/a"), ["one"]);
        assert_eq!(names("unit/b"), ["EVAL - a|b", "two"]);
        assert!(names("unit/c").is_empty());
    }

    #[test]
    fn some_tests_are_skipped_with_several_threads_only() {
        let skips = Skips::parse("unit/a | one | with several threads: why\nunit/a | two | why").unwrap();
        assert_eq!((skips.of("unit/a", 1).len(), skips.of("unit/a", 4).len()), (1, 2));
    }

    #[test]
    fn skips_without_a_reason_or_repeated_are_refused() {
        for text in ["unit/a | one", "unit/a | one |", "unit/a | | why", "unit/a | one | why\nunit/a | one | why"] {
            assert!(Skips::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timed_tests_have_a_unit_that_is_run_and_a_reason() {
        let units = Units::parse("unit/a 1").unwrap();
        let timed = Timed::parse("unit/a | one | why\nunit/a | a|b | why\nunit/b | one | why").unwrap();
        assert_eq!((timed.of("unit/a"), timed.of("unit/c")), (vec!["one".to_owned(), "a|b".to_owned()], Vec::new()));
        assert!(timed.check(&units).is_err());
        assert!(Timed::parse("unit/a | one | why").unwrap().check(&units).is_ok());
        for text in ["unit/a | one", "unit/a | one |", "unit/a | one | why\nunit/a | one | because"] {
            assert!(Timed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_skip_in_a_unit_that_is_not_run_is_refused() {
        let units = Units::parse("unit/a 1").unwrap();
        assert!(Skips::parse("unit/a | one | why").unwrap().check(&units).is_ok());
        assert!(Skips::parse("unit/b | one | why").unwrap().check(&units).is_err());
    }
}
