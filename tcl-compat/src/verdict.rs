//! Holds one run's [`Report`] against the committed lists.

use std::fmt;

use crate::output::Report;
use crate::run::Job;

/// What came of one job. It is good if it has no problems.
pub struct Verdict {
    /// The job's name for people.
    pub job: String,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed, and tests that were not reached.
    pub failed: usize,
    /// Tests that were not run because they are listed.
    pub skipped: usize,
    /// What a person has to look at.
    pub problems: Vec<String>,
}

/// Judges a run in which the listed tests were skipped; `expected` is the number of tests that
/// `units.txt` says.
pub fn judge(job: &Job, expected: Option<usize>, report: &Report) -> Verdict {
    let mut problems = Vec::new();
    for failure in &report.failed {
        problems.push([&[format!("failed: {}", failure.name)], &failure.detail[..]].concat().join("\n      "));
    }
    let ran = report.tests();
    if report.finished {
        problems.extend(flaws(job, expected, report));
    } else {
        let of = expected.map_or(String::new(), |expected| format!(" of {expected}"));
        let how = report.ending.as_ref().map_or(String::new(), |ending| format!(": the suite {ending}"));
        problems.push(format!("the unit stopped after {ran}{of} tests{how}"));
    }
    Verdict {
        job: job.to_string(),
        passed: report.passed.len(),
        failed: report.failed.len() + expected.unwrap_or(0).saturating_sub(ran),
        skipped: report.skipped.len(),
        problems,
    }
}

/// Whether tests that measure time failed, and nothing else: then another run has to decide.
pub fn failed_only_in_time(job: &Job, expected: Option<usize>, report: &Report) -> bool {
    let only_timed = report.failed.iter().all(|failure| job.timed.contains(&failure.name));
    let is_whole = report.finished && flaws(job, expected, report).is_empty();
    // One of them may have ended the unit; then its failure is all that is known.
    let is_cut_short = !report.finished && !report.hung && report.aborted;
    !report.failed.is_empty() && only_timed && (is_whole || is_cut_short)
}

/// Judges a run that was made to see whether one skipped test still fails.
pub fn judge_tried(job: &Job, report: &Report) -> Verdict {
    let name = job.tried.as_deref().unwrap_or_default();
    let passes = report.passed.iter().any(|passed| passed == name);
    let fails = report.failed.iter().any(|failure| failure.name == name);
    let mut problems = Vec::new();
    if passes && !fails {
        problems.push(format!("passes now, take it out of skip.txt: {name}"));
    } else if !passes && !fails && report.finished {
        problems.push(format!("skip.txt names a test that the unit does not have: {name}"));
    }
    Verdict {
        job: job.to_string(),
        passed: usize::from(passes && !fails),
        failed: 0,
        skipped: usize::from(!passes || fails),
        problems,
    }
}

/// What is wrong with a run that reached its end, besides tests that failed.
fn flaws(job: &Job, expected: Option<usize>, report: &Report) -> Vec<String> {
    let mut flaws = Vec::new();
    if let Some(ending) = &report.ending
        && report.failed.is_empty()
    {
        flaws.push(format!("no test failed, but the suite {ending}"));
    }
    let ran = report.tests();
    match expected {
        None => flaws.push(format!("not in units.txt; the line for it: {} {ran}", job.unit)),
        Some(expected) if ran != expected => {
            flaws.push(format!("units.txt says {expected} tests, but there were {ran}"));
        }
        Some(_) => {
            let gone = job.skips.iter().filter(|skip| !report.skipped.contains(&skip.name));
            flaws.extend(gone.map(|skip| format!("skip.txt names a test that the unit does not have: {}", skip.name)));
            let gone = job.timed.iter().filter(|name| !report.has(name));
            flaws.extend(gone.map(|name| format!("timed.txt names a test that the unit does not have: {name}")));
        }
    }
    flaws
}

// === impl Verdict ===

impl Verdict {
    /// A job, with so many `tests` as far as is known, that could not be run at all.
    pub fn broken(job: &Job, tests: usize, error: &str) -> Verdict {
        Verdict { job: job.to_string(), passed: 0, failed: tests.max(1), skipped: 0, problems: vec![error.to_owned()] }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.problems.is_empty() { "good" } else { "BAD " };
        let Verdict { job, passed, failed, skipped, .. } = self;
        write!(f, "{word} {job:<34} {passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::Skip;
    use crate::output::Failure;

    fn job(skips: &[&str]) -> Job {
        let skip = |name: &&str| Skip { unit: "unit/x".to_owned(), name: (*name).to_owned(), several_threads: false };
        let skips = skips.iter().map(skip).collect();
        Job { unit: "unit/x".to_owned(), threads: Some(4), skips, timed: Vec::new(), tried: None }
    }

    fn trying(name: &str) -> Job {
        Job { tried: Some(name.to_owned()), ..job(&[]) }
    }

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.line(line));
        report
    }

    const DONE: &str = "[1/1 done]: ../unit (1 seconds)";

    #[test]
    fn a_whole_unit_without_failures_is_good() {
        let verdict = judge(&job(&["two"]), Some(2), &report(&["[ok]: one", "[skip]: two", DONE]));
        assert!(verdict.problems.is_empty(), "{:?}", verdict.problems);
        assert_eq!((verdict.passed, verdict.failed, verdict.skipped), (1, 0, 1));
        assert_eq!(verdict.to_string(), format!("good {:<34} 1 passed, 0 failed, 1 skipped", "unit/x, 4 threads"));
    }

