//! What the system is told about who goes first on a processor, and about when written bytes go to disk.
//!
//! Where the system knows nothing of the kind (all but Linux), or refuses it, the work is done all the same.

use std::fs::File;
use std::io;

/// Makes the calling thread one that goes after others: it takes no processor from a thread that runs, and keeps one for
/// itself only as long as the scheduler must grant it, while it still gets a share by `nice` (0 to 19) of busy ones. No
/// right is needed for that.
///
/// `sched_setattr(2)`: a batch thread does not preempt when it wakes; the slice, heeded since Linux 6.12, is the shortest
/// that can be had, so that little is lost by who yields. False if the system refuses.
pub fn go_after_others(nice: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        attributes().is_some_and(|mut attributes| {
            attributes.sched_policy = libc::SCHED_BATCH as u32;
            attributes.sched_nice = nice;
            attributes.sched_priority = 0;
            attributes.sched_runtime = SLICE_NS;
            attributes.sched_deadline = 0;
            attributes.sched_period = 0;
            set(&attributes)
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = nice;
        false
    }
}

/// Makes the calling thread one that has a processor soon after it wakes, for a short time each: it takes it from threads
/// that ask for longer ones, as all do by themselves, and whoever [goes after others](go_after_others) first of all. It gets
/// no larger share by that, and needs no right. Only a thread with the ordinary policy is changed.
///
/// `sched_setattr(2)`: the slice, heeded since Linux 6.12, decides among those whose turn it is, and the shortest wins. False
/// if the system refuses, or knows no such thing.
pub fn go_soon() -> bool {
    #[cfg(target_os = "linux")]
    {
        attributes().filter(|now| now.sched_policy == libc::SCHED_OTHER as u32).is_some_and(|mut attributes| {
            attributes.sched_runtime = SLICE_NS;
            set(&attributes)
        })
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// What holds for the calling thread now, if the system says so.
#[cfg(target_os = "linux")]
fn attributes() -> Option<libc::sched_attr> {
    const SIZE: u32 = size_of::<libc::sched_attr>() as u32;
    let mut attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes no more than `SIZE` bytes, during the call; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    attributes.size = SIZE;
    (result == 0).then_some(attributes)
}

#[cfg(target_os = "linux")]
fn set(attributes: &libc::sched_attr) -> bool {
    // SAFETY: the kernel reads as many bytes as `size` says, which is the structure's size, during the call; 0 is the
    // calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
    result == 0
}

/// The kernel's minimum.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// Begins to bring `len` bytes of a file from `at` on to the disk, waiting for what was begun before in the `len` bytes in
/// front of them. That makes nothing last: `fsync` has less to do later.
pub fn begin_to_sync(file: &File, at: u64, len: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let range = |at: u64, len: u64, flags| {
            // SAFETY: no memory is passed, and the descriptor is open.
            let result = unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, len as i64, flags) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        let before = at.saturating_sub(len);
        if before < at {
            range(before, at - before, libc::SYNC_FILE_RANGE_WAIT_BEFORE)?;
        }
        range(at, len, libc::SYNC_FILE_RANGE_WRITE)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (at, len);
        file.sync_data()
    }
}

/// Whether an error of [`begin_to_sync`] says no more than that the system, or the file, does not know such a thing.
pub fn knows_not(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::NotSeekable)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    /// Policy and nice value of the calling thread: the fields 41 and 19 of `proc_pid_stat(5)`.
    fn standing() -> (i32, i32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
        let (_, fields) = stat.rsplit_once(") ").expect("the name ends");
        let field = |nth: usize| fields.split(' ').nth(nth - 3).expect("a field").parse().expect("a number");
        (field(41), field(19))
    }

    #[test]
    fn only_the_calling_thread_goes_after_others() {
        let before = standing();
        // Whoever runs the tests may have said so as well, and nobody may go forward again.
        let nice = (before.1 + 1).min(19);
        let (done, inside) = std::thread::spawn(move || (go_after_others(nice), standing())).join().expect("ends");
        // A sandbox may forbid it; then it must say so, and nothing has changed.
        assert_eq!(inside, if done { (libc::SCHED_BATCH, nice) } else { before });
        assert_eq!(standing(), before);
    }

    #[test]
    fn who_goes_soon_has_a_short_slice_and_nothing_else_is_changed() {
        let (before, done, inside, slice) = std::thread::spawn(|| {
            let before = standing();
            let done = go_soon();
            (before, done, standing(), attributes().map(|now| now.sched_runtime))
        })
        .join()
        .expect("ends");
        assert_eq!(inside, before);
        // Linux before 6.12 has no slices of a thread's own, and shows 0.
        assert!(!done || matches!(slice, Some(0 | SLICE_NS)), "{slice:?}");
        assert!(done || before.0 != libc::SCHED_OTHER || slice.is_none());
        // Who went after others does not come back by it.
        let after = |nice| std::thread::spawn(move || go_after_others(nice) && go_soon()).join().expect("ends");
        assert!(!after((before.1 + 1).min(19)));
    }

    #[test]
    fn bytes_on_their_way_to_the_disk_are_still_there() {
        let mut file = tempfile::tempfile().expect("a file");
        for nth in 0..3u64 {
            file.write_all(&[b'x'; 5000]).expect("written");
            match begin_to_sync(&file, nth * 5000, 5000) {
                Err(error) if knows_not(&error) => {}
                done => done.expect("begun"),
            }
        }
        let mut text = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut text).expect("read");
        assert_eq!(text, [b'x'; 15_000]);
    }

    #[test]
    fn what_is_no_file_is_told_from_a_disk_that_fails() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        let error = begin_to_sync(&pipe, 0, 1).expect_err("a pipe has no disk");
        assert!(knows_not(&error), "{error}");
        assert!(!knows_not(&io::Error::from_raw_os_error(libc::EIO)));
        assert!(!knows_not(&io::Error::from_raw_os_error(libc::ENOSPC)));
    }
}
