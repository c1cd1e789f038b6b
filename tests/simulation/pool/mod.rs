//! One process under load: callers, keys and their upstreams, hooks and selectors that misbehave, and clocks that step.
//!
//! `upstream` is what the keys are worth; `callers` are threads that call; `operators` has the steps; `promises` the checks.

mod callers;
mod operators;
mod promises;
mod upstream;
mod world;

pub use operators::KINDS;
pub use world::Pool;

/// Runs some steps in the world of a seed.
pub fn run(seed: u64, steps: &[crate::steps::Step]) -> crate::runs::Run {
    let mut pool = Pool::new(seed);
    for step in steps {
        step.apply_to_pool(&mut pool);
        promises::check(&mut pool);
    }
    promises::conclude(&mut pool);
    pool.end()
}
