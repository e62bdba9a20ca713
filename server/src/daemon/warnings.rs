//! Settings of the system and of ours that an operator should know about when the server starts.

use std::fs;

use crate::config::Config;
use crate::log;

/// Logs what is worth a warning.
pub fn log_warnings(config: &Config) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if let Some(limit) = backlog_limit(&read("/proc/sys/net/core/somaxconn"), config.tcp_backlog) {
        log::warning!(
            "WARNING: The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set to the \
             lower value of {limit}.",
            config.tcp_backlog
        );
    }
    if overcommits_by_guess(&read("/proc/sys/vm/overcommit_memory")) {
        log::warning!(
            "WARNING overcommit_memory is set to 0! Large allocations may be refused although memory is free. To change \
             that, run 'sysctl vm.overcommit_memory=1', and add 'vm.overcommit_memory = 1' to /etc/sysctl.conf."
        );
    }
    if huge_pages(&read("/sys/kernel/mm/transparent_hugepage/enabled")) {
        log::warning!(
            "WARNING you have Transparent Huge Pages (THP) support enabled in your kernel. It makes for pauses and more \
             memory in use. To disable it, run 'echo never > /sys/kernel/mm/transparent_hugepage/enabled' as root at each \
             boot, and restart the server."
        );
    }
    if (1..1 << 20).contains(&config.maxmemory) {
        log::warning!(
            "WARNING: You specified a maxmemory value that is less than 1MB (current value is {} bytes). Are you sure this \
             is what you really want?",
            config.maxmemory
        );
    }
    if config.cluster_enabled {
        log::warning!("WARNING: cluster-enabled has no effect: there is no cluster mode, the dashboard assigns slots.");
    }
}

/// The system's limit of the queue of connections, if it is below ours.
fn backlog_limit(somaxconn: &str, backlog: u32) -> Option<u32> {
    somaxconn.trim().parse().ok().filter(|&limit| limit > 0 && limit < backlog)
}

fn overcommits_by_guess(overcommit_memory: &str) -> bool {
    overcommit_memory.trim() == "0"
}

fn huge_pages(enabled: &str) -> bool {
    !enabled.is_empty() && !enabled.contains("[never]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_warned_of() {
        assert_eq!(backlog_limit("128\n", 511), Some(128));
        assert_eq!(backlog_limit("511\n", 511), None);
        assert_eq!(backlog_limit("", 511), None);
        assert!(overcommits_by_guess("0\n") && !overcommits_by_guess("1\n") && !overcommits_by_guess(""));
        assert!(huge_pages("[always] madvise never\n") && huge_pages("always [madvise] never\n"));
        assert!(!huge_pages("always madvise [never]\n") && !huge_pages(""));
    }
}
