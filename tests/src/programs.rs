//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Our server: `CODIS_SERVER` if set, else `fast/codis-server` of this build's target directory, built once if it is not
/// there. A binary that is there is taken as it is: build it first.
pub fn codis_server() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(path) = env::var_os("CODIS_SERVER") {
            return path.into();
        }
        let path = target_directory().join("fast/codis-server");
        if !path.exists() {
            build(&target_directory());
        }
        assert!(path.exists(), "{} is missing: cargo build --profile fast -p server", path.display());
        path
    })
}

/// Debian's Redis 7.0: `REDIS_SERVER` if set, else `redis-server` of the search path.
pub fn redis_server() -> PathBuf {
    if let Some(path) = env::var_os("REDIS_SERVER") {
        return path.into();
    }
    let directories = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&directories)
        .map(|directory| directory.join("redis-server"))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("redis-server is missing: install Debian's package redis-server, or set REDIS_SERVER")
        })
}

/// This test's executable is `<target>/<profile>/deps/<name>`.
fn target_directory() -> PathBuf {
    if let Some(path) = env::var_os("CARGO_TARGET_DIR") {
        return path.into();
    }
    let own = env::current_exe().expect("a test knows its executable");
    own.ancestors().nth(3).expect("a test's executable is below the target directory").to_owned()
}

fn build(target: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--profile", "fast", "-p", "server", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "cargo build --profile fast -p server failed");
}
