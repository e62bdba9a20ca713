//! Reads what the suite prints about one unit, line by line, into a [`Report`].
//!
//! The lines that count begin with a status in brackets: `[ok]`, `[err]`, `[exception]`,
//! `[TIMEOUT]` and `[1/1 done]` are the suite's own; `[skip]` and `[abort]` come from `unit.tcl`.
//! Lines after an `[err]` or `[exception]` explain it; all others are progress.

/// How many lines of explanation are kept for one failure.
const DETAIL_LINES_MAX: usize = 32;

/// What one run of one unit has shown so far.
#[derive(Debug, Default)]
pub struct Report {
    /// Names of tests that passed, in order.
    pub passed: Vec<String>,
    /// Tests that failed; the last one may have ended the unit.
    pub failed: Vec<Failure>,
    /// Names of tests that were not run because they are listed.
    pub skipped: Vec<String>,
    /// The test that failed last ended the unit.
    pub aborted: bool,
    /// The unit was run to its last line.
    pub finished: bool,
    /// How it ended, if the suite's process did not end well.
    pub ending: Option<String>,
    /// Nothing happened for so long that it was ended.
    pub hung: bool,
    /// Another run took the port of the suite's server process between its look and its bind.
    pub port_taken: bool,
    explaining: bool,
}

/// A test that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The test's name; the suite's message where a failure belongs to no test.
    pub name: String,
    /// The suite's explanation.
    pub detail: Vec<String>,
}

impl Report {
    /// Takes in the next line, given without its line end.
    pub fn line(&mut self, line: &str) {
        let Some((status, data)) = status(line) else {
            self.port_taken |= line.starts_with("couldn't open socket: address already in use");
            if self.explaining {
                self.explain(line);
            }
            return;
        };
        self.explaining = false;
        match status {
            "ok" => self.passed.push(data.to_owned()),
            "skip" => self.skipped.push(data.to_owned()),
            "err" => {
                // The suite names the file after the test's name.
                let name = data.rsplit_once(" in tests/").map_or(data, |(name, _)| name);
                self.fail(name);
            }
            "abort" => {
                self.fail(data);
                self.aborted = true;
            }
            "exception" | "TIMEOUT" => {
                self.hung |= status == "TIMEOUT";
                // An exception inside a test was announced by `[abort]`: it explains that one.
                let announced = self.failed.last().is_some_and(|failure| failure.detail.is_empty());
                if !announced {
                    self.fail("(outside of any test)");
                }
                self.explaining = true;
                self.explain(data);
            }
            _ if status.ends_with(" done") => self.finished = true,
            _ => {}
        }
    }

    /// How many tests of the unit were accounted for.
    pub fn tests(&self) -> usize {
        self.passed.len() + self.failed.len() + self.skipped.len()
    }

    /// Whether a test of this name was accounted for.
    pub fn has(&self, name: &str) -> bool {
        self.passed.iter().chain(&self.skipped).any(|known| known == name)
            || self.failed.iter().any(|failure| failure.name == name)
    }

    fn fail(&mut self, name: &str) {
        self.aborted = false;
        self.failed.push(Failure { name: name.to_owned(), detail: Vec::new() });
        self.explaining = true;
    }

    fn explain(&mut self, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            self.explaining = false;
        } else if let Some(failure) = self.failed.last_mut()
            && failure.detail.len() < DETAIL_LINES_MAX
        {
            failure.detail.push(line.to_owned());
        }
    }
}

/// Splits `[status]: data`; `None` for any other line.
fn status(line: &str) -> Option<(&str, &str)> {
    let (status, data) = line.strip_prefix('[')?.split_once("]: ")?;
    let known = matches!(status, "ok" | "err" | "skip" | "abort" | "exception" | "TIMEOUT" | "ready");
    (known || status.ends_with(" done")).then_some((status, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.line(line));
        report
    }

    fn names(report: &Report) -> Vec<&str> {
        report.failed.iter().map(|failure| failure.name.as_str()).collect()
    }

    #[test]
    fn a_good_unit_is_its_ok_lines_and_its_end() {
        let report = report(
            "Cleanup: may take some time... OK\nStarting test server at port 11111\n[ready]: 4711\n\
             Testing ../unit\n[ok]: SET and GET an item\n[ok]: EVAL - [ok]: in a name\n[skip]: KEYS\n\
             [1/1 done]: ../unit (3 seconds)\n\n                   The End\n\n\\o/ All tests passed without errors!\n",
        );
        assert_eq!(report.passed, ["SET and GET an item", "EVAL - [ok]: in a name"]);
        assert_eq!(report.skipped, ["KEYS"]);
        assert!(report.failed.is_empty() && report.finished);
        assert_eq!(report.tests(), 3);
    }

    #[test]
    fn a_failure_keeps_its_name_and_explanation_once() {
        let report = report(
            "[err]: SORT in two parts in tests/unit/sort.tcl\nExpected '1' to be equal to '2'\n(detail: [x]: y)\n\
             [ok]: next\n[1/1 done]: ../unit (3 seconds)\n\n!!! WARNING The following tests failed:\n\n\
             *** [err]: SORT in two parts in tests/unit/sort.tcl\nExpected '1' to be equal to '2'\n",
        );
        assert_eq!(names(&report), ["SORT in two parts"]);
        assert_eq!(report.failed[0].detail, ["Expected '1' to be equal to '2'", "(detail: [x]: y)"]);
        assert_eq!(report.passed, ["next"]);
        assert!(report.finished);
    }

    #[test]
    fn an_exception_inside_a_test_is_that_tests_failure() {
        let report =
            report("[ok]: one\n[abort]: two\n[exception]: Executing test client: I/O error.\nwhile executing\n");
        assert_eq!(names(&report), ["two"]);
        assert_eq!(report.failed[0].detail, ["Executing test client: I/O error.", "while executing"]);
        assert!(!report.finished && report.aborted);
    }

    #[test]
    fn an_exception_or_timeout_between_tests_is_a_failure_too() {
        let after_failure = report("[err]: one in tests/unit/x.tcl\nbecause\n[exception]: broken\n");
        assert_eq!(names(&after_failure), ["one", "(outside of any test)"]);
        assert!(!after_failure.aborted);
        let alone = report("[ok]: one\n[TIMEOUT]: clients state report follows.\nsock1 => (IN PROGRESS) two\n");
        assert_eq!(names(&alone), ["(outside of any test)"]);
        assert_eq!(alone.failed[0].detail.len(), 2);
        assert!(alone.hung && !alone.finished && !after_failure.hung);
    }

    #[test]
    fn a_server_that_does_not_start_is_a_failure() {
        let report =
            report("[err]: Cant' start the Redis server\nCONFIGURATION:port 1\n[1/1 done]: ../unit (0 seconds)\n");
        assert_eq!(names(&report), ["Cant' start the Redis server"]);
        assert!(report.finished);
    }

    #[test]
    fn explanations_are_bounded() {
        let long = format!("[err]: one in tests/unit/x.tcl\n{}", "line\n".repeat(1000));
        assert_eq!(report(&long).failed[0].detail.len(), DETAIL_LINES_MAX);
    }
}
