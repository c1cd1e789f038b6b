//! `explain`: whether a call for a model could be served, by which credentials, and why not by the others.

use serde::Serialize;

use super::errands::{self, Errand};
use super::list::{returns, tone};
use crate::args::Explain;
use crate::failure::{Exit, Failed, Failure};
use crate::moment::{exact, now};
use crate::output::{Output, Tone};
use crate::pool::Pool;
use crate::report::ModelState;
use crate::store::{IfMissing, Place};
use crate::table::{Column, Table};
use crate::text::{clean, count};

/// The credentials of a provider, as they are for a model.
#[derive(Debug, Serialize)]
struct Explained {
    provider: String,
    model: String,
    /// How many could serve a call now.
    ready: usize,
    credentials: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    #[serde(flatten)]
    state: ModelState,
}

const COLUMNS: [Column; 4] = [
    Column {
        name: "CREDENTIAL",
        from_width: 0,
        most: 28,
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
        name: "WHY",
        from_width: 0,
        most: 200,
    },
];

pub(super) fn run(place: &Place, query: &Explain, output: &Output) -> Result<Exit, Failure> {
    let opened = place.open(IfMissing::Refuse)?;
    let pool = Pool::look(&*opened.store())?;
    let providers = pool.providers();
    let wanted = query
        .provider
        .as_deref()
        .map(|name| name.trim().to_ascii_lowercase());
    let mut explained = Vec::new();
    for (provider, models) in &providers {
        if wanted.as_ref().is_some_and(|wanted| wanted != provider) {
            continue;
        }
        let models: Vec<&str> = match &query.model {
            Some(model) => vec![model],
            None if models.is_empty() => vec![""],
            None => models.iter().map(String::as_str).collect(),
        };
        explained.extend(models.iter().map(|model| of(&pool, provider, model)));
    }
    if explained.is_empty() {
        return Err(unknown(&providers, query).into());
    }
    let is_served = explained.iter().all(|explained| explained.ready > 0);
    if output.json {
        let document = serde_json::json!({
            "store": opened.name,
            "at": exact(now()),
            "explained": explained,
        });
        output.document(&document)?;
    } else {
        for (place, explained) in explained.iter().enumerate() {
            if place > 0 {
                output.line("")?;
            }
            say(explained, output)?;
        }
    }
    Ok(if is_served { Exit::Well } else { Exit::Unwell })
}

fn of(pool: &Pool, provider: &str, model: &str) -> Explained {
    let mut reports = pool.explain(provider, model);
    reports.sort_by_key(|(_, state)| std::cmp::Reverse(state.state.ends));
    reports.sort_by_key(|(_, state)| std::cmp::Reverse((state.state.action, !state.state.ready)));
    let line = |(auth, state): (std::sync::Arc<credpool::Auth>, ModelState)| Line {
        id: auth.id.clone(),
        state,
    };
    Explained {
        provider: provider.to_owned(),
        model: model.to_owned(),
        ready: reports
            .iter()
            .filter(|(_, state)| state.state.ready)
            .count(),
        credentials: reports.into_iter().map(line).collect(),
    }
}

fn unknown(
    providers: &std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
    query: &Explain,
) -> Failed {
    let known: Vec<&str> = providers.keys().map(String::as_str).collect();
    let name = query.provider.as_deref().unwrap_or_default();
    let message = match query.provider {
        Some(_) => format!("there is no credential of provider {name}"),
        None => "there is no credential in the store".to_owned(),
    };
    let error = credpool::Error::new(credpool::ErrorCode::AuthNotFound, message);
    let hint = match known.as_slice() {
        [] => "add one: `credpool add PROVIDER`".to_owned(),
        known => format!("the store has credentials of {}", known.join(", ")),
    };
    Failed::from(error).with_hint(hint)
}

fn say(explained: &Explained, output: &Output) -> Result<(), Failure> {
    let Explained {
        provider,
        model,
        ready,
        credentials,
    } = explained;
    let of_model = match model.as_str() {
        "" => String::new(),
        model => format!(" for {model}"),
    };
    let total = count(credentials.len(), "credential");
    let heading = format!("{provider}{of_model}: {ready} of {total} can serve");
    let tone_of_all = if *ready > 0 { Tone::Heading } else { Tone::Bad };
    output.line(&output.paint(tone_of_all, &clean(&heading)))?;
    let mut table = Table::of(&COLUMNS);
    for line in credentials {
        let state = &line.state.state;
        let cells = vec![
            line.id.clone(),
            state.name.to_owned(),
            returns(state),
            state.why.clone(),
        ];
        table.row(&cells, tone(state));
    }
    let width = output.width();
    let errands = credentials.iter();
    let errands = errands.map(|line| Errand::of(&line.id, provider, &line.state.state));
    let errands = errands::lines(errands, output, width);
    let between = (!errands.is_empty()).then(String::new);
    for line in table
        .lines(output, width)
        .into_iter()
        .chain(between)
        .chain(errands)
    {
        output.line(&line)?;
    }
    Ok(())
}
