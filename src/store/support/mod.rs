//! What backends share: kept connections, polling for a lock, lock files, permissions, files of secrets, when to remove what is too much, watched directories, notices of servers. Knows nothing of records.

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) mod connection_pool;
pub(crate) mod lock_file;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod notices;
pub(crate) mod permissions;
pub(crate) mod poll;
pub(crate) mod secret_file;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) mod truncation;
pub(crate) mod watch;
