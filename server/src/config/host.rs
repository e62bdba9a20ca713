//! What loading a configuration asks of the process around it, so that tests can be that process.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What loading asks of the process and of the command table.
pub trait Host {
    /// The bytes of a file.
    fn read_file(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// The bytes of standard input.
    fn read_stdin(&mut self) -> io::Result<Vec<u8>>;
    /// Changes the working directory.
    fn change_dir(&mut self, path: &Path) -> io::Result<()>;
    /// The working directory.
    fn current_dir(&mut self) -> io::Result<PathBuf>;
    /// Whether the file can be opened for appending; creates it.
    fn try_log_file(&mut self, path: &Path) -> io::Result<()>;
    /// Whether there is a built-in command of this name, which is in lower case.
    fn is_command(&self, name: &[u8]) -> bool;
}

/// The process itself.
pub struct ProcessHost {
    is_command: fn(&[u8]) -> bool,
    stdin: Option<Vec<u8>>,
}

impl ProcessHost {
    /// `is_command` tells whether the command table has this name, which is in lower case.
    pub fn new(is_command: fn(&[u8]) -> bool) -> Self {
        ProcessHost { is_command, stdin: None }
    }

    /// What was read from standard input, if anything asked for it: a daemon's child has to be given it again.
    pub fn stdin_read(&self) -> Option<&[u8]> {
        self.stdin.as_deref()
    }
}

impl Host for ProcessHost {
    fn read_file(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn read_stdin(&mut self) -> io::Result<Vec<u8>> {
        if let Some(text) = &self.stdin {
            return Ok(text.clone());
        }
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text)?;
        self.stdin = Some(text.clone());
        Ok(text)
    }

    fn change_dir(&mut self, path: &Path) -> io::Result<()> {
        std::env::set_current_dir(path)
    }

    fn current_dir(&mut self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }

    fn try_log_file(&mut self, path: &Path) -> io::Result<()> {
        std::fs::OpenOptions::new().append(true).create(true).open(path).map(drop)
    }

    fn is_command(&self, name: &[u8]) -> bool {
        (self.is_command)(name)
    }
}

/// A process of its own for tests.
#[cfg(test)]
pub(super) mod fake {
    use std::collections::HashMap;

    use super::*;

    /// A process whose files are in a map, and whose directory is a text.
    #[derive(Default)]
    pub struct FakeHost {
        pub files: HashMap<&'static str, &'static [u8]>,
        pub dir: PathBuf,
    }

    impl Host for FakeHost {
        fn read_file(&mut self, path: &Path) -> io::Result<Vec<u8>> {
            let text = path.to_str().and_then(|path| self.files.get(path));
            text.map(|text| text.to_vec()).ok_or(io::ErrorKind::NotFound.into())
        }
        fn read_stdin(&mut self) -> io::Result<Vec<u8>> {
            self.read_file(Path::new("<stdin>"))
        }
        fn change_dir(&mut self, path: &Path) -> io::Result<()> {
            if path == "nosuch" {
                return Err(io::Error::from_raw_os_error(2));
            }
            self.dir.push(path);
            Ok(())
        }
        fn current_dir(&mut self) -> io::Result<PathBuf> {
            Ok(self.dir.clone())
        }
        fn try_log_file(&mut self, path: &Path) -> io::Result<()> {
            if path == "nosuch" { Err(io::Error::from_raw_os_error(13)) } else { Ok(()) }
        }
        fn is_command(&self, name: &[u8]) -> bool {
            name == b"get" || name == b"debug"
        }
    }
}
