//! One process under load: callers, keys and their upstreams, hooks and selectors that misbehave, and clocks that step.
//!
//! `upstream` is what the keys are worth; `callers` are threads that call; `operators` has the steps, `keys` those about keys; `promises` the
//! checks, and `conclusion` those that make calls of their own. `files` is what a key has made, `models` what it serves.

mod callers;
mod conclusion;
mod files;
mod keys;
mod models;
mod operators;
mod promises;
mod selector;
mod upstream;
mod world;

pub use operators::KINDS;
pub use world::Pool;

/// Runs some steps in the world of a seed.
pub fn run(seed: u64, steps: &[crate::steps::Step]) -> crate::runs::Run {
    silence_hooks_that_panic();
    let mut pool = Pool::new(seed);
    for step in steps {
        step.apply_to_pool(&mut pool);
        promises::check(&mut pool);
    }
    conclusion::conclude(&mut pool);
    pool.end()
}

/// Their panics are part of the world: nobody needs to read them.
fn silence_hooks_that_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_meant = panic.payload().downcast_ref::<&str>() == Some(&world::HOOK_PANICS);
            if !is_meant {
                usual(panic);
            }
        }));
    });
}
