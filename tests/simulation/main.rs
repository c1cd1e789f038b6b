//! A fleet in simulation: several managers, one store, a token endpoint, upstreams, and operators, over the production code and
//! on virtual time. Steps are drawn from a seed; whenever all threads wait, time goes on to the next timer; after each step, and
//! when all faults have ended, every promise is checked against a ledger of what was acknowledged.
//!
//! A broken promise is told with its seed, its sentence, the shortest list of steps that breaks it and what happens in them. The
//! steps are the same for a seed at every run; where a breach needs an interleaving of threads, its rate is told, and the run fails only
//! where the breach comes again within twenty runs.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CREDPOOL_SIMULATION_SEEDS` | how many seeds, for each store | 75: some hundreds of worlds in a minute; 5 on a server |
//! | `CREDPOOL_SIMULATION_FIRST` | the first of them | 0 |
//! | `CREDPOOL_SIMULATION_STORE` | one store alone: `memory`, `file`, `sqlite`, `model`, `sealed-file`, `sealed-memory`, `postgres`, `redis`; or `pool` | those without a server |
//! | `CREDPOOL_SIMULATION_SEED` | replays one seed, prints its history (with `--nocapture`) and shrinks what it breaks | |
//! | `CREDPOOL_SIMULATION_HISTORY` | set: a child that is run by hand prints the history of each world that breaks a promise | |
//! | `CREDPOOL_SIMULATION_PROMISE` | of a replayed seed, shrinks what breaks this promise alone | |
//!
//! Where things are: `steps` lists the kinds of steps, which are functions in `operators`, `editors` and `accidents`;
//! `pool` is another world: one process, and what calls meet in it; `promises` holds the checks; `world` runs it all; `truth` is the ledger; `timeline` is time; `backend` has the stores, `sealed` those whose
//! records are sealed.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed unwrap is a failed test, and the modules are those of one program"
)]

mod accidents;
mod backend;
mod editors;
mod endpoint;
mod executor;
mod files;
mod fleet;
mod gate;
mod handle;
mod jobs;
mod model_store;
mod operators;
mod pool;
mod process;
mod promises;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod proxy;
mod quiet;
mod random;
mod runs;
mod sealed;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod servers;
mod shrink;
mod steps;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[path = "../store_support/mod.rs"]
mod store_support;
mod timeline;
mod truth;
mod world;
