//! `cargo xtask tidy`: the habits of this project that neither rustc nor clippy can check.
//!
//! It looks at the files that git knows and at the manifests, prints one line for each finding, and fails if there is
//! one. A rule is a plain function over a file's path and text (`rules.rs`) or over the dependencies (`arrows.rs`).

mod arrows;
mod code;
mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::Finding;

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that lists what there is to check failed.
    #[error("{program}: {why}")]
    Listing {
        /// git or cargo, with its first argument.
        program: &'static str,
        /// What it said.
        why: String,
    },
    /// A listed file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Relative to the workspace.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Prints all findings; whether there are none.
pub fn run() -> Result<bool, Error> {
    let metadata = output("cargo metadata", env!("CARGO"), &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata = arrows::Metadata::parse(&metadata)
        .map_err(|error| Error::Listing { program: "cargo metadata", why: error.to_string() })?;
    let mut findings: BTreeSet<Finding> = arrows::check(&metadata.packages).into_iter().collect();
    for path in tracked_files(&metadata.workspace_root)? {
        if let Some(text) = read(&metadata.workspace_root, &path)? {
            findings.extend(rules::check(&path, &text));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    Ok(findings.is_empty())
}

fn tracked_files(root: &Path) -> Result<Vec<String>, Error> {
    let root = root.display().to_string();
    let listing =
        output("git ls-files", "git", &["-C", &root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    Ok(listing.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// A file's text; `None` if it is no text, or has been deleted but not yet committed so.
fn read(root: &Path, path: &str) -> Result<Option<String>, Error> {
    let full: PathBuf = root.join(path);
    match fs::read(&full) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) if full.is_dir() => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

fn output(program: &'static str, binary: &str, args: &[&str]) -> Result<String, Error> {
    let failed = |why: String| Error::Listing { program, why };
    let output = Command::new(binary).args(args).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("it wrote something that is no text".into()))
}
