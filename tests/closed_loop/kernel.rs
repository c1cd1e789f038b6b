//! Whether a thread sleeps, in the kernel's word.

#[cfg(target_os = "linux")]
pub use linux::Look;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    /// A look at one thread.
    pub struct Look(File);

    impl Look {
        pub fn at_this_thread() -> Self {
            let thread = fs::canonicalize("/proc/thread-self").unwrap();
            Self(File::open(thread.join("stat")).unwrap())
        }

        /// None when the thread has ended.
        pub fn sleeps(&self) -> Option<bool> {
            let mut text = [0; 96];
            let length = self.0.read_at(&mut text, 0).ok()?;
            // The name stands in brackets, and may hold any others.
            let end = text[..length].iter().rposition(|byte| *byte == b')')?;
            match text.get(end + 2)? {
                b'S' => Some(true),
                b'Z' | b'X' => None,
                _ => Some(false),
            }
        }
    }
}

/// Where the kernel cannot be asked, a moment of real time has to do.
#[cfg(not(target_os = "linux"))]
pub struct Look;

#[cfg(not(target_os = "linux"))]
impl Look {
    pub fn at_this_thread() -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "it is a look at nothing")]
    pub fn sleeps(&self) -> Option<bool> {
        std::thread::sleep(std::time::Duration::from_millis(2));
        Some(true)
    }
}
