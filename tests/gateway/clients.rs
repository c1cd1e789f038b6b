//! The vendors' own clients, unchanged, over a server that answers as the vendors' pages say.
//!
//! They are the Python packages `openai`, `anthropic` and `google-genai`, for the interpreter that `CREDPOOL_SDK_PYTHON` names (`python3` by default).
//! Where they are not installed this is left out, unless `CREDPOOL_REQUIRE_SERVERS` is set.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::{Gateway, Program, left_out};

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CREDPOOL_SDK_PYTHON");
    let python = PathBuf::from(python.unwrap_or_else(|| "python3".into()));
    let found = Command::new(&python)
        .args(["-c", "import openai, anthropic, google.genai"])
        .stderr(Stdio::null())
        .status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        left_out("a vendor's client");
    }
    is_there.then_some(python)
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/gateway")
        .join(name)
}

/// Three keys for each vendor, before an upstream of which a share of all requests fails.
fn check(faults: &str, mode: &str) {
    let Some(python) = python() else { return };
    let upstream = Program::start(Command::new(&python).arg(here("upstream.py")).arg(faults));
    let vendors = [("openai", "/v1"), ("anthropic", ""), ("gemini", "/v1beta")];
    let keys = vendors.into_iter().flat_map(|(provider, base)| {
        let base = format!("{}{base}", upstream.url);
        (0..3).map(move |number| (provider, format!("{provider}-{number}"), base.clone()))
    });
    let gateway = Gateway::start(keys);
    let mut checks = Command::new(&python);
    checks.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = checks
        .arg(here("checks.py"))
        .arg(mode)
        .arg(gateway.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    println!("{said}");
}

#[test]
fn the_vendors_own_clients_work_at_the_gateway_unchanged() {
    check("0", "each");
}

#[test]
fn of_a_thousand_calls_over_an_upstream_with_faults_none_fails() {
    check("0.1", "many");
}
