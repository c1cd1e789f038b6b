//! A terminal with a program in it: what is typed, and what stands on its screen.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, unbounded};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::world::LONG;

pub(crate) struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    heard: Receiver<Vec<u8>>,
    reader: Option<JoinHandle<()>>,
    parser: vt100::Parser,
    /// All that the program has written.
    log: String,
}

impl Terminal {
    /// Starts a program in a terminal of this size.
    pub(crate) fn start(command: std::process::Command, rows: u16, columns: u16) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let command = Command::from(command).env("TERM", "xterm-256color");
        let child = command.spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let (say, heard) = unbounded();
        let reader = thread::spawn({
            let pty = Arc::clone(&pty);
            move || {
                let mut bytes = [0; 4096];
                // The end of the program is an error on Linux.
                while let Ok(count @ 1..) = (&*pty).read(&mut bytes) {
                    if say.send(bytes[..count].to_vec()).is_err() {
                        break;
                    }
                }
            }
        });
        let size = |number: u16| number.try_into().unwrap();
        Self {
            pty,
            child,
            heard,
            reader: Some(reader),
            parser: vt100::Parser::new(size(rows), size(columns), 0),
            log: String::new(),
        }
    }

    /// Types a text; a line ends with `\r`.
    pub(crate) fn enter(&mut self, text: &str) {
        (&*self.pty).write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_there: impl Fn(&vt100::Screen) -> bool) {
        while !is_there(self.parser.screen()) {
            match self.heard.recv_timeout(LONG) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => panic!("{what} did not come: {error}\n{}", self.screen()),
            }
        }
    }

    /// Waits until a text stands on the screen.
    #[track_caller]
    pub(crate) fn until_shown(&mut self, text: &str) {
        self.until(text, |screen| screen.contents().contains(text));
    }

    /// Waits for the end of the program; gives its code.
    pub(crate) fn end(mut self) -> (i32, Ended) {
        while let Ok(bytes) = self.heard.recv_timeout(LONG) {
            self.take(&bytes);
        }
        let code = self
            .child
            .wait()
            .unwrap()
            .code()
            .expect("it was not killed");
        self.reader.take().unwrap().join().unwrap();
        let ended = Ended {
            screen: self.screen(),
            is_alternate: self.parser.screen().alternate_screen(),
            hides_cursor: self.parser.screen().hide_cursor(),
            log: std::mem::take(&mut self.log),
        };
        (code, ended)
    }

    pub(crate) fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// Whether any line goes on in the next one.
    pub(crate) fn wraps(&self) -> bool {
        let screen = self.parser.screen();
        let rows = u16::from(screen.size().0);
        (0..rows).any(|row| screen.row_wrapped(row))
    }

    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    fn take(&mut self, bytes: &[u8]) {
        self.log.push_str(&String::from_utf8_lossy(bytes));
        self.parser.process(bytes);
    }
}

/// What is left when the program has ended.
pub(crate) struct Ended {
    pub(crate) screen: String,
    pub(crate) is_alternate: bool,
    pub(crate) hides_cursor: bool,
    pub(crate) log: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
