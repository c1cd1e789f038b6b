//! What the kernel says of this process.

use std::fs;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Seconds of CPU since the start, threads that have ended included.
    pub(crate) cpu: f64,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Resident memory.
    pub(crate) kib: usize,
    /// Calls that have ended since the start.
    pub(crate) calls: u64,
}

impl Sample {
    pub(crate) fn take(calls: u64) -> Self {
        Self {
            cpu: cpu(),
            threads: status("Threads:"),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            kib: status("VmRSS:"),
            calls,
        }
    }
}

fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program may hold anything.
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap().parse::<f64>().unwrap();
    (ticks() + ticks()) / TICKS_A_SECOND
}

/// As Linux has it on all machines of the day.
const TICKS_A_SECOND: f64 = 100.0;

fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.unwrap().parse().unwrap()
}
