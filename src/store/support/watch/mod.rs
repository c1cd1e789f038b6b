//! [`Watch`]: directories in which the system notes what changes. Nothing waits for it: it is asked.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(not(target_os = "linux"))]
mod none;

#[cfg(target_os = "linux")]
pub(crate) use inotify::Watch;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Watch;

/// What the system has noted since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Files that were written, replaced, removed or given other rights, by their paths below the root.
    pub(crate) files: Vec<String>,
    /// The same of directories.
    pub(crate) directories: Vec<String>,
    /// It does not know all of it: anything may have changed.
    pub(crate) is_incomplete: bool,
}
