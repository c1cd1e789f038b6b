//! `list`: the credentials, those that need something first.

use std::fmt;

use credpool::Skipped;
use serde::Serialize;

use super::errands::{self, Errand};
use crate::advice::Action;
use crate::args::Choice;
use crate::failure::{Exit, Failure};
use crate::moment::{exact, now, of_day, short, until};
use crate::output::{Output, Tone, note};
use crate::pool::Pool;
use crate::report::{Credential, Serves, State};
use crate::store::{IfMissing, Place};
use crate::table::{Column, Table};
use crate::text::count;

/// The document of `list` and `watch`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    store: &'a str,
    at: String,
    summary: Summary,
    credentials: Vec<&'a Credential>,
    skipped: Vec<SkippedEntry>,
}

/// How many there are, of which many may not be shown.
#[derive(Debug, Serialize)]
struct Summary {
    credentials: usize,
    ready: usize,
    act: usize,
    wait: usize,
    disabled: usize,
}

#[derive(Debug, Serialize)]
struct SkippedEntry {
    location: String,
    reason: String,
}

impl<'a> Document<'a> {
    pub(super) fn of(
        store: &'a str,
        credentials: &'a [Credential],
        choice: &Choice,
        skipped: &[Skipped],
    ) -> Self {
        let entry = |skipped: &Skipped| SkippedEntry {
            location: skipped.location.clone(),
            reason: skipped.reason.clone(),
        };
        Self {
            store,
            at: exact(now()),
            summary: Summary::of(credentials),
            credentials: shown(credentials, choice),
            skipped: skipped.iter().map(entry).collect(),
        }
    }
}

pub(super) fn run(place: &Place, choice: &Choice, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let pool = Pool::look(&*opened.store())?;
    let credentials = pool.credentials(choice.provider.as_deref());
    if output.json {
        output.document(&Document::of(
            &opened.name,
            &credentials,
            choice,
            &pool.skipped,
        ))?;
        return Ok(Exit::Well);
    }
    let lines = Lines::of(&credentials, choice, output, output.width());
    for line in lines.all() {
        output.line(&line)?;
    }
    for skipped in &pool.skipped {
        note(&format!("not read: {skipped}"));
    }
    Ok(Exit::Well)
}

fn shown<'a>(credentials: &'a [Credential], choice: &Choice) -> Vec<&'a Credential> {
    let is_shown = |credential: &&Credential| !(choice.unavailable && credential.is_well());
    credentials.iter().filter(is_shown).collect()
}

/// What a list says, as lines.
pub(super) struct Lines {
    pub(super) table: Vec<String>,
    pub(super) sums: String,
    /// What to do, and for which credentials.
    pub(super) errands: Vec<String>,
}

impl Lines {
    pub(super) fn of(
        credentials: &[Credential],
        choice: &Choice,
        output: &Output,
        width: usize,
    ) -> Self {
        let shown = shown(credentials, choice);
        let table = match shown.as_slice() {
            [] => Vec::new(),
            shown => table(shown).lines(output, width),
        };
        let sums = Summary::of(credentials).to_string();
        Self {
            table,
            sums: output.paint(Tone::Heading, &sums),
            errands: errands::lines(credentials.iter().map(errand), output, width),
        }
    }

    /// The sums below the table, then what to do: what is read first stands last on a terminal.
    pub(super) fn all(self) -> Vec<String> {
        let mut lines = self.table;
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(self.sums);
        if !self.errands.is_empty() {
            lines.push(String::new());
            lines.extend(self.errands);
        }
        lines
    }
}

const COLUMNS: [Column; 7] = [
    Column {
        name: "CREDENTIAL",
        from_width: 0,
        most: 28,
    },
    Column {
        name: "LABEL",
        from_width: 120,
        most: 20,
    },
    Column {
        name: "PROVIDER",
        from_width: 100,
        most: 18,
    },
    Column {
        name: "STATE",
        from_width: 0,
        most: 13,
    },
    Column {
        name: "RETURNS",
        from_width: 0,
        most: 28,
    },
    Column {
        name: "MODELS",
        from_width: 76,
        most: 22,
    },
    Column {
        name: "WHY",
        from_width: 0,
        most: 200,
    },
];

fn table(credentials: &[&Credential]) -> Table<'static> {
    let mut table = Table::of(&COLUMNS);
    for credential in credentials {
        let state = &credential.state;
        let cells = vec![
            credential.id.clone(),
            credential.label.clone().unwrap_or_default(),
            credential.provider.clone(),
            state.name.to_owned(),
            returns(state),
            models(credential),
            state.why.clone(),
        ];
        table.row(&cells, tone(state));
    }
    table
}

/// `in 29m, 03:41 UTC`.
pub(super) fn returns(state: &State) -> String {
    let now = now();
    state.ends.map_or_else(String::new, |end| {
        format!("in {}, {}", short(until(now, end)), of_day(end, now))
    })
}

pub(super) fn tone(state: &State) -> Tone {
    match state.action {
        Action::None if !state.ready => Tone::Quiet,
        action => action.tone(),
    }
}

/// The models that a credential cannot serve.
fn models(credential: &Credential) -> String {
    match credential.serves {
        Serves::All => String::new(),
        Serves::None => "all".to_owned(),
        Serves::Some => {
            let mut unserved = credential.unserved();
            let first = unserved.next().unwrap_or_default().to_owned();
            match unserved.count() {
                0 => first,
                more => format!("{first} +{more}"),
            }
        }
    }
}

impl Summary {
    fn of(credentials: &[Credential]) -> Self {
        let of =
            |is: &dyn Fn(&Credential) -> bool| credentials.iter().filter(|one| is(one)).count();
        Self {
            credentials: credentials.len(),
            ready: of(&Credential::is_well),
            act: of(&|credential| credential.state.action == Action::Act),
            wait: of(&|credential| credential.state.action == Action::Wait),
            disabled: of(&|credential| credential.state.name == "disabled"),
        }
    }
}

/// `40 credentials: 27 ready, 3 need you, 9 return by themselves, 1 disabled`
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = count(self.credentials, "credential");
        write!(f, "{total}: {} ready", self.ready)?;
        for (number, what) in [
            (self.act, "need you"),
            (self.wait, "return by themselves"),
            (self.disabled, "disabled"),
        ] {
            if number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        Ok(())
    }
}

fn errand(credential: &Credential) -> Errand<'_> {
    Errand::of(&credential.id, &credential.provider, &credential.state)
}
