//! `watch`: the list, live.

use std::fmt::Write;
use std::time::Duration;

use console::Term;
use credpool::{CancelToken, Clock, Cursor, Error, Store, SystemClock};
use crossbeam_channel::select;

use super::list::{Document, Lines};
use crate::args::{Choice, Watch};
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::moment::{exact, now};
use crate::output::{Output, Tone};
use crate::pool::Pool;
use crate::store::{IfMissing, Opened, Place};
use crate::text::clean;

pub(super) fn run(place: &Place, watch: &Watch, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let interrupted = interrupt::hear()?;
    if output.is_terminal && !output.json {
        return on_terminal(&opened, watch, output, &interrupted);
    }
    let mut view = View::open(&opened)?;
    let mut is_new = true;
    loop {
        if is_new {
            print(&opened, &view, &watch.choice, output)?;
        }
        if !wait(watch.interval, &interrupted) {
            return Ok(Exit::Well);
        }
        is_new = view.follow()?;
    }
}

/// Where it goes to a file or a program: what there is, whenever it has changed.
fn print(opened: &Opened, view: &View, choice: &Choice, output: &Output) -> Result<(), Failure> {
    let credentials = view.pool.credentials(choice.provider.as_deref());
    if output.json {
        let document = Document::of(&opened.name, &credentials, choice, &view.pool.skipped);
        return output.line(&serde_json::to_string(&document).unwrap_or_default());
    }
    output.line(&exact(now()))?;
    for line in Lines::of(&credentials, choice, output, output.width()).all() {
        output.line(&line)?;
    }
    output.line("")
}

fn on_terminal(
    opened: &Opened,
    watch: &Watch,
    output: &Output,
    interrupted: &CancelToken,
) -> Result<Exit, Failure> {
    let mut view = View::open(opened)?;
    let mut trouble: Option<Error> = None;
    output.write(ENTER)?;
    let ended = loop {
        let frame = frame(opened, &view, trouble.as_ref(), watch, output);
        if let Err(failure) = output.write(&frame) {
            break Err(failure);
        }
        if !wait(watch.interval, interrupted) {
            break Ok(Exit::Well);
        }
        trouble = view.follow().err();
    };
    output.write(LEAVE)?;
    ended
}

/// One screen: a heading, and as much of the list as there is room for.
fn frame(
    opened: &Opened,
    view: &View,
    trouble: Option<&Error>,
    watch: &Watch,
    output: &Output,
) -> String {
    let (rows, columns) = Term::stdout().size_checked().unwrap_or((24, 80));
    let (rows, columns) = (usize::from(rows), usize::from(columns));
    let cut = |text: &str| console::truncate_str(text, columns, "…").into_owned();
    let heading = format!("{}  {}  Ctrl-C ends", exact(now()), clean(&opened.name));
    let mut screen = vec![output.paint(Tone::Quiet, &cut(&heading))];
    if let Some(error) = trouble {
        let text = format!("not up to date: {}", clean(error.message()));
        screen.push(output.paint(Tone::Bad, &cut(&text)));
    }
    let choice = &watch.choice;
    let credentials = view.pool.credentials(choice.provider.as_deref());
    let list = Lines::of(&credentials, choice, output, columns);
    screen.push(cut(&list.sums));
    let below = [list.table, list.errands];
    let below: Vec<String> = below
        .into_iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| std::iter::once(String::new()).chain(part))
        .collect();
    let room = rows.saturating_sub(screen.len() + 1);
    if below.len() > room {
        let shown = room.saturating_sub(1);
        let more = below.len() - shown;
        let more = format!("… {more} more lines: a higher terminal, or --unavailable");
        screen.extend(below.into_iter().take(shown));
        screen.push(output.paint(Tone::Quiet, &cut(&more)));
    } else {
        screen.extend(below);
    }
    let mut frame = String::from("\x1b[H");
    for line in screen {
        let _ = write!(frame, "{line}\x1b[K\r\n");
    }
    frame.push_str("\x1b[J");
    frame
}

/// The store, read again when it says that it has changed.
struct View<'a> {
    opened: &'a Opened,
    pool: Pool,
    seen: Option<Cursor>,
}

impl<'a> View<'a> {
    fn open(opened: &'a Opened) -> Result<Self, Error> {
        let listing = opened.store().list()?;
        let seen = listing.cursor.clone();
        let pool = Pool::of(listing)?;
        Ok(Self { opened, pool, seen })
    }

    /// Whether there was anything new.
    fn follow(&mut self) -> Result<bool, Error> {
        let store = self.opened.store();
        if let Some(seen) = &self.seen
            && let Some(changes) = store.changes(Some(seen))?
        {
            let is_same = changes.written.is_empty()
                && changes.removed.is_empty()
                && changes.skipped.is_empty()
                && !changes.complete;
            if is_same {
                self.seen = Some(changes.cursor);
                return Ok(false);
            }
        }
        *self = Self::open(self.opened)?;
        Ok(true)
    }
}

/// Waits. False: it was interrupted.
fn wait(interval: Duration, interrupted: &CancelToken) -> bool {
    let timer = SystemClock.after(interval.max(SHORTEST));
    select! {
        recv(timer) -> _ => !interrupted.is_cancelled(),
        recv(interrupted.cancelled()) -> _ => false,
    }
}

/// A store is not asked more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// Another screen, without a cursor; what was there comes back at the end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
