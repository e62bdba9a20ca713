//! The command line: which program was called, and what it is asked to do.
//!
//! Options become lines of configuration, as Redis does it: `--save 900 1 --port 7000` is read after the file as
//!
//! ```text
//! save "900" "1"
//! port "7000"
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::{ConfigSource, REDIS_VERSION, quote};

mod memory_test;

/// The programs in this file, told apart by the name they are called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The server.
    Server,
    /// `redis-check-aof`.
    CheckAof,
    /// `redis-check-rdb`.
    CheckRdb,
}

impl Program {
    /// The program that is called by this name, which may be a path.
    pub fn of(name: &OsStr) -> Self {
        let name = Path::new(name).file_name().unwrap_or_default().as_bytes();
        let contains = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        if contains(b"check-aof") {
            Program::CheckAof
        } else if contains(b"check-rdb") {
            Program::CheckRdb
        } else {
            Program::Server
        }
    }
}

/// What the server is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Answer at once and exit.
    Answer(Question),
    /// Serve.
    Run {
        /// The file to load.
        source: Option<ConfigSource>,
        /// Lines to read after it.
        options: Vec<u8>,
    },
}

/// What is answered without starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which version is this?
    Version,
    /// How is it called?
    Help,
    /// Is so much memory sound? `None`: the amount is missing or is no number of megabytes.
    TestMemory(Option<usize>),
}

/// An answer, for standard output, or for standard error if the exit status is not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whole lines.
    pub text: String,
    /// The exit status.
    pub status: u8,
}

/// Reads the arguments, without the program's name.
pub fn parse(args: &[OsString]) -> Invocation {
    let words: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    match words.as_slice() {
        [b"-v" | b"--version", ..] => return Invocation::Answer(Question::Version),
        [b"-h" | b"--help", ..] => return Invocation::Answer(Question::Help),
        [b"--test-memory", rest @ ..] => {
            let megabytes = match rest {
                [megabytes] => std::str::from_utf8(megabytes).ok().and_then(|text| text.parse().ok()),
                _ => None,
            };
            return Invocation::Answer(Question::TestMemory(megabytes));
        }
        _ => {}
    }
    match words.split_first() {
        Some((first, options)) if !first.starts_with(b"--") => {
            let source = match *first {
                b"-" => ConfigSource::Stdin,
                file => ConfigSource::File(OsStr::from_bytes(file).into()),
            };
            Invocation::Run { source: Some(source), options: option_lines(options) }
        }
        _ => Invocation::Run { source: None, options: option_lines(&words) },
    }
}

/// Options as lines of configuration.
fn option_lines(words: &[&[u8]]) -> Vec<u8> {
    let mut lines = Vec::new();
    for word in words {
        match word.strip_prefix(b"--") {
            // An option without a value, which only `redis-check-rdb` knows.
            Some(b"check-rdb") => {}
            Some(name) => {
                if !lines.is_empty() {
                    lines.push(b'\n');
                }
                lines.extend_from_slice(name);
                lines.push(b' ');
            }
            None => {
                lines.extend(quote(word));
                lines.push(b' ');
            }
        }
    }
    lines
}

impl Question {
    /// The answer. Testing memory takes its time.
    pub fn answer(&self, program: &str) -> Answer {
        match self {
            Question::Version => Answer { text: version(), status: 0 },
            Question::Help => Answer { text: usage(program), status: 1 },
            Question::TestMemory(Some(megabytes)) => memory_test::run(*megabytes),
            Question::TestMemory(None) => Answer {
                text: format!(
                    "Please specify the amount of memory to test in megabytes.\nExample: {program} --test-memory 4096\n"
                ),
                status: 1,
            },
        }
    }
}

/// The line that `--version` prints; tools read the version out of it.
pub fn version() -> String {
    format!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc-5.3.1 bits={} build={:x}\n",
        usize::BITS,
        build_id()
    )
}

/// A number that differs between versions: FNV-1a over their names.
pub fn build_id() -> u64 {
    let names = concat!("codis-server ", env!("CARGO_PKG_VERSION"), " ").bytes().chain(REDIS_VERSION.bytes());
    names.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the log says when the server runs without any configuration.
pub fn no_config_warning(program: &str) -> String {
    format!(
        "Warning: no config file specified, using the default config. In order to specify a config file use {program} \
         /path/to/redis.conf"
    )
}

fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [/path/to/redis.conf] [--directive value ...]
       {program} -                      read the configuration from standard input
       {program} -v | --version
       {program} -h | --help
       {program} --test-memory <megabytes>

Every directive of the configuration file is an option as well, and overrides the file:
       {program}
       {program} /etc/redis/6379.conf
       {program} --port 7777
       {program} --port 7777 --slaveof 127.0.0.1 8888
       {program} /etc/redis/6379.conf --loglevel verbose --save 900 1
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Invocation {
        parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(args: &[&str], source: Option<ConfigSource>, options: &str) {
        assert_eq!(parsed(args), Invocation::Run { source, options: options.into() });
    }

    #[test]
    fn the_name_chooses_the_program() {
        for (name, program) in [
            ("codis-server", Program::Server),
            ("/check-aof/redis-server", Program::Server),
            ("./src/redis-check-aof", Program::CheckAof),
            ("redis-check-rdb", Program::CheckRdb),
        ] {
            assert_eq!(Program::of(OsStr::new(name)), program, "{name}");
        }
    }

    #[test]
    fn options_become_lines() {
        let file = |name: &str| Some(ConfigSource::File(name.into()));
        check(&[], None, "");
        check(&["a.conf"], file("a.conf"), "");
        check(&["-x"], file("-x"), "");
        check(&["-", "--port", "1"], Some(ConfigSource::Stdin), "port \"1\" ");
        check(&["--save", "900", "1", "--port", "7000"], None, "save \"900\" \"1\" \nport \"7000\" ");
        check(&["--logfile", ""], None, "logfile \"\" ");
        check(&["a.conf", "--requirepass", "a b\n"], file("a.conf"), "requirepass \"a b\\n\" ");
    }

    #[test]
    fn questions_come_first() {
        for (args, question) in [
            (&["-v"][..], Question::Version),
            (&["--version", "x"], Question::Version),
            (&["-h"], Question::Help),
            (&["--help"], Question::Help),
            (&["--test-memory", "12"], Question::TestMemory(Some(12))),
            (&["--test-memory"], Question::TestMemory(None)),
            (&["--test-memory", "x"], Question::TestMemory(None)),
        ] {
            assert_eq!(parsed(args), Invocation::Answer(question), "{args:?}");
        }
    }

    #[test]
    fn the_version_has_the_form_that_tools_expect() {
        let version = Question::Version.answer("codis-server");
        assert!(version.text.starts_with("Redis server v=3.2.11 sha=00000000:0 malloc=jemalloc-5.3.1 bits=64 build="));
        assert_eq!(version.status, 0);
    }

    #[test]
    fn memory_is_tested() {
        assert_eq!(Question::TestMemory(Some(2)).answer("x").status, 0);
        assert_eq!(Question::TestMemory(Some(usize::MAX)).answer("x").status, 1);
        assert_eq!(Question::TestMemory(None).answer("x").status, 1);
    }
}
