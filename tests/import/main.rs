//! Import of the files that command-line tools keep credentials in. The files in `files/` have their true shapes, and secrets that are
//! invented: each has the word `canary` in it, and is shown nowhere.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod corpus;
mod files;
mod follow;
mod malformed;
mod store;
#[path = "../support/mod.rs"]
mod support;
