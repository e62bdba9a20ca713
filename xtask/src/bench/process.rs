//! What the kernel knows about a server process: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
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

/// What a server's threads did between two looks, in nanoseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Those that serve clients could have run, and stood in line for a core.
    pub in_line: u64,
    /// The others ran.
    pub others: u64,
}

impl Spent {
    /// What they stood in line for behind other processes, where the server has a core for itself.
    pub fn behind_strangers(self) -> u64 {
        self.in_line.saturating_sub(self.others)
    }
}

/// Follows the threads of a server: those that serve clients, which are the first one and all that are named `reactor`, and
/// the others.
pub struct ServingMeter {
    pid: u32,
    threads: BTreeMap<u32, Metered>,
    looks: u32,
}

struct Metered {
    file: File,
    serves: bool,
    cpu: u64,
    in_line: u64,
}

impl ServingMeter {
    /// Looks at which there may be new threads: one in so many.
    const LOOKS: u32 = 16;

    /// Follows those of `pid`.
    pub fn open(pid: u32) -> Result<Self> {
        let mut meter = Self { pid, threads: BTreeMap::new(), looks: 0 };
        meter.find()?;
        meter.look()?;
        Ok(meter)
    }

    fn find(&mut self) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.pid);
        for task in fs::read_dir(&tasks).context(|| tasks.clone())?.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if !self.threads.contains_key(&tid)
                && let Ok(file) = File::open(task.path().join("schedstat"))
            {
                let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                let serves = tid == self.pid || name.starts_with("reactor");
                self.threads.insert(tid, Metered { file, serves, cpu: 0, in_line: 0 });
            }
        }
        Ok(())
    }

    /// What they have done since the last look, added up; zeros on kernels without `schedstat`. All that a thread did
    /// before it was found is counted then.
    pub fn look(&mut self) -> Result<Spent> {
        self.looks += 1;
        if self.looks.is_multiple_of(Self::LOOKS) {
            self.find()?;
        }
        let mut all = Spent::default();
        // Who has ended is followed no more.
        self.threads.retain(|_, thread| {
            let mut text = [0; 64];
            let Ok(len) = thread.file.read_at(&mut text, 0) else { return false };
            let text = std::str::from_utf8(text.get(..len).unwrap_or_default()).unwrap_or_default();
            let mut numbers = text.split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok());
            let mut since = |last: &mut u64| {
                let now = numbers.next().unwrap_or(0);
                now.saturating_sub(std::mem::replace(last, now))
            };
            let (cpu, in_line) = (since(&mut thread.cpu), since(&mut thread.in_line));
            if thread.serves {
                all.in_line += in_line;
            } else {
                all.others += cpu;
            }
            true
        });
        Ok(all)
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

    #[test]
    fn the_first_thread_serves_and_the_others_are_seen() {
        let mut meter = ServingMeter::open(std::process::id()).unwrap();
        let seen = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            while meter.look().unwrap().others == 0 {}
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(meter.threads.values().filter(|thread| thread.serves).count(), 1);
    }

    #[test]
    fn who_waits_behind_its_own_threads_does_not_wait_behind_strangers() {
        let spent = |in_line, others| Spent { in_line, others };
        assert_eq!(spent(0, 5).behind_strangers(), 0);
        assert_eq!(spent(60, 0).behind_strangers(), 60);
        assert_eq!(spent(60, 50).behind_strangers(), 10);
    }
}
