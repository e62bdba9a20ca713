//! The rule about crates: arrows between them go down only.
//!
//! ```text
//! programs    server, proxy, dashboard
//! behavior    commands   replication
//! files       persistence
//! data        engine     lua
//! words       slots      resp
//! ```
//! Dependencies of tests are free: they cannot turn an arrow of the programs around.

use std::path::PathBuf;

use serde::Deserialize;

use super::rules::Finding;

/// Each crate of ours, and the crates of ours that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("resp", &[]),
    ("slots", &[]),
    ("engine", &["slots", "resp"]),
    ("lua", &["resp"]),
    ("persistence", &["engine", "slots", "resp"]),
    ("replication", &["persistence", "engine", "slots", "resp"]),
    ("commands", &["engine", "lua", "slots", "resp"]),
    ("server", &["commands", "replication", "persistence", "lua", "engine", "slots", "resp"]),
    ("proxy", &["slots", "resp"]),
    ("dashboard", &["slots", "resp"]),
    ("tests", &["resp", "slots"]),
    ("tcl-compat", &[]),
    ("xtask", &[]),
];

/// What `cargo metadata` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Where the workspace is.
    pub workspace_root: PathBuf,
    /// Its crates.
    pub packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Only crates of the workspace have one.
    path: Option<PathBuf>,
}

impl Metadata {
    /// Reads the output of `cargo metadata --no-deps --format-version 1`.
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }
}

/// Every arrow that is not allowed, and every crate that nobody has placed.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let finding = |what| Finding { path: format!("{}/Cargo.toml", package.name), line: 0, what };
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            found.push(finding("a crate without a place in the layers: add it to xtask's arrows".into()));
            continue;
        };
        let ours = package.dependencies.iter().filter(|used| used.path.is_some());
        for used in ours.filter(|used| used.kind.as_deref() != Some("dev")) {
            if !allowed.contains(&used.name.as_str()) {
                found.push(finding(format!("{} must not use {}", package.name, used.name)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(packages: &str) -> Vec<String> {
        let json = format!(r#"{{"workspace_root": "/w", "packages": [{packages}], "version": 1}}"#);
        check(&Metadata::parse(&json).unwrap().packages).iter().map(Finding::to_string).collect()
    }

    fn package(name: &str, uses: &str, kind: &str) -> String {
        format!(
            r#"{{"name": "{name}", "dependencies": [
                {{"name": "{uses}", "kind": {kind}, "path": "/w/{uses}"}},
                {{"name": "memchr", "kind": null}}]}}"#
        )
    }

    #[test]
    fn arrows_go_down() {
        assert!(found(&package("engine", "slots", "null")).is_empty());
        assert_eq!(found(&package("slots", "resp", "null")), ["slots/Cargo.toml: slots must not use resp"]);
        assert_eq!(found(&package("persistence", "commands", "null")).len(), 1);
        assert_eq!(found(&package("engine", "commands", "\"build\"")).len(), 1);
    }

    #[test]
    fn tests_may_use_what_they_need() {
        assert!(found(&package("slots", "resp", "\"dev\"")).is_empty());
    }

    #[test]
    fn a_new_crate_must_be_given_its_place() {
        assert_eq!(found(&package("gateway", "resp", "null")).len(), 1);
    }

    #[test]
    fn the_allowed_arrows_have_no_cycle() {
        // Takes away crates that use nothing that is left, until none is left.
        let mut left: Vec<_> = ALLOWED.to_vec();
        while !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let before = left.len();
            left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "a cycle among {names:?}");
        }
    }
}
