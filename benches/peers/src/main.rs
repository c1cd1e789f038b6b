//! Measures `credpool` beside `ureq`, `reqwest` and the Router of `LiteLLM`, in one run, against one upstream on loopback. README.md beside
//! this package says how to run it and what each figure means.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures of a bench are small"
)]

#[path = "../../support/chat.rs"]
mod chat;
mod clients;
mod load;
mod machine;
mod plan;
mod plot;
mod process;
mod protocol;
mod readme;
mod report;
mod stats;
mod upstream;

use std::fs;
use std::path::Path;

use protocol::Outcome;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
const QUICK_RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/quick");

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--serve", root, cores] => {
            let cores: Result<Vec<usize>, _> =
                cores.split_terminator(',').map(str::parse).collect();
            upstream::serve(Path::new(root), &cores?)
        }
        ["--client", kind] => clients::serve(serde_json::from_str(&format!("\"{kind}\""))?),
        ["--check-readme"] => readme::check(RESULTS),
        ["--write-readme"] => readme::write(RESULTS),
        [] => measure(false),
        ["--quick"] => measure(true),
        _ => Err("usage: peers [--quick | --check-readme | --write-readme]".into()),
    }
}

/// A quick run leaves the published results as they are.
fn measure(is_quick: bool) -> Outcome<()> {
    let results = Path::new(if is_quick { QUICK_RESULTS } else { RESULTS });
    fs::create_dir_all(results)?;
    let litellm = process::litellm();
    if litellm.is_none() {
        eprintln!("LiteLLM is left out: no python3 has it; PEERS_PYTHON names another one");
    }
    let about = report::About::new(is_quick, litellm);
    let home = tempfile::tempdir()?;
    let upstream = process::Upstream::start(home.path())?;
    let effort = plan::Effort::new(is_quick, about.litellm.is_some());
    let run = plan::run(&upstream, &effort)?;
    let text = report::markdown(&about, &run);
    fs::write(results.join("results.md"), &text)?;
    for (name, chart) in report::charts(&about, &run) {
        fs::write(results.join(name), chart.svg())?;
    }
    println!("{text}");
    eprintln!("written to {}", results.display());
    Ok(())
}
