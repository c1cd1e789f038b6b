//! The vendors' own clients at the gateway of the examples, over a server that answers as the vendors' pages say.
//!
//! They are the Python packages `openai`, `anthropic` and `google-genai`, for the interpreter that `CREDPOOL_SDK_PYTHON` names (`python3` by default).
//! Where they are not installed this is left out, unless `CREDPOOL_REQUIRE_SERVERS` is set.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program that says its address on a line of its own, and runs until it is dropped.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let url = lines.find(|line| line.starts_with("http://"));
        let url = url.expect("the program says where it is");
        Self { child, url }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CREDPOOL_SDK_PYTHON");
    let python = PathBuf::from(python.unwrap_or_else(|| "python3".into()));
    let found = Command::new(&python)
        .args(["-c", "import openai, anthropic, google.genai"])
        .stderr(Stdio::null())
        .status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        let required = std::env::var_os("CREDPOOL_REQUIRE_SERVERS").is_some();
        assert!(!required, "the vendors' clients are not installed");
        eprintln!("the vendors' clients are not installed: what needs them is left out");
    }
    is_there.then_some(python)
}

/// Cargo puts examples beside the folder of the tests.
fn gateway() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples/gateway")
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdks")
        .join(name)
}

/// Three keys for each vendor, before an upstream of which a share of all requests fails.
fn check(faults: &str, mode: &str) {
    let Some(python) = python() else { return };
    let upstream = Program::start(Command::new(&python).arg(here("upstream.py")).arg(faults));
    let keys = tempfile::tempdir().unwrap();
    for (provider, base) in [("openai", "/v1"), ("anthropic", ""), ("gemini", "/v1beta")] {
        for number in 0..3 {
            let id = format!("{provider}-{number}");
            let record = serde_json::json!({
                "id": id,
                "provider": provider,
                "attributes": { "api_key": format!("sk-{id}"), "base_url": format!("{}{base}", upstream.url) },
            });
            fs::write(keys.path().join(format!("{id}.json")), record.to_string()).unwrap();
        }
    }
    let mut serve = Command::new(gateway());
    let gateway = Program::start(serve.arg("127.0.0.1:0").arg(keys.path()));
    let mut checks = Command::new(&python);
    checks.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = checks
        .arg(here("checks.py"))
        .arg(mode)
        .arg(&gateway.url)
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
