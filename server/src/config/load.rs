//! Loading: a file, then the options of the command line, line by line, each line one row of the table.
//!
//! `include`, `dir`, `logfile` and `rename-command` act on the process or need the command table while they are
//! read, in the order of the lines: a relative name means the directory in force at that line. They do so through
//! `Host`, which tests replace.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::commands::RenameError;
use super::directive::BAD_DIRECTIVE;
use super::special::path;
use super::{Config, Host, table};
use crate::os_error;

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Where the configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// Standard input, to its end.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Why the configuration could not be loaded. The server cannot start then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong. `Display` gives the whole report for standard error.
    Line {
        /// Counted from 1, in the file that contains the line.
        number: usize,
        /// The line, trimmed; of a line with a password only the directive.
        line: String,
        /// What is wrong.
        message: String,
    },
    /// A file could not be read. `Display` gives the line for the log.
    Unreadable(PathBuf),
    /// The directory could not be entered. `Display` gives the line for the log.
    Dir {
        /// The directory.
        path: PathBuf,
        /// The operating system's reason.
        reason: String,
    },
}

impl Config {
    /// Reads `source`, then `options`, which are lines as `cli` makes them of the command line.
    ///
    /// If there is either, the default save points do not apply: only those that are given.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(source: Option<&ConfigSource>, options: &[u8], host: &mut dyn Host) -> Result<Config, LoadError> {
        let mut config = Config::default();
        if source.is_some() || !options.is_empty() {
            config.save.clear();
        }
        let mut text = match source {
            None => Vec::new(),
            Some(ConfigSource::Stdin) => host.read_stdin().map_err(|_| LoadError::Unreadable("-".into()))?,
            Some(ConfigSource::File(path)) => {
                config.config_file = std::path::absolute(path).ok();
                host.read_file(path).map_err(|_| LoadError::Unreadable(path.clone()))?
            }
        };
        text.push(b'\n');
        text.extend_from_slice(options);
        Loader { config: &mut config, host }.text(&text, 0)?;
        if let Ok(dir) = host.current_dir() {
            config.dir = dir;
        }
        Ok(config)
    }

    /// Carries out `Effect::ChangeDir`: enters `dir`, and makes it absolute.
    ///
    /// # Errors
    /// The reply to the client; the process is where it was.
    pub fn enter_dir(&mut self, host: &mut dyn Host) -> Result<(), String> {
        let failed = |error: io::Error| format!("ERR Changing directory: {}", os_error::text(&error));
        host.change_dir(&self.dir).map_err(failed)?;
        self.dir = host.current_dir().map_err(failed)?;
        Ok(())
    }
}

struct Loader<'a> {
    config: &'a mut Config,
    host: &'a mut dyn Host,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), LoadError> {
        let unreadable = |_| LoadError::Unreadable(path.to_owned());
        let text = if path.as_os_str() == "-" { self.host.read_stdin() } else { self.host.read_file(path) };
        self.text(&text.map_err(unreadable)?, depth)
    }

    fn text(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        let mut slaveof = None;
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let name = self.line(line, depth).map_err(|stop| stop.at(number, line))?;
            if name == Some("slaveof") {
                slaveof = Some((number, line));
            }
        }
        match slaveof {
            Some((number, line)) if self.config.cluster_enabled && self.config.slaveof.is_some() => {
                Err(Stop::from("slaveof directive not allowed in cluster mode").at(number, line))
            }
            _ => Ok(()),
        }
    }

    /// Carries out one line; returns the directive that it held.
    fn line(&mut self, line: &[u8], depth: usize) -> Result<Option<&'static str>, Stop> {
        let words = resp::split_args(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, args)) = words.split_first() else {
            return Ok(None);
        };
        if name.eq_ignore_ascii_case(b"sentinel") {
            return Err("sentinel directive while not in sentinel mode".into());
        }
        let row = table::find(name).ok_or(BAD_DIRECTIVE)?;
        row.load_args(self.config, args)?;
        match (row.name, args) {
            ("include", [file]) if depth < INCLUDE_DEPTH_MAX => {
                self.file(&path(file), depth + 1).map_err(Stop::Error)?
            }
            ("include", _) => return Err("Too many nested include files".into()),
            ("rename-command", [old, new]) => self.rename_command(old, new)?,
            ("dir", _) => self.change_dir()?,
            ("logfile", _) => self.try_log_file()?,
            _ => {}
        }
        Ok(Some(row.name))
    }

    fn rename_command(&mut self, old: &[u8], new: &[u8]) -> Result<(), Stop> {
        let host = &*self.host;
        let renamed = self.config.command_names.rename(old, new, |name| host.is_command(name));
        renamed.map_err(|error| match error {
            RenameError::Unknown => "No such command in rename-command".into(),
            RenameError::Taken => "Target command name already exists".into(),
        })
    }

    fn change_dir(&mut self) -> Result<(), Stop> {
        self.host.change_dir(&self.config.dir).map_err(|error| {
            Stop::Error(LoadError::Dir { path: self.config.dir.clone(), reason: os_error::text(&error) })
        })
    }

    fn try_log_file(&mut self) -> Result<(), Stop> {
        let Some(file) = &self.config.logfile else {
            return Ok(());
        };
        let tried = self.host.try_log_file(file);
        tried.map_err(|error| Stop::Message(format!("Can't open the log file: {}", os_error::text(&error))))
    }
}

