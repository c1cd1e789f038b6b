//! `list`: the credentials, those that need something first.

use std::collections::BTreeMap;

use credpool::Skipped;
use serde::Serialize;

use crate::advice::Action;
use crate::args::Choice;
use crate::failure::{Exit, Failure};
use crate::moment::{exact, now, of_day, short, until};
use crate::output::{Output, Tone};
use crate::pool::Pool;
use crate::report::{Credential, Serves, State};
use crate::store::{IfMissing, Place};
use crate::table::{Column, Table};
use crate::text::{clean, count, listed};

/// The document of `list` and `watch`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    store: &'a str,
    at: String,
    credentials: &'a [Credential],
    skipped: Vec<SkippedEntry>,
}

#[derive(Debug, Serialize)]
struct SkippedEntry {
    location: String,
    reason: String,
}

impl<'a> Document<'a> {
    pub(super) fn of(store: &'a str, credentials: &'a [Credential], skipped: &[Skipped]) -> Self {
        let entry = |skipped: &Skipped| SkippedEntry {
            location: skipped.location.clone(),
            reason: skipped.reason.clone(),
        };
        Self {
            store,
            at: exact(now()),
            credentials,
            skipped: skipped.iter().map(entry).collect(),
        }
    }
}

pub(super) fn run(place: &Place, choice: &Choice, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let pool = Pool::look(&*opened.store())?;
    let credentials = pool.credentials(choice);
    if output.json {
        output.document(&Document::of(&opened.name, &credentials, &pool.skipped))?;
        return Ok(Exit::Well);
    }
    for line in lines(&credentials, output, output.width()) {
        output.line(&line)?;
    }
    for skipped in &pool.skipped {
        output.note(&format!("not read: {skipped}"));
    }
    Ok(Exit::Well)
}

/// The table, the sums, and what to do.
pub(super) fn lines(credentials: &[Credential], output: &Output, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if !credentials.is_empty() {
        lines.extend(table(credentials).lines(output, width));
        lines.push(String::new());
    }
    lines.push(output.paint(Tone::Heading, &sums(credentials)));
    lines.extend(errands(credentials, output, width));
    lines
}

const COLUMNS: [Column; 6] = [
    Column {
        name: "CREDENTIAL",
        from_width: 0,
        most: 28,
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

fn table(credentials: &[Credential]) -> Table<'static> {
    let mut table = Table::of(&COLUMNS);
    for credential in credentials {
        let state = &credential.state;
        let cells = vec![
            credential.id.clone(),
            credential.provider.clone(),
            state.state.to_owned(),
            returns(state),
            models(credential),
            state.why.clone(),
        ];
        table.row(cells, tone(state));
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
    match (state.action, state.ready) {
        (Action::Act, _) => Tone::Bad,
        (Action::Wait, _) => Tone::Waiting,
        (Action::None, true) => Tone::Plain,
        (Action::None, false) => Tone::Quiet,
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

/// `40 credentials: 31 ready, 9 unavailable (2 need you, 7 return by themselves)`.
pub(super) fn sums(credentials: &[Credential]) -> String {
    let of = |is: &dyn Fn(&&Credential) -> bool| credentials.iter().filter(is).count();
    let ready = of(&|credential| credential.is_well());
    let disabled = of(&|credential| credential.state.state == "disabled");
    let act = of(&|credential| credential.state.action == Action::Act);
    let wait = of(&|credential| credential.state.action == Action::Wait);
    let mut text = format!("{}: {ready} ready", count(credentials.len(), "credential"));
    for (number, what) in [
        (act, "need you"),
        (wait, "return by themselves"),
        (disabled, "disabled"),
    ] {
        if number > 0 {
            text += &format!(", {number} {what}");
        }
    }
    text
}

/// What to do, and for which credentials; what a person has to do comes first.
fn errands(credentials: &[Credential], output: &Output, width: usize) -> Vec<String> {
    let mut errands: BTreeMap<(std::cmp::Reverse<Action>, &str), Vec<&Credential>> =
        BTreeMap::new();
    for credential in credentials {
        if let Some((action, text)) = credential.errand() {
            let errand = errands
                .entry((std::cmp::Reverse(action), text))
                .or_default();
            errand.push(credential);
        }
    }
    if errands.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), output.paint(Tone::Heading, "What to do")];
    for ((_, text), of) in errands {
        let text = match of.as_slice() {
            [one] => text
                .replace("PROVIDER", &one.provider)
                .replace("ID", &one.id),
            _ => text.to_owned(),
        };
        let names = listed(
            of.iter().map(|credential| credential.id.as_str()),
            MOST_NAMED,
        );
        let worst = of.iter().map(|credential| tone(&credential.state));
        let tone = worst.last().unwrap_or(Tone::Plain);
        for line in wrapped(&format!("{names}: {text}"), width.min(100)) {
            lines.push(output.paint(tone, &line));
        }
    }
    lines
}

/// A paragraph as lines that fit, all but the first indented.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(20);
    let mut lines = Vec::new();
    let mut line = String::from(" ");
    for word in clean(text).split_whitespace() {
        let is_begun = !line.trim().is_empty();
        if is_begun
            && console::measure_text_width(&line) + 1 + console::measure_text_width(word) > width
        {
            lines.push(std::mem::replace(&mut line, String::from("   ")));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Of more credentials the number is enough.
const MOST_NAMED: usize = 8;
