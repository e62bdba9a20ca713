//! What the kernel knows about a server process: CPU time and memory, from `/proc`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::error::{Context, Result};

/// Nanoseconds in a tick of `/proc/PID/stat`: USER_HZ is 100 on every architecture we build for (`proc(5)`).
const TICK_NS: u64 = 10_000_000;

/// CPU time, user and system, that all living threads of `pid` have used, in nanoseconds.
///
/// From `schedstat`, which is exact for a thread that sleeps; kernels without it give ticks of 10 ms.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = 0;
    for task in fs::read_dir(&tasks).context(|| tasks.clone())?.flatten() {
        match fs::read_to_string(task.path().join("schedstat")) {
            Ok(text) => total += first_number(&text).unwrap_or(0),
            // The thread has ended since it was listed: its time is nobody's any more.
            Err(_) if !task.path().exists() => {}
            Err(_) => return ticks(pid),
        }
    }
    Ok(total)
}

/// CPU time that the calling thread has used, in nanoseconds; behind by less than a scheduler tick. 0 if unknown.
pub fn own_thread_cpu_ns() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| first_number(&text)).unwrap_or(0)
}

/// Follows how much CPU time each thread of a process uses; one system call a thread and look.
pub struct ThreadMeter {
    /// A thread's `schedstat`, and the nanoseconds it said last time.
    threads: Vec<(File, u64)>,
}

impl ThreadMeter {
    /// Follows the threads that `pid` has now.
    pub fn open(pid: u32) -> Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut threads = Vec::new();
        for task in fs::read_dir(&tasks).context(|| tasks.clone())?.flatten() {
            if let Ok(file) = File::open(task.path().join("schedstat")) {
                threads.push((file, 0));
            }
        }
        let mut meter = Self { threads };
        meter.busiest_ns();
        Ok(meter)
    }

    /// What the busiest thread has used since the last look, in nanoseconds; `None` on kernels without `schedstat`.
    pub fn busiest_ns(&mut self) -> Option<u64> {
        let looks = self.threads.iter_mut().filter_map(|(file, last)| {
            let mut text = [0; 64];
            let len = file.read_at(&mut text, 0).ok()?;
            let now = first_number(std::str::from_utf8(text.get(..len)?).ok()?)?;
            Some(now.saturating_sub(std::mem::replace(last, now)))
        });
        looks.max()
    }
}

fn ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).context(|| path.clone())?;
    Ok(stat_ticks(&text) * TICK_NS)
}

/// CPU seconds of `pid`, of its threads that have ended too, and of its children that were waited for; in ticks of 10 ms.
pub fn cpu_with_children_s(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).context(|| path.clone())?;
    Ok((stat_numbers(&text, 11, 4) * TICK_NS) as f64 / 1e9)
}

/// Resident bytes of `pid`, at little cost; behind by some pages. 0 when it is gone.
pub fn status_bytes(pid: u32) -> u64 {
    kib_of(pid, "status", "VmRSS:").unwrap_or(0) * 1024
}

/// What `pid` shares with nobody, in bytes. A forked child shares most pages; what its parent changes meanwhile is the
/// child's alone.
pub fn private_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    ["Private_Clean:", "Private_Dirty:"].iter().filter_map(|name| kib_in(&text, name)).sum::<u64>() * 1024
}

/// utime + stime: fields 14 and 15, counted behind the command name, which may hold blanks.
fn stat_ticks(stat: &str) -> u64 {
    stat_numbers(stat, 11, 2)
}

/// The sum of `count` numbers, from the one that is `skip` fields behind the name.
fn stat_numbers(stat: &str, skip: usize, count: usize) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_ascii_whitespace().skip(skip).take(count).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Resident memory of `pid` in bytes.
///
/// `smaps_rollup` walks the pages; `status` may lag by a batch of counters per CPU.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    if let Some(kib) = kib_of(pid, "smaps_rollup", "Rss:") {
        return Ok(kib * 1024);
    }
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).context(|| path.clone())?;
    Ok(kib_in(&text, "VmRSS:").unwrap_or(0) * 1024)
}

fn kib_of(pid: u32, file: &str, name: &str) -> Option<u64> {
    kib_in(&fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?, name)
}

fn kib_in(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(first_number)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_behind_a_name_with_blanks_and_brackets() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194560 100 0 0 0 70 30 5 5 20 0 1 0 1 1 1";
        assert_eq!(stat_ticks(stat), 100);
        assert_eq!(stat_numbers(stat, 11, 4), 110);
        assert_eq!(stat_ticks(""), 0);
    }

    #[test]
    fn kernel_tables_give_kibibytes_by_name() {
        let table = "00400000-7fff r--p 00000000 00:00 0 [rollup]\nRss:                1234 kB\nPss:  99 kB\n";
        assert_eq!(kib_in(table, "Rss:"), Some(1234));
        assert_eq!(kib_in(table, "Swap:"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        let before = cpu_ns(pid).unwrap();
        let mut sum = 0u64;
        while cpu_ns(pid).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }

    #[test]
    fn the_meter_sees_what_is_used_between_two_looks() {
        let mut meter = ThreadMeter::open(std::process::id()).unwrap();
        let own_before = own_thread_cpu_ns();
        while meter.busiest_ns().unwrap() == 0 || own_thread_cpu_ns() == own_before {}
        let all = cpu_ns(std::process::id()).unwrap();
        assert!(meter.busiest_ns().unwrap() <= all);
    }
}
