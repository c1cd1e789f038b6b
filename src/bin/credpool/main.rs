//! The command `credpool`: what an operator sees of a store of credentials, and does to it, beside the programs that use it.
//!
//! It is written over the crate's public interface alone. A reading command works on a copy of what the store holds and writes
//! nothing; a changing one goes through a manager of its own, by the rules of every process that shares the store.

mod advice;
mod args;
mod command;
mod failure;
mod interrupt;
mod logging;
mod moment;
mod output;
mod pool;
mod report;
mod secret;
mod settings;
mod store;
mod table;
mod text;
mod vendors;

use std::process::ExitCode;

use args::Args;
use failure::{Exit, Failure};
use output::Output;

fn main() -> ExitCode {
    let args = Args::read();
    logging::start(args.verbose);
    let mut output = Output::of(&args);
    let exit = match command::run(&args, &mut output) {
        Ok(exit) => exit,
        Err(Failure::OutputClosed) => Exit::Well,
        Err(Failure::Failed(error)) => {
            output.failed(&error);
            error.exit
        }
    };
    logging::end();
    ExitCode::from(exit as u8)
}
