//! Which core who runs on, so that one server stands for one on a machine of its own.
//!
//! Two servers that work for each other on the two cores of one machine are felt by each other's clients: who waits for a
//! core that the other server has, waits for nothing that the first one does. So the server that is looked at gets a core
//! for itself, all of its threads together, and the other one shares a core with the clients. Its clients go before all
//! others there. With one core only, nothing is placed.

use std::fs;
use std::process::{Command, Stdio};

/// Where everybody may run, put back when dropped.
#[derive(Debug)]
pub struct Apart {
    everywhere: Option<String>,
}

impl Apart {
    /// Puts the process `alone` on one core, and `others` and this process on another.
    pub fn place(alone: u32, others: u32) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default().trim();
        let cores = cores(list);
        let (Some(first), Some(second)) = (cores.first(), cores.get(1)) else { return Self { everywhere: None } };
        let rest = second.to_string();
        let placed = pin(alone, &first.to_string()) && pin(others, &rest) && pin(std::process::id(), &rest);
        if !placed {
            eprintln!("the servers could not be put on cores of their own");
        }
        Self { everywhere: Some(list.to_owned()) }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(list) = &self.everywhere {
            pin(std::process::id(), list);
        }
    }
}

/// All threads of a process, and those that they start, run on these cores from now on.
fn pin(pid: u32, cores: &str) -> bool {
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", cores, &pid.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The cores of a list as `proc_pid_status(5)` has it: `0-2,5`.
fn cores(list: &str) -> Vec<usize> {
    list.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_has_numbers_and_ranges() {
        assert_eq!(cores("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cores("3"), [3]);
        assert!(cores("").is_empty());
    }
}
