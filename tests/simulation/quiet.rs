//! Whether all threads of this program wait: then nothing more happens until virtual time goes on.
//!
//! On Linux the kernel says so: every thread but the asking one sleeps, in two looks, and none has run in between (its count of
//! voluntary context switches is the same). Elsewhere the program waits a moment of real time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{Clock, SystemClock};

/// Waits until all threads wait and no store call is under way in real time.
pub fn wait_until_quiet(busy: &AtomicUsize) {
    let start = SystemClock.monotonic();
    let mut looks = Looks::default();
    loop {
        if looks.is_quiet() && busy.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waited = SystemClock.monotonic() - start;
        assert!(waited < PATIENCE, "the world does not come to rest");
        if waited > Duration::from_millis(5) {
            // A store that polls in real time.
            std::thread::sleep(Duration::from_micros(200));
        } else {
            std::thread::yield_now();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(target_os = "linux")]
use linux::Looks;

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    /// What the last look saw: for each thread, how often it has gone to sleep.
    #[derive(Default)]
    pub(super) struct Looks(Option<Vec<(u32, u64)>>);

    enum Thread {
        Runs,
        /// How often it has gone to sleep.
        Sleeps(u64),
        Ended,
    }

    thread_local! {
        static ME: u32 = fs::read_link("/proc/thread-self")
            .ok()
            .and_then(|path| path.file_name()?.to_str()?.parse().ok())
            .unwrap_or_default();
        static FILES: RefCell<BTreeMap<u32, File>> = RefCell::default();
    }

    impl Looks {
        pub(super) fn is_quiet(&mut self) -> bool {
            let seen = look();
            let quiet = seen.is_some() && seen == self.0;
            self.0 = seen;
            quiet
        }
    }

    /// None where a thread runs, or waits for the disk.
    fn look() -> Option<Vec<(u32, u64)>> {
        let me = ME.with(|me| *me);
        FILES.with_borrow_mut(|files| {
            let mut seen = Vec::new();
            for entry in fs::read_dir("/proc/self/task").ok()?.flatten() {
                let id: u32 = entry.file_name().to_str()?.parse().ok()?;
                if id == me {
                    continue;
                }
                match state(files, id)? {
                    Thread::Sleeps(count) => seen.push((id, count)),
                    Thread::Ended => drop(files.remove(&id)),
                    Thread::Runs => return None,
                }
            }
            Some(seen)
        })
    }

    fn state(files: &mut BTreeMap<u32, File>, id: u32) -> Option<Thread> {
        if let std::collections::btree_map::Entry::Vacant(vacant) = files.entry(id) {
            match File::open(format!("/proc/self/task/{id}/status")) {
                Ok(file) => drop(vacant.insert(file)),
                Err(_) => return Some(Thread::Ended),
            }
        }
        let mut text = [0; 4096];
        let Ok(length) = files[&id].read_at(&mut text, 0) else {
            return Some(Thread::Ended);
        };
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let field = |name: &str| {
            let value = text.split_once(name)?.1.trim_start();
            value.split_whitespace().next()
        };
        match field("\nState:")? {
            "S" => {}
            "Z" | "X" => return Some(Thread::Ended),
            _ => return Some(Thread::Runs),
        }
        let count = field("\nvoluntary_ctxt_switches:")?.parse().ok()?;
        Some(Thread::Sleeps(count))
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Default)]
struct Looks;

#[cfg(not(target_os = "linux"))]
impl Looks {
    fn is_quiet(&mut self) -> bool {
        std::thread::sleep(Duration::from_millis(5));
        true
    }
}