/// What stops at a line: a message about that line, or an error that says all itself.
enum Stop {
    Message(String),
    Error(LoadError),
}

impl Stop {
    fn at(self, number: usize, line: &[u8]) -> LoadError {
        match self {
            Stop::Message(message) => LoadError::Line { number, line: without_password(line), message },
            Stop::Error(error) => error,
        }
    }
}

impl From<&str> for Stop {
    fn from(message: &str) -> Self {
        Stop::Message(message.into())
    }
}

/// The line as it may be shown: standard error often ends up in a log, so no password.
fn without_password(line: &[u8]) -> String {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let shown = match line.get(..end).and_then(table::find) {
        Some(row) if ["requirepass", "masterauth"].contains(&row.name) => {
            return format!("{} (not shown)", row.name);
        }
        _ => line,
    };
    String::from_utf8_lossy(shown).into_owned()
}

fn trim(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Line { number, line, message } => write!(
                f,
                "\n*** FATAL CONFIG FILE ERROR ***\nReading the configuration file, at line {number}\n>>> '{line}'\n{message}\n"
            ),
            LoadError::Unreadable(path) => write!(f, "Fatal error, can't open config file '{}'", path.display()),
            LoadError::Dir { path, reason } => {
                write!(f, "Can't chdir to '{}': {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::host::fake::FakeHost;
    use super::super::{MaxmemoryPolicy, NotifyFlags, SavePoint};
    use super::*;

    fn load(options: &str) -> Result<Config, LoadError> {
        Config::load(None, options.as_bytes(), &mut FakeHost::default())
    }

    /// What is said about the last line of `text`, and checks the rest of the report.
    fn complaint(text: &str) -> String {
        let report = load(text).unwrap_err().to_string();
        let (number, last) = text.split('\n').enumerate().last().unwrap();
        let head = format!(
            "\n*** FATAL CONFIG FILE ERROR ***\nReading the configuration file, at line {}\n>>> '{}'\n",
            number + 2, // An empty line stands between the file and the options.
            last.trim()
        );
        report.strip_prefix(&head).unwrap_or_else(|| panic!("{report}")).trim_end_matches('\n').to_owned()
    }

    #[test]
    fn lines_are_directives_comments_or_blank() {
        let config =
            load("# a comment\n\n \t\r\n  PORT 7000\r\nmaxmemory 100mb\nmaxmemory-policy AllKeys-LRU\nhz 9999")
                .unwrap();
        assert_eq!((config.port, config.maxmemory, config.hz), (7000, 100 << 20, 500));
        assert_eq!(config.maxmemory_policy, MaxmemoryPolicy::AllkeysLru);
    }

    #[test]
    fn lists_and_limits_are_read() {
        let config =
            load("bind 127.0.0.1 ::1\nclient-output-buffer-limit slave 1gb 512mb 0\nunixsocketperm 770").unwrap();
        assert_eq!(config.bind, ["127.0.0.1", "::1"]);
        assert_eq!(config.client_output_buffer_limit[1].hard_bytes, 1 << 30);
        assert_eq!(config.client_output_buffer_limit[2], Config::default().client_output_buffer_limit[2]);
        assert_eq!(config.unixsocketperm, 0o770);
        let config = load("slaveof 10.0.0.1 6380\nnotify-keyspace-events KEA\nlogfile ''").unwrap();
        assert_eq!(config.slaveof.unwrap().port, 6380);
        assert!(config.notify_keyspace_events.contains(NotifyFlags::ALL));
        assert_eq!(config.logfile, None);
    }

    #[test]
    fn default_save_points_hold_only_without_any_configuration() {
        assert_eq!(load("").unwrap().save.len(), 3);
        assert_eq!(load("port 7000").unwrap().save, []);
        assert_eq!(load("save 900 1\nsave 60 5").unwrap().save.len(), 2);
        assert_eq!(load("save 900 1\nsave \"\"\nsave 60 5").unwrap().save, [SavePoint { seconds: 60, changes: 5 }]);
    }

    #[test]
    fn a_bad_line_is_reported_as_redis_does() {
        for (text, message) in [
            ("port 7000\nport 65536", "Invalid port"),
            ("  port x ", "Invalid port"),
            ("nosuch 1", "Bad directive or wrong number of arguments"),
            ("port", "Bad directive or wrong number of arguments"),
            ("watchdog-period 200", "Bad directive or wrong number of arguments"),
            ("include a b", "Bad directive or wrong number of arguments"),
            ("dir \"a", "Unbalanced quotes in configuration line"),
            ("daemonize maybe", "argument must be 'yes' or 'no'"),
            ("loglevel loud", "Invalid log level. Must be one of debug, verbose, notice, warning"),
            ("save 0 1", "Invalid save parameters"),
            ("maxmemory 1x", "argument must be an amount of memory, such as 512, 64kb or 1gb"),
            ("repl-backlog-size 0", "repl-backlog-size must be 1 or greater."),
            ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
            ("unixsocketperm 1000", "Invalid socket file permissions"),
            ("notify-keyspace-events KEq", "Invalid event class character. Use 'g$lshzxeA'."),
            ("logfile nosuch", "Can't open the log file: Permission denied"),
            ("rename-command nosuch x", "No such command in rename-command"),
            ("rename-command get debug", "Target command name already exists"),
            ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
            ("server-threads 65", "server-threads must be between 1 and 64"),
            ("cluster-enabled yes\nslaveof a 1", "slaveof directive not allowed in cluster mode"),
            (
                "client-output-buffer-limit master 0 0 0",
                "Unrecognized client limit class: the user specified an invalid one, or 'master' which has no buffer limits.",
            ),
            ("bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "Too many bind addresses specified"),
        ] {
            assert_eq!(complaint(text), message, "{text}");
        }
    }

    #[test]
    fn only_ones_own_password_has_a_longest_form() {
        let long = "x".repeat(513);
        assert!(load(&format!("requirepass {long}")).is_err());
        assert_eq!(load(&format!("masterauth {long}")).unwrap().masterauth, Some(long.into_bytes()));
    }

    #[test]
    fn a_password_is_never_shown() {
        let long = "x".repeat(600);
        for text in ["requirepass a secret", "masterauth 'secret", &format!("requirepass {long}secret")] {
            let report = load(text).unwrap_err().to_string();
            assert!(!report.contains("secret"), "{report}");
        }
    }

    #[test]
    fn a_file_is_read_before_the_options_and_may_include_others() {
        let mut host = FakeHost {
            files: [
                ("a.conf", &b"port 1\ninclude b.conf\ntimeout 3"[..]),
                ("b.conf", b"port 2\ntimeout 2"),
                ("loop.conf", b"include loop.conf"),
                ("bad.conf", b"include worse.conf"),
                ("worse.conf", b"\nnosuch"),
                ("<stdin>", b"port 9"),
            ]
            .into(),
            dir: "/srv".into(),
        };
        let mut load = |file: &str, options: &str| {
            Config::load(Some(&ConfigSource::File(file.into())), options.as_bytes(), &mut host)
        };
        let config = load("a.conf", "tcp-backlog 5\nport 3").unwrap();
        assert_eq!((config.port, config.timeout, config.tcp_backlog), (3, 3, 5));
        assert!(config.config_file.unwrap().is_absolute());
        assert_eq!(config.dir, Path::new("/srv"));
        let Err(LoadError::Line { number: 1, message, .. }) = load("loop.conf", "") else { panic!() };
        assert_eq!(message, "Too many nested include files");
        assert!(matches!(load("bad.conf", ""), Err(LoadError::Line { number: 2, .. })));
        let error = load("nosuch.conf", "").unwrap_err();
        assert_eq!(error.to_string(), "Fatal error, can't open config file 'nosuch.conf'");
        let config = Config::load(Some(&ConfigSource::Stdin), b"", &mut host).unwrap();
        assert_eq!((config.port, config.config_file), (9, None));
    }

    #[test]
    fn dir_is_entered_when_its_line_is_read() {
        let mut host = FakeHost { dir: "/srv".into(), ..FakeHost::default() };
        let config = Config::load(None, b"dir data\ndir more", &mut host).unwrap();
        assert_eq!(config.dir, Path::new("/srv/data/more"));
        let error = Config::load(None, b"dir nosuch", &mut host).unwrap_err();
        assert_eq!(error.to_string(), "Can't chdir to 'nosuch': No such file or directory");
    }

    #[test]
    fn newer_names_are_taken() {
        let config = load("replicaof h 1\nreplica-priority 7\nclient-output-buffer-limit replica 1 2 3").unwrap();
        assert_eq!((config.slaveof.unwrap().host.as_str(), config.slave_priority), ("h", 7));
        assert_eq!(config.client_output_buffer_limit[1].soft_seconds, 3);
        assert_eq!(load("slaveof h 1\nslaveof no one").unwrap().slaveof, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_loading_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Config::load(None, &text, &mut FakeHost::default());
        }

        #[test]
        fn no_arguments_make_loading_panic(
            row in 0..table::TABLE.len(),
            args in prop::collection::vec(prop_oneof!["[0-9a-zKE$-]{0,20}", "-?[0-9]{1,25}", "[0-9]{1,3}[kmg]b?"], 0..6),
        ) {
            let line = format!("{} {}", table::TABLE[row].name, args.join(" "));
            let _ = Config::load(None, line.as_bytes(), &mut FakeHost::default());
        }
    }
}
