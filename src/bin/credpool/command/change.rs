//! What changes single credentials: `disable`, `enable`, `remove`, `refresh`, `reset`, `cool-down`.

use credpool::{Error, Expiry, Manager};
use serde::Serialize;

use crate::args::{CoolDown, Ids, Remove, Reset};
use crate::failure::{Exit, Failed, Failure};
use crate::moment::{exact, now, of_day, short};
use crate::output::{Output, Tone, sentence};
use crate::pool::Editor;
use crate::secret::confirm;
use crate::store::{IfMissing, Place};
use crate::text::{clean, count};

/// What became of one credential: the element of `results` in the document of each changing command.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    id: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

impl Outcome {
    pub(super) fn of(id: &str, result: Result<String, Failed>) -> Self {
        let (done, error) = match result {
            Ok(done) => (Some(done), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            id: id.to_owned(),
            ok: error.is_none(),
            done,
            error,
        }
    }
}

/// Says what became of each, and gives the code of the worst.
pub(super) fn tell(outcomes: &[Outcome], output: &Output) -> Result<Exit, Failure> {
    let errors = outcomes.iter().filter_map(|outcome| outcome.error.as_ref());
    let exit = errors.map(|error| error.exit).max().unwrap_or(Exit::Well);
    if output.json {
        output.document(&serde_json::json!({ "results": outcomes }))?;
        return Ok(exit);
    }
    for outcome in outcomes {
        if let Some(done) = &outcome.done {
            let line = format!("{}: {done}", outcome.id);
            output.line(&output.paint(Tone::Good, &clean(&line)))?;
        }
        if let Some(error) = &outcome.error {
            let line = format!("{}: {}", outcome.id, sentence(error));
            output.line(&output.paint(Tone::Bad, &clean(&line)))?;
            if let Some(hint) = &error.what_to_do {
                output.line(&format!("  {}", clean(&hint.replace("ID", &outcome.id))))?;
            }
        }
    }
    Ok(exit)
}

/// Makes one change to each credential. Nothing is said to be done before the store has it.
fn each(
    editor: Editor,
    ids: &Ids,
    output: &Output,
    change: impl Fn(&Manager, &str) -> Result<String, Error>,
) -> Result<Exit, Failure> {
    let changed = ids.ids.iter().map(|id| {
        let result = change(&editor.manager, id);
        Outcome::of(id, result.map_err(|error| Failed::from(error).about(id)))
    });
    let outcomes: Vec<_> = changed.collect();
    editor.close()?;
    tell(&outcomes, output)
}

fn open(place: &Place) -> Result<Editor, Failed> {
    Editor::open(&place.open(IfMissing::Refuse)?)
}

pub(super) fn disable(place: &Place, ids: &Ids, output: &Output) -> Result<Exit, Failure> {
    each(open(place)?, ids, output, |manager, id| {
        manager.set_disabled(id, true)?;
        Ok("disabled".to_owned())
    })
}

pub(super) fn enable(place: &Place, ids: &Ids, output: &Output) -> Result<Exit, Failure> {
    each(open(place)?, ids, output, |manager, id| {
        manager.set_disabled(id, false)?;
        Ok("enabled".to_owned())
    })
}

pub(super) fn remove(place: &Place, remove: &Remove, output: &Output) -> Result<Exit, Failure> {
    let ids = &remove.ids;
    let editor = open(place)?;
    let question = format!("Remove {} for good?", count(ids.ids.len(), "credential"));
    if !remove.yes && confirm(&question) != Some(true) {
        let hint = "say so: `credpool remove ID --yes`; `credpool disable ID` can be undone";
        return Err(Failed::usage("nothing was removed", hint).into());
    }
    each(editor, ids, output, |manager, id| {
        manager.remove(id)?;
        Ok("removed".to_owned())
    })
}

pub(super) fn refresh(place: &Place, ids: &Ids, output: &Output) -> Result<Exit, Failure> {
    let editor = Editor::open_with_keys(&place.open(IfMissing::Refuse)?)?;
    each(editor, ids, output, |manager, id| {
        let auth = manager.refresh_now(id)?;
        Ok(match auth.expiration_time() {
            Expiry::At(end) => format!("refreshed, the token ends at {}", exact(end)),
            _ => "refreshed".to_owned(),
        })
    })
}

pub(super) fn reset(place: &Place, reset: &Reset, output: &Output) -> Result<Exit, Failure> {
    each(open(place)?, &reset.ids, output, |manager, id| {
        match &reset.model {
            Some(model) => manager.reset_model(id, model)?,
            None => manager.reset(id)?,
        }
        Ok("reset: the next call tries it".to_owned())
    })
}

pub(super) fn cool_down(
    place: &Place,
    cool_down: &CoolDown,
    output: &Output,
) -> Result<Exit, Failure> {
    let CoolDown { ids, time, model } = cool_down;
    each(open(place)?, ids, output, |manager, id| {
        manager.cool_down(id, model.as_deref(), *time)?;
        let now = now();
        let end = of_day(now + *time, now);
        Ok(format!("cooling down for {}, until {end}", short(*time)))
    })
}
