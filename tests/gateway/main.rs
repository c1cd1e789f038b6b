//! The gateway of the examples, as a process of its own: the vendors' own clients at it, and its page in a browser.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../chromium/mod.rs"]
mod browser;
mod clients;
mod models;
mod page;
mod passing;
mod programs;
