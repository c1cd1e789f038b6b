//! The test itself: seeds are shared among child processes, since a world needs a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::backend;
use crate::runs::{Found, STEPS, comes_again, report, report_breach, run};
use crate::steps;

const SEEDS: &str = "CREDPOOL_SIMULATION_SEEDS";
const FIRST: &str = "CREDPOOL_SIMULATION_FIRST";
const SEED: &str = "CREDPOOL_SIMULATION_SEED";
const PROMISE: &str = "CREDPOOL_SIMULATION_PROMISE";
const STORE: &str = "CREDPOOL_SIMULATION_STORE";
/// What a child runs: its number, of how many, the first seed, how many, and which stores.
const PART: &str = "CREDPOOL_SIMULATION_PART";
const HISTORY: &str = "CREDPOOL_SIMULATION_HISTORY";

/// For each store, in an ordinary run of the tests.
const USUAL_SEEDS: u64 = 75;
#[cfg(any(feature = "postgres", feature = "redis"))]
const SEEDS_ON_SERVERS: u64 = 5;

/// How many broken promises are told in full.
const MOST_REPORTS: usize = 6;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn regressions() -> Vec<(String, u64)> {
    let lines = include_str!("worlds.regressions").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    let stores = lines.filter_map(|line| line.split_once(':'));
    stores
        .flat_map(|(store, seeds)| {
            let seeds = seeds.split_whitespace().map(|seed| seed.parse().unwrap());
            seeds.map(|seed| (store.to_owned(), seed))
        })
        .collect()
}

/// What there is to run.
struct Plan {
    stores: Vec<String>,
    seeds: std::ops::Range<u64>,
}

impl Plan {
    /// What the variables say, else the usual.
    fn of(stores: &[&str], usual: u64) -> Self {
        let named = std::env::var(STORE).ok();
        let (first, count) = (number(FIRST).unwrap_or(0), number(SEEDS).unwrap_or(usual));
        Self {
            stores: stores
                .iter()
                .filter(|store| named.as_ref().is_none_or(|named| named == *store))
                .map(|store| (*store).to_owned())
                .collect(),
            seeds: first..first + count,
        }
    }

    /// From the first seed on, those that have broken a promise before come first.
    fn worlds(self) -> impl Iterator<Item = (String, u64)> {
        let Self { stores, seeds } = self;
        let known = if seeds.start == 0 {
            regressions()
        } else {
            Vec::new()
        };
        let known: Vec<_> = known
            .into_iter()
            .filter(|(store, seed)| stores.contains(store) && !seeds.contains(seed))
            .collect();
        let drawn =
            seeds.flat_map(move |seed| stores.clone().into_iter().map(move |store| (store, seed)));
        known.into_iter().chain(drawn)
    }

    /// Runs everything, in as many processes as there are processors.
    fn run(&self) {
        if let Some(seed) = number(SEED) {
            let promise = std::env::var(PROMISE).ok();
            for store in &self.stores {
                println!("{}", report(store, seed, promise.as_deref()));
            }
            return;
        }
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let children: Vec<_> = (0..count)
            .map(|part| self.start_child(part, count))
            .collect();
        let mut found = Found::default();
        for child in children {
            listen(child, &mut found);
        }
        tell(&found);
        let broken = found.0.iter().filter(|((store, promise), seeds)| {
            seeds.iter().any(|seed| comes_again(store, *seed, promise))
        });
        let broken = broken.count();
        assert_eq!(broken, 0, "{broken} promises are broken");
    }

    fn start_child(&self, part: usize, count: usize) -> Child {
        let Self { stores, seeds } = self;
        let (first, seeds) = (seeds.start, seeds.end - seeds.start);
        Command::new(std::env::current_exe().unwrap())
            .args(["fleet::child", "--exact", "--nocapture"])
            .env(
                PART,
                format!("{part} {count} {first} {seeds} {}", stores.join(",")),
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

#[test]
fn a_fleet_keeps_its_promises() {
    Plan::of(backend::KINDS, USUAL_SEEDS).run();
}

/// One process under load.
#[test]
fn a_pool_keeps_its_promises() {
    Plan::of(&[steps::POOL], USUAL_SEEDS).run();
}

/// On servers a world takes longer.
#[cfg(any(feature = "postgres", feature = "redis"))]
#[test]
fn a_fleet_on_a_server_keeps_its_promises() {
    Plan::of(&crate::servers::kinds(), SEEDS_ON_SERVERS).run();
}

fn listen(mut child: Child, found: &mut Found) {
    let said = BufReader::new(child.stdout.take().unwrap());
    let mut last = String::new();
    for line in said.lines() {
        let line = line.unwrap();
        if let Some(world) = line.strip_prefix("world ") {
            world.clone_into(&mut last);
        }
        if let ["breach", store, seed, promise, what] = line.splitn(5, ' ').collect::<Vec<_>>()[..]
        {
            eprintln!("{store} {seed} {promise}: {what}");
            found.add(store, seed.parse().unwrap(), promise);
        }
    }
    assert!(
        child.wait().unwrap().success(),
        "the run has failed in world {last}"
    );
}

fn tell(found: &Found) {
    for ((store, promise), seeds) in &found.0 {
        eprintln!(
            "{store:7} {promise}: {} seeds, the first {:?}",
            seeds.len(),
            seeds.iter().min()
        );
    }
    let mut told: Vec<&str> = Vec::new();
    for ((store, promise), seeds) in &found.0 {
        if !told.contains(&promise.as_str()) && told.len() < MOST_REPORTS {
            told.push(promise);
            eprintln!("{}", report_breach(store, seeds[0], promise));
        }
    }
}

/// A part of the run, in a process of its own. Without a part, it is an ordinary run of the tests and has nothing to do.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    let [part, count, first, seeds, stores] = part.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{PART} is what the parent has set");
    };
    let number = |text: &str| text.parse::<u64>().unwrap();
    let plan = Plan {
        stores: stores.split(',').map(str::to_owned).collect(),
        seeds: number(first)..number(first) + number(seeds),
    };
    let index = |text: &str| text.parse::<usize>().unwrap();
    let (part, count) = (index(part), index(count));
    println!();
    for (store, seed) in plan.worlds().skip(part).step_by(count) {
        println!("world {store} {seed}");
        let run = run(&store, seed, &steps::draw(&store, seed, STEPS));
        for breach in &run.breaches {
            println!("breach {store} {seed} {} {}", breach.promise, breach.what);
        }
        if !run.breaches.is_empty() && std::env::var_os(HISTORY).is_some() {
            println!("{}", run.history.join("\n"));
        }
    }
}

#[test]
fn the_steps_of_a_seed_repeat() {
    let names = |seed| {
        let steps = steps::draw("memory", seed, STEPS);
        steps.iter().map(|step| step.kind.name).collect::<Vec<_>>()
    };
    assert_eq!(names(7), names(7));
    assert_ne!(names(7), names(8));
}
