//! Replacing a small file so that a crash leaves the old text or the new one.
//!
//! The new text goes to a temporary file beside the old one, which is synchronised and takes the old name. Where that is not
//! possible although the file can be written (a file mounted on its own into a container, a directory that is not
//! ours) the old file is overwritten with one write, as Redis 3.2 does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The text of a file; nothing if there is none.
pub(super) fn read_or_empty(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Gives the file `path` the text `text`; keeps its mode, and if it is a symbolic link, the link.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match by_rename(&path, text) {
        Err(error) if cannot_rename(&error) => overwrite(&path, text),
        other => other,
    }
}

/// Whether overwriting may work where a new file did not.
fn cannot_rename(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::ReadOnlyFilesystem
    )
}

fn by_rename(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = temporary_name(path);
    let moved = write_new(path, &temporary, text).and_then(|()| fs::rename(&temporary, path));
    if moved.is_err() {
        // Nothing else can be done about what we could not even rename.
        let _ = fs::remove_file(&temporary);
        return moved;
    }
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, temporary: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    match fs::metadata(path) {
        Ok(old) => file.set_permissions(old.permissions())?,
        Err(_) => file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?,
    }
    file.write_all(text)?;
    file.sync_all()
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

/// One write of at least the old length, so that a reader never sees half of each; then the padding is cut off.
fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let old_len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut padded = text.to_vec();
    if padded.len() < old_len {
        padded.push(b'\n');
        padded.resize(old_len.max(padded.len()), b'#');
    }
    file.write_all_at(&padded, 0)?;
    file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn mode_and_link_survive() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new");
        assert_eq!(read_or_empty(&file).unwrap(), b"");
        replace(&file, b"text").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"text");
    }

    #[test]
    fn overwriting_leaves_nothing_of_a_longer_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "a long old text").unwrap();
        overwrite(&file, b"short").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"short");
        overwrite(&file, b"a text that is longer than before").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"a text that is longer than before");
    }

    #[test]
    fn a_failure_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("directory");
        fs::create_dir(&target).unwrap();
        assert!(replace(&target, b"text").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
