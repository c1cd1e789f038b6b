//! Runs of worlds: one for each seed.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::promises;
use crate::shrink::shrunk;
use crate::steps::{self, Step};
use crate::truth::Breach;
use crate::world::World;

/// How many steps a world has.
pub const STEPS: usize = 40;

/// What came of a run.
pub struct Run {
    pub breaches: Vec<Breach>,
    pub history: Vec<String>,
}

/// Runs some steps in the world of a seed. One at a time: a world is at rest when all threads of the program are.
pub fn run(store: &str, seed: u64, steps: &[Step]) -> Run {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock();
    if store == steps::POOL {
        return crate::pool::run(seed, steps);
    }
    let mut world = World::new(store, seed);
    for step in steps {
        step.apply(&mut world);
        for check in promises::ALWAYS {
            check(&mut world);
        }
    }
    promises::conclusion::conclude(&mut world);
    let run = {
        let mut truth = world.truth().lock();
        Run {
            breaches: std::mem::take(&mut truth.breaches),
            history: std::mem::take(&mut truth.history),
        }
    };
    world.end();
    drop(one);
    run
}

impl Run {
    fn breach(&self, promise: &str) -> Option<&Breach> {
        let mut breaches = self.breaches.iter();
        breaches.find(|breach| breach.promise == promise)
    }
}

/// What a seed shows, every breach, or those of one promise, with its shortest list of steps.
pub fn report(store: &str, seed: u64, promise: Option<&str>) -> String {
    let steps = steps::draw(store, seed, STEPS);
    let run = run(store, seed, &steps);
    let mut text = run.history.join("\n");
    let told = |breach: &&Breach| promise.is_none_or(|promise| promise == breach.promise);
    for breach in run.breaches.iter().filter(told) {
        text += &report_breach(store, seed, breach.promise);
    }
    text
}

/// One broken promise: the steps that it takes, what happens then, how often.
pub fn report_breach(store: &str, seed: u64, promise: &str) -> String {
    let breaks = |steps: &[Step]| run(store, seed, steps).breach(promise).is_some();
    let drawn = steps::draw(store, seed, STEPS);
    let steps = shrunk(&drawn, breaks);
    let last = run(store, seed, &steps);
    let names: Vec<_> = steps.iter().map(|step| step.kind.name).collect();
    let what = last
        .breach(promise)
        .map_or("it does not happen each time", |breach| &breach.what);
    format!(
        "\n{promise}\n  seed {seed} over {store}: {what}\n  {}\n  steps: {}\n{}\n",
        rate(store, seed, &steps, promise),
        names.join("; "),
        last.history.join("\n")
    )
}

/// How often some steps break a promise: a few runs tell whether each time; if not, a hundred.
fn rate(store: &str, seed: u64, steps: &[Step], promise: &str) -> String {
    let count = |runs: usize| {
        let broken = (0..runs).filter(|_| run(store, seed, steps).breach(promise).is_some());
        broken.count()
    };
    let (few, many) = (5, 100);
    match count(few) {
        all if all == few => "each time".to_owned(),
        _ => format!("in {} of {many} runs", count(many)),
    }
}

/// Whether a seed breaks a promise once more in twenty runs. One that does not needs an interleaving of threads that hardly comes: it
/// is told, and does not fail the run.
pub fn comes_again(store: &str, seed: u64, promise: &str) -> bool {
    let drawn = steps::draw(store, seed, STEPS);
    (0..20).any(|_| run(store, seed, &drawn).breach(promise).is_some())
}

/// The promises that seeds break, and by which seeds.
#[derive(Default)]
pub struct Found(pub BTreeMap<(String, String), Vec<u64>>);

impl Found {
    pub fn add(&mut self, store: &str, seed: u64, promise: &str) {
        let key = (store.to_owned(), promise.to_owned());
        self.0.entry(key).or_default().push(seed);
    }
}
