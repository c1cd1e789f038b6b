//! The store in a directory: what its files are, and that nothing harms them.
#![allow(clippy::unwrap_used)]

mod bad_files;
mod former;
mod left_behind;
#[cfg(target_os = "linux")]
mod notified;
mod operators;
mod place;
mod records;
mod root;
mod storage;
mod tokens;
#[cfg(unix)]
mod unix;
mod writes;
