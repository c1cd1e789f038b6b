//! What a failure policy would have served, wasted and waited: the production code against an upstream that fails by a script, on a
//! clock that jumps.
//!
//! ```text
//! cargo run --example simulate                        all scenarios, all policies; the table, and where the drawing is
//! cargo run --example simulate -- --scenario outage --policy default --policy reference
//! cargo run --example simulate -- --credentials 40 --hours 6 --seed 7 --svg timeline.svg
//! cargo run --example simulate -- --scenario script.jsonl      a script of your own, see `script.rs`
//! cargo run --example simulate -- --scenario outage --policy default --log outcomes.jsonl
//! cargo run --example simulate -- --replay outcomes.jsonl      what other policies would have made of that
//! ```
//!
//! One caller makes a call, pauses, and makes the next; while it waits, time jumps. So a wait or a slow failure costs it calls, as it
//! would a program. What `--replay` reads is what the hook `credpool::JsonLines` writes, here and in a program.

mod caller;
mod clock;
mod log;
mod policies;
mod script;
mod table;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use script::Script;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("simulate: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let mut panels = Vec::new();
    for script in &arguments.scripts {
        let mut results = Vec::new();
        for policy in &arguments.policies {
            let run = caller::Run {
                script,
                policy: policies::named(policy)?,
                seed: arguments.seed,
                time: arguments.time,
                log: arguments.log.as_deref(),
            };
            let result = run.make().map_err(|error| error.to_string())?;
            panels.push((
                format!("{}, policy {policy}", script.name),
                result.timeline.clone(),
            ));
            results.push((policy.as_str(), result));
        }
        println!("{}: {}\n", script.name, script.about);
        table::print(&results);
    }
    std::fs::write(&arguments.svg, timeline::draw(&panels, arguments.time))
        .map_err(|error| format!("{}: {error}", arguments.svg.display()))?;
    println!(
        "The timeline of all credentials: {}",
        arguments.svg.display()
    );
    Ok(())
}

struct Arguments {
    scripts: Vec<Script>,
    policies: Vec<String>,
    seed: u64,
    time: Duration,
    svg: PathBuf,
    log: Option<PathBuf>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut scenarios, mut policies, mut replay, mut log) =
            (Vec::new(), Vec::new(), None, None);
        let (mut seed, mut credentials, mut hours) = (1, 5, 1);
        let mut svg = std::env::temp_dir().join("credpool-simulation.svg");
        while let Some(name) = given.next() {
            let value = given
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name} needs a number, not {value}"))
            };
            match name.as_str() {
                "--scenario" => scenarios.push(value),
                "--policy" => policies.push(value),
                "--replay" => replay = Some(value),
                "--log" => log = Some(PathBuf::from(value)),
                "--svg" => svg = PathBuf::from(value),
                "--seed" => seed = number()?,
                "--credentials" => credentials = number()?,
                "--hours" => hours = number()?,
                _ => {
                    return Err(format!(
                        "there is no option {name}; see the head of examples/simulate/main.rs"
                    ));
                }
            }
        }
        if !(1..=1000).contains(&credentials) || !(1..=240).contains(&hours) {
            return Err("--credentials goes from 1 to 1000, --hours from 1 to 240".into());
        }
        if let Some(log) = &log {
            // Each run adds to it.
            std::fs::write(log, "").map_err(|error| format!("{}: {error}", log.display()))?;
        }
        let scripts = match (replay, scenarios.is_empty()) {
            (Some(path), true) => vec![log::replay(&path)?],
            (Some(_), false) => return Err("--replay is a scenario of its own".into()),
            (None, true) => script::NAMES
                .iter()
                .map(|name| Script::named(name, credentials))
                .collect::<Result<_, _>>()?,
            (None, false) => scenarios
                .iter()
                .map(|name| Script::named(name, credentials))
                .collect::<Result<_, _>>()?,
        };
        if policies.is_empty() {
            policies = policies::NAMES.map(str::to_owned).to_vec();
        }
        Ok(Self {
            scripts,
            policies,
            seed,
            time: Duration::from_secs(hours * 3600),
            svg,
            log,
        })
    }
}
