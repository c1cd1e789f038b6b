//! Secrets from a prompt without echo, or from standard input: never from an argument, which every user of the machine can read.

use std::io::{self, IsTerminal, Read};

use credpool::Secret;

use crate::failure::Failed;

/// Asks for a secret on a terminal; elsewhere it is what standard input holds, without space around it.
pub(crate) fn ask(what: &str) -> Result<Secret, Failed> {
    let text = if io::stdin().is_terminal() {
        prompt(what)
    } else {
        read(io::stdin().lock())
    };
    let unread = |error: io::Error| {
        let message = format!("{what} could not be read: {error}");
        Failed::usage(
            message,
            "type it at the prompt, or pipe it into the command",
        )
    };
    let text = text.map_err(unread)?;
    let trimmed = text.expose().trim();
    if trimmed.is_empty() {
        let hint =
            "type it at the prompt, or pipe it into the command: `credpool add openai < key`";
        return Err(Failed::usage(format!("{what} is empty"), hint));
    }
    Ok(Secret::new(trimmed))
}

/// On the terminal, in a line of its own.
fn prompt(what: &str) -> io::Result<Secret> {
    let prompt = format!("{what} (not shown): ");
    #[cfg(unix)]
    let typed = quiet::ask(&prompt);
    #[cfg(not(unix))]
    let typed = {
        eprint!("{prompt}");
        console::Term::stderr().read_secure_line().map(Secret::from)
    };
    typed
}

#[cfg(unix)]
mod quiet {
    use std::io::{self, ErrorKind};
    use std::str;

    use credpool::Secret;
    use rustix::io::{Errno, read};
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use zeroize::Zeroizing;

    use crate::interrupt::{Heard, end_after};

    /// A terminal without echo.
    struct Quiet {
        former: Termios,
        _restores_when_interrupted: Heard,
    }

    /// Prompts, and reads a line without echo. That ends before the prompt is there: what is typed as soon as it is seen would show
    /// otherwise.
    pub(super) fn ask(prompt: &str) -> io::Result<Secret> {
        let quiet = Quiet::begin()?;
        eprint!("{prompt}");
        let line = line();
        drop(quiet);
        eprintln!();
        line
    }

    /// What the terminal gives at a time is a line.
    fn line() -> io::Result<Secret> {
        let mut bytes = Zeroizing::new([0; LONGEST_LINE]);
        let length = loop {
            match read(io::stdin(), &mut bytes[..]) {
                Err(Errno::INTR) => {}
                read => break read?,
            }
        };
        let text = str::from_utf8(&bytes[..length]);
        let text = text.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        Ok(Secret::new(text))
    }

    /// A terminal takes no longer one.
    const LONGEST_LINE: usize = 4096;

    impl Quiet {
        fn begin() -> io::Result<Self> {
            let former = tcgetattr(io::stdin())?;
            let at_interruption = former.clone();
            let heard = end_after(move || {
                restore(&at_interruption);
                eprintln!();
            });
            let quiet = Self {
                former,
                _restores_when_interrupted: heard.map_err(io::Error::other)?,
            };
            let mut modes = quiet.former.clone();
            modes.local_modes.remove(LocalModes::ECHO);
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
            Ok(quiet)
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            restore(&self.former);
        }
    }

    fn restore(modes: &Termios) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
    }
}

/// Asks whether something is to be done. Where no person can answer, the answer is none.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() {
        return None;
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn read(from: impl Read) -> io::Result<Secret> {
    let mut text = String::with_capacity(MOST);
    let read = from.take(MOST as u64).read_to_string(&mut text)?;
    let secret = Secret::from(text);
    if read == MOST {
        return Err(io::Error::other("it is too long"));
    }
    Ok(secret)
}

/// A key is shorter; room for all of it keeps a copy from being left behind by growth.
const MOST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_no_secret() {
        assert_eq!(read(&b"sk-1\n"[..]).unwrap().expose(), "sk-1\n");
        assert!(read(&vec![b'a'; MOST][..]).is_err());
        assert!(read(&[0xff][..]).is_err());
    }
}
