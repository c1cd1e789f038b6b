//! The examples that a user starts a program from, run as that user runs them: with keys for servers on loopback, and Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod batch;
mod chat;
mod program;
