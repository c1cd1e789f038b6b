//! The subcommands.

mod add;
mod change;
mod check;
mod check_calls;
mod copy;
mod errands;
mod explain;
mod import;
mod list;
mod login;
mod seal;
mod show;
mod watch;

use crate::args::{Args, Command};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::store::Place;

/// Carries the command out.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Exit, Failure> {
    let place = Place::of(args)?;
    match &args.command {
        Command::List(choice) => list::run(&place, choice, output),
        Command::Show(ids) => show::run(&place, ids, output),
        Command::Explain(query) => explain::run(&place, query, output),
        Command::Add(add) => add::run(&place, add, output),
        Command::Login(login) => login::run(&place, login, output),
        Command::Import(import) => import::run(&place, import, output),
        Command::Disable(ids) => change::disable(&place, ids, output),
        Command::Enable(ids) => change::enable(&place, ids, output),
        Command::Remove(remove) => change::remove(&place, remove, output),
        Command::Refresh(ids) => change::refresh(&place, ids, output),
        Command::Reset(reset) => change::reset(&place, reset, output),
        Command::CoolDown(cool_down) => change::cool_down(&place, cool_down, output),
        Command::Check(check) => check::run(&place, check, output),
        Command::Watch(watch) => watch::run(&place, watch, output),
        Command::Copy(copy) => copy::run(&place, copy, output),
        Command::Seal(seal) => seal::seal(&place, seal, output),
        Command::Unseal(unseal) => seal::unseal(&place, unseal, output),
    }
}
