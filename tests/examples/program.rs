//! An example as a process: what it is told, what it says, and how it ends.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for any machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A built example, without the keys of the person that runs the tests.
pub(crate) fn example(name: &str) -> Command {
    // Cargo puts examples beside the folder of the tests.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(profile.join("examples").join(name));
    for provider in ["OPENAI", "ANTHROPIC"] {
        command.env_remove(format!("{provider}_API_KEY"));
        command.env_remove(format!("{provider}_BASE_URL"));
    }
    command
}

/// A running example; it is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    /// All that it has said, on either output.
    pub(crate) said: String,
    /// How much of that was waited for.
    heard: usize,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, output) = unbounded();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        Self {
            input: child.stdin.take(),
            child,
            output,
            said: String::new(),
            heard: 0,
        }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    /// Reads on until it has said this, after what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.said[self.heard..].find(text) {
                self.heard += at + text.len();
                return;
            }
            let piece = self.output.recv_timeout(SOON);
            let piece = piece.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.said));
            self.said.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    /// What the terminal sends at Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// As a crash ends it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, with no more input; what it has said in all.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        loop {
            match self.output.recv_timeout(SOON) {
                Ok(piece) => self.said.push_str(&String::from_utf8_lossy(&piece)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on: {:?}", self.said),
            }
        }
        let status: ExitStatus = self.child.wait().unwrap();
        (status.code(), std::mem::take(&mut self.said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(mut from: impl Read + Send + 'static, to: Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let _ = to.send(buffer[..length].to_vec());
        }
    });
}
