//! The rules about single files. Each gives its findings for one path and text.

use std::fmt;

use super::code::{code_only, is_word};

/// More than this, and a file holds more than one idea.
const LINES_MAX: usize = 900;
/// Where `unsafe` may stand: the engine's memory layouts, and the C interface of Lua.
const UNSAFE_PLACES: [&str; 2] = ["engine/src/raw/", "lua/"];
/// Crates with such a place; all others forbid `unsafe` at their root.
const UNSAFE_CRATES: [&str; 2] = ["engine", "lua"];
const SOURCE_ENDINGS: [&str; 5] = [".rs", ".ts", ".js", ".py", ".tcl"];
// In two parts, so that the rules do not find themselves.
const MACHINE_PATHS: [&str; 2] = [concat!("/t", "mp/"), concat!("/wo", "rk/")];
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// The original's configuration file names this socket; ours says the same.
const KNOWN_PATH: &str = concat!("/t", "mp/redis.sock");

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the workspace.
    pub path: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// All findings of one text file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report = |line: usize, what: String| found.push(Finding { path: path.to_owned(), line, what });
    if SOURCE_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            report(0, format!("{lines} lines, {LINES_MAX} are allowed: split it by subject"));
        }
    }
    if path.ends_with(".rs") {
        rust(path, text, &mut report);
    }
    if path.ends_with(".lock") {
        return found;
    }
    for (number, line) in text.lines().enumerate() {
        if names_machine_path(line) {
            report(number + 1, "names a path of one machine".into());
        }
        if let Some(mark) = UNFINISHED.iter().find(|mark| has_word(line, mark)) {
            report(number + 1, format!("{mark}: finish it, or open an issue"));
        }
    }
    found
}

fn rust(path: &str, text: &str, report: &mut impl FnMut(usize, String)) {
    if !text.starts_with("//!") {
        report(1, "does not open with a `//!` header".into());
    }
    let code = code_only(text);
    for (number, line) in code.lines().enumerate() {
        if has_word(line, "unsafe") && !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
            report(number + 1, format!("`unsafe` outside {}", UNSAFE_PLACES.join(" and ")));
        }
        if has_word(line, "dead_code") {
            report(number + 1, "silences `dead_code`: delete what is dead".into());
        }
    }
    if is_crate_root(path) && !code.contains("#![forbid(unsafe_code)]") {
        report(1, "a crate root without `#![forbid(unsafe_code)]`".into());
    }
}

/// A root of a crate that has no place for `unsafe`.
fn is_crate_root(path: &str) -> bool {
    let Some((krate, inside)) = path.split_once('/') else { return false };
    let is_root = matches!(inside, "src/lib.rs" | "src/main.rs") || inside.starts_with("src/bin/");
    is_root && !UNSAFE_CRATES.contains(&krate)
}

/// A machine path that begins here, not the middle of a longer, relative one.
fn names_machine_path(line: &str) -> bool {
    MACHINE_PATHS.iter().any(|path| {
        line.match_indices(path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|char| is_word(char) || matches!(char, '.' | '-' | '}'))
                && !line[at..].starts_with(KNOWN_PATH)
        })
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(path, text).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_rust_file_opens_with_a_header() {
        assert!(findings("resp/src/a.rs", "//! Why.\nfn f() {}\n").is_empty());
        let found = findings("resp/src/a.rs", "fn f() {}\n//! Late.\n");
        assert_eq!(found, ["resp/src/a.rs:1: does not open with a `//!` header"]);
        assert!(findings("README.md", "no header\n").is_empty());
    }

    #[test]
    fn unsafe_is_code_and_has_two_places() {
        let text = "//! H.\n// unsafe\nfn f() { unsafe { g(\"x\") } }\n";
        assert_eq!(
            findings("server/src/conn.rs", text),
            ["server/src/conn.rs:3: `unsafe` outside engine/src/raw/ and lua/"]
        );
        assert!(findings("engine/src/raw/thin.rs", text).is_empty());
        assert!(findings("lua/src/state.rs", text).is_empty());
        assert_eq!(findings("engine/src/value.rs", text).len(), 1);
        assert!(findings("engine/src/value.rs", "//! H.\n#![deny(unsafe_code)] // unsafe\n").is_empty());
    }

    #[test]
    fn crate_roots_forbid_unsafe_except_where_it_has_a_place() {
        let bare = "//! H.\nfn main() {}\n";
        for root in ["resp/src/lib.rs", "server/src/main.rs", "dashboard/src/bin/admin.rs"] {
            assert_eq!(findings(root, bare).len(), 1, "{root}");
            assert!(findings(root, "//! H.\n#![forbid(unsafe_code)]\n").is_empty(), "{root}");
        }
        // Saying it in a comment is not enough.
        assert_eq!(findings("resp/src/lib.rs", "//! H.\n// #![forbid(unsafe_code)]\n").len(), 1);
        for other in ["engine/src/lib.rs", "lua/src/lib.rs", "resp/src/parse.rs"] {
            assert!(findings(other, bare).is_empty(), "{other}");
        }
    }

    #[test]
    fn files_stay_short() {
        let text = |lines: usize| format!("//! H.\n{}", "\n".repeat(lines - 1));
        assert!(findings("resp/src/a.rs", &text(900)).is_empty());
        assert_eq!(
            findings("resp/src/a.rs", &text(901)),
            ["resp/src/a.rs: 901 lines, 900 are allowed: split it by subject"]
        );
        assert!(findings("docs/table.md", &text(2000)).is_empty());
    }

    #[test]
    fn machine_paths_are_found_where_a_path_begins() {
        let [first, second] = MACHINE_PATHS;
        for line in [format!("cd {first}x"), format!("\"{second}main\""), format!("{KNOWN_PATH} {second}")] {
            assert_eq!(findings("a.md", &line).len(), 1, "{line}");
        }
        for line in [format!("tests{first}x"), format!("..{first}x"), format!("unixsocket {KNOWN_PATH}")] {
            assert!(findings("redis.conf", &line).is_empty(), "{line}");
        }
        assert!(findings("Cargo.lock", first).is_empty());
    }

    #[test]
    fn unfinished_work_is_found_as_a_word() {
        let mark = UNFINISHED[0];
        assert_eq!(
            findings("a.md", &format!("a\n# {mark}: later\n")),
            [format!("a.md:2: {mark}: finish it, or open an issue")]
        );
        assert!(findings("a.md", &format!("{mark}S and {}", mark.to_lowercase())).is_empty());
    }

    #[test]
    fn dead_code_is_not_silenced() {
        assert_eq!(findings("resp/src/a.rs", "//! H.\n#[allow(dead_code)]\nfn f() {}\n").len(), 1);
        assert!(findings("resp/src/a.rs", "//! H.\n// no dead_code here\n").is_empty());
    }
}
