//! Programs that the tests start: the gateway, and servers before which it stands.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A program that says its address on a line of its own, and runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let url = lines.find(|line| line.starts_with("http://"));
        let url = url.expect("the program says where it is");
        Self { child, url }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway, with credentials of its own.
pub(crate) struct Gateway {
    pub(crate) program: Program,
    _keys: TempDir,
}

impl Gateway {
    /// With keys, each of a provider, for an API at an address: `sk-` and the credential's id.
    pub(crate) fn start<'a>(keys: impl IntoIterator<Item = (&'a str, String, String)>) -> Self {
        let keys = keys.into_iter();
        Self::with(
            keys.map(|(provider, id, base_url)| {
                let key = format!("sk-{id}");
                json!({
                    "id": id,
                    "provider": provider,
                    "attributes": { "api_key": key, "base_url": base_url },
                })
            }),
            &[],
        )
    }

    /// With these records, and these chains of models.
    pub(crate) fn with(records: impl IntoIterator<Item = Value>, chains: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for record in records {
            let id = record["id"].as_str().unwrap();
            let file = directory.path().join(format!("{id}.json"));
            fs::write(file, record.to_string()).unwrap();
        }
        // Cargo puts examples beside the folder of the tests.
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut serve = Command::new(profile.join("examples/gateway"));
        Self {
            program: Program::start(serve.arg("127.0.0.1:0").arg(directory.path()).args(chains)),
            _keys: directory,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.program.url
    }
}

/// Whether a test that finds no such program fails, or is left out.
pub(crate) fn left_out(what: &str) {
    let required = std::env::var_os("CREDPOOL_REQUIRE_SERVERS").is_some();
    assert!(!required, "{what} is not installed");
    eprintln!("{what} is not installed: what needs it is left out");
}