    #[test]
    fn a_unit_that_ran_too_few_or_too_many_tests_is_bad() {
        for expected in [1, 3] {
            let verdict = judge(&job(&[]), Some(expected), &report(&["[ok]: one", "[ok]: two", DONE]));
            assert_eq!(verdict.problems.len(), 1);
        }
    }

    #[test]
    fn a_unit_that_stopped_half_way_is_bad_and_its_missing_tests_failed() {
        let mut stopped = report(&["[ok]: one"]);
        stopped.ending = Some("was killed".to_owned());
        let verdict = judge(&job(&["never reached"]), Some(5), &stopped);
        assert_eq!((verdict.passed, verdict.failed, verdict.skipped), (1, 4, 0));
        assert_eq!(verdict.problems, ["the unit stopped after 1 of 5 tests: the suite was killed"]);
    }

    #[test]
    fn reaching_the_count_does_not_excuse_a_missing_end() {
        let verdict = judge(&job(&[]), Some(1), &report(&["[ok]: one"]));
        assert_eq!(verdict.problems, ["the unit stopped after 1 of 1 tests"]);
    }

    #[test]
    fn a_failure_is_shown_with_its_explanation() {
        let verdict = judge(&job(&[]), Some(1), &report(&["[err]: one in tests/unit/x.tcl", "because", DONE]));
        assert_eq!(verdict.problems, ["failed: one\n      because"]);
        assert_eq!(verdict.failed, 1);
    }

    #[test]
    fn a_skip_that_matches_no_test_is_stale() {
        let verdict = judge(&job(&["gone"]), Some(1), &report(&["[ok]: one", DONE]));
        assert_eq!(verdict.problems.len(), 1);
        assert!(verdict.problems[0].contains("does not have: gone"));
    }

    #[test]
    fn a_unit_that_is_not_listed_is_bad_and_told_its_line() {
        let verdict = judge(&job(&[]), None, &report(&["[ok]: one", DONE]));
        assert_eq!(verdict.problems, ["not in units.txt; the line for it: unit/x 1"]);
    }

    #[test]
    fn a_suite_that_ends_badly_without_a_failed_test_is_bad() {
        let mut odd = report(&["[ok]: one", DONE]);
        odd.ending = Some("ended with exit status: 1".to_owned());
        assert_eq!(judge(&job(&[]), Some(1), &odd).problems.len(), 1);
        odd.failed.push(Failure { name: "two".to_owned(), detail: Vec::new() });
        assert_eq!(judge(&job(&[]), Some(2), &odd).problems, ["failed: two"]);
    }

    /// Whether a unit of two tests, of which `late` measures time, is to be run again.
    fn runs_again(lines: &[&str]) -> bool {
        let job = Job { timed: vec!["late".to_owned()], ..job(&[]) };
        failed_only_in_time(&job, Some(2), &report(lines))
    }

    const LATE: &str = "[err]: late in tests/unit/x.tcl";

    #[test]
    fn a_unit_that_failed_only_in_tests_that_measure_time_is_run_again() {
        assert!(runs_again(&["[ok]: one", LATE, "because", DONE]));
        assert!(runs_again(&[LATE, "because", "[ok]: one", DONE]));
        assert!(runs_again(&["[ok]: one", "[abort]: late", "[exception]: can't read \"time\""]));
    }

    #[test]
    fn a_unit_that_failed_in_anything_else_is_not_run_again() {
        let other = "[err]: one in tests/unit/x.tcl";
        for lines in [
            &["[ok]: one", "[ok]: late", DONE][..],
            &[other, "[ok]: late", DONE],
            &[other, LATE, DONE],
            &[LATE, "because", "[abort]: one", "[exception]: I/O error"],
            // Something came behind it, or should have.
            &["[ok]: one", LATE, "because"],
            &["[ok]: one", "[abort]: late", "[exception]: x", "[exception]: y"],
            &["[ok]: one", LATE, "[TIMEOUT]: clients state report follows."],
            // Not the tests that it should have.
            &[LATE, DONE],
            &["[ok]: one", "[ok]: two", LATE, DONE],
        ] {
            assert!(!runs_again(lines), "{lines:?}");
        }
    }

    #[test]
    fn a_timed_test_that_the_unit_does_not_have_is_stale() {
        let job = Job { timed: vec!["late".to_owned()], ..job(&[]) };
        let problems = |lines: &[&str]| judge(&job, Some(1), &report(lines)).problems;
        assert!(problems(&["[ok]: late", DONE]).is_empty());
        assert_eq!(problems(&["[ok]: one", DONE]), ["timed.txt names a test that the unit does not have: late"]);
    }

    #[test]
    fn a_tried_test_may_fail_or_abort_but_not_pass_or_be_gone() {
        let problems = |lines: &[&str]| judge_tried(&trying("two"), &report(lines)).problems.len();
        assert_eq!(problems(&["[ok]: one", "[err]: two in tests/unit/x.tcl", DONE]), 0);
        assert_eq!(problems(&["[ok]: one", "[abort]: two", "[exception]: x"]), 0);
        assert_eq!(problems(&["[ok]: one", "[ok]: two", DONE]), 1);
        assert_eq!(problems(&["[ok]: one", DONE]), 1);
        assert_eq!(problems(&["[ok]: one"]), 0, "it hung");
    }
}
