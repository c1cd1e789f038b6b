//! The processes of the bench: the upstream and the clients. They end with it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::clients::{Kind, control};
use crate::machine;
use crate::protocol::{Job, Measured, Outcome, Setup};
use crate::upstream::{Ports, Use};

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Outcome<Self> {
        // A proxy of the environment is no part of what is measured.
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn read_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("it has ended".into());
        }
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Upstream {
    _process: Process,
    ports: Ports,
    root: String,
    pub(crate) cores: usize,
    client_cores: Vec<usize>,
}

impl Upstream {
    /// Its root certificate is written into `home`.
    pub(crate) fn start(home: &Path) -> Outcome<Self> {
        let (cores, client_cores) = machine::halves();
        let root = home.join("root.pem").display().to_string();
        let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", &root, &list.join(",")]);
        let mut process = Process::start(&mut command)?;
        let ports = serde_json::from_str(&process.read_line()?)?;
        Ok(Self {
            _process: process,
            ports,
            root,
            cores: cores.len().max(1),
            client_cores,
        })
    }

    pub(crate) fn setup(&self, tls: bool, credentials: usize) -> Setup {
        let (scheme, port) = if tls {
            ("https", self.ports.tls)
        } else {
            ("http", self.ports.http)
        };
        Setup {
            base_url: format!("{scheme}://127.0.0.1:{port}/v1"),
            root: tls.then(|| self.root.clone()),
            credentials,
            cores: self.client_cores.clone(),
        }
    }

    pub(crate) fn used(&self) -> Outcome<Use> {
        Ok(control(&self.setup(false, 1).base_url, "/use")?)
    }
}

pub(crate) struct Client {
    kind: Kind,
    process: Process,
}

impl Client {
    pub(crate) fn start(kind: Kind, setup: &Setup) -> Outcome<Self> {
        let mut command = if kind == Kind::Litellm {
            let mut command = Command::new(python());
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/litellm_client.py"));
            command.stderr(Stdio::null());
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["--client", &kind.argument()]);
            command
        };
        let mut process = Process::start(&mut command)?;
        writeln!(process.input, "{}", serde_json::to_string(setup)?)?;
        Ok(Self { kind, process })
    }

    pub(crate) fn run(&mut self, job: &Job) -> Outcome<Measured> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", self.kind.label());
        writeln!(self.process.input, "{}", serde_json::to_string(job)?)
            .map_err(|error| named(&error))?;
        let line = self.process.read_line().map_err(|error| named(&error))?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(crate) fn resident(&self) -> f64 {
        machine::resident(self.process.child.id())
    }
}

/// The Python that `LiteLLM` is looked for in.
fn python() -> String {
    std::env::var("PEERS_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The versions of `LiteLLM` and of its Python, where both are there.
pub(crate) fn litellm() -> Option<String> {
    const SCRIPT: &str = "import importlib.metadata as m, platform; \
        print('LiteLLM', m.version('litellm'), 'on Python', platform.python_version())";
    let output = Command::new(python()).args(["-c", SCRIPT]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
