//! What a command says: text for people, one JSON document for programs. Results go to standard output, everything else to standard error.

use std::io::{self, ErrorKind, IsTerminal, Stdout, Write};

use console::{Style, Term};
use serde::Serialize;

use crate::args::{Args, Color};
use crate::failure::{Failed, Failure};
use crate::text::clean;

pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) is_terminal: bool,
    out: Stdout,
    colors: Colors,
    colors_of_errors: Colors,
}

#[derive(Clone, Copy, Debug)]
struct Colors(bool);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Good,
    Waiting,
    Bad,
    Quiet,
}

impl Output {
    pub(crate) fn of(args: &Args) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let wanted = |auto: bool| match args.color {
            Color::Auto => auto,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            json: args.json,
            is_terminal,
            out: io::stdout(),
            colors: Colors(wanted(console::colors_enabled() && is_terminal) && !args.json),
            colors_of_errors: Colors(wanted(console::colors_enabled_stderr())),
        }
    }

    /// How many columns there are; wide where it is no terminal.
    pub(crate) fn width(&self) -> usize {
        if !self.is_terminal {
            return WIDE;
        }
        Term::stdout()
            .size_checked()
            .map_or(80, |(_, columns)| columns.into())
    }

    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).unwrap_or_default();
        self.line(&text)
    }

    /// Text as it is, all of it.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = self.out.lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
            Err(error) => {
                let message = format!("the output could not be written: {error}");
                Err(Failed::usage(message, "look at where the output goes").into())
            }
            Ok(()) => Ok(()),
        }
    }

    /// A text in its colour, where there are colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        self.colors.paint(tone, text)
    }

    /// Says why the command has failed: on standard error, and as the JSON document where that is wanted.
    pub(crate) fn failed(&self, failed: &Failed) {
        if self.json {
            // Where it cannot be written, the exit code says so all the same.
            let _ = self.document(&serde_json::json!({ "error": failed }));
            return;
        }
        let prefix = self.colors_of_errors.paint(Tone::Bad, "error:");
        eprintln!("{prefix} {}", clean(&sentence(failed)));
        if let Some(hint) = &failed.what_to_do {
            eprintln!("  {}", clean(hint));
        }
    }
}

/// Beside the results: what a person should know.
pub(crate) fn note(text: &str) {
    eprintln!("{}", clean(text));
}

/// What happened, and to which credential where the message does not say so.
pub(crate) fn sentence(failed: &Failed) -> String {
    match &failed.id {
        Some(id) if !failed.message.contains(id.as_str()) => {
            format!("credential {id}: {}", failed.message)
        }
        _ => failed.message.clone(),
    }
}

impl Colors {
    fn paint(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Heading => Style::new().bold(),
            Tone::Good => Style::new().green(),
            Tone::Waiting => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
            Tone::Quiet => Style::new().dim(),
        };
        style.force_styling(self.0).apply_to(text).to_string()
    }
}

/// The columns of what is no terminal: nothing is cut.
const WIDE: usize = 10_000;
