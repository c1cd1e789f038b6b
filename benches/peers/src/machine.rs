//! The machine that the bench runs on, and what a process uses of it.

use std::fs;
use std::process::Command;

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

/// Keeps this process, with the threads that it starts, on these cores.
pub(crate) fn stay_on(cores: &[usize]) {
    if cores.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// The cores of the upstream and those of a client: half of the machine each, and none where there is one core.
pub(crate) fn halves() -> (Vec<usize>, Vec<usize>) {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let mut cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect();
    if cores.len() < 2 {
        return (Vec::new(), Vec::new());
    }
    let clients = cores.split_off(cores.len() / 2);
    (cores, clients)
}

/// What this process has used of its cores.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The resident memory of a process in MiB.
pub(crate) fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        / 1024.0
}

/// The work that the machine has beside the bench, as the system's average of a minute.
pub(crate) fn load() -> f64 {
    let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = average.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(f64::NAN)
}

/// Processor, cores, kernel and compiler.
pub(crate) fn description() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let cores = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let compiler = Command::new("rustc").arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let compiler = compiler.unwrap_or_default();
    let compiler: Vec<&str> = compiler.split(' ').take(2).collect();
    format!(
        "{}, {cores} cores, Linux {}, {}",
        model.unwrap_or("an unknown processor").trim(),
        kernel.trim(),
        compiler.join(" "),
    )
}

/// The versions of packages that this bench was built with.
pub(crate) fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"\nversion = \"");
    let lock = include_str!("../Cargo.lock");
    let version = lock
        .split_once(&name)
        .and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("?")
}
