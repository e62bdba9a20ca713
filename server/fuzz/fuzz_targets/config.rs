//! Any text is a configuration or a report of what is wrong in it; what CONFIG REWRITE makes of it loads as the same
//! settings, and CONFIG SET with any of its lines changes one thing or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::config::{Config, ConfigSource, Host};
use std::io;
use std::path::{Path, PathBuf};

/// A process that has one file, and goes along with everything.
struct Fake<'a> {
    text: Option<&'a [u8]>,
}

impl Host for Fake<'_> {
    fn read_file(&mut self, _: &Path) -> io::Result<Vec<u8>> {
        // Once: a file that includes itself twice would be read 2^16 times.
        self.text.take().map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_stdin(&mut self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn change_dir(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn current_dir(&mut self) -> io::Result<PathBuf> {
        Ok("/".into())
    }

    fn try_log_file(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_command(&self, name: &[u8]) -> bool {
        server::node::is_command(name)
    }
}

fn load(text: &[u8]) -> Option<Config> {
    let file = ConfigSource::File("/redis.conf".into());
    Config::load(Some(&file), b"", &mut Fake { text: Some(text) }).ok()
}

fuzz_target!(|text: &[u8]| {
    let Some(config) = load(text) else { return };
    let written = config.rewritten(text);
    assert_eq!(load(&written), Some(config.clone()), "{}", String::from_utf8_lossy(&written));
    let mut changed = config.clone();
    for line in text.split(|&byte| byte == b'\n') {
        let mut words = line.splitn(2, |&byte| byte == b' ');
        let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let before = changed.clone();
        if changed.set(name, value).is_err() {
            assert_eq!(changed, before);
        }
    }
});
