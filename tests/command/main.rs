//! The command `credpool`, as its binary: on a terminal, in scripts, beside running programs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../store_support/mod.rs"]
mod store_support;

mod beside;
mod canary;
mod checks;
mod errors;
mod logins;
mod night;
mod pictures;
mod pipes;
mod sealing;
mod subcommands;
mod terminal;
mod world;
