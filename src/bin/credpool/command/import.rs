//! `import`: what another program's file holds becomes credentials of the store.

use credpool::import::{self, Credential, Renewal};
use credpool::{Auth, Expiry};
use serde::Serialize;

use super::change::{Outcome, tell};
use crate::args::Import;
use crate::failure::{Exit, Failed, Failure};
use crate::moment::exact;
use crate::output::{Output, Tone, note};
use crate::pool::Editor;
use crate::store::{IfMissing, Place};
use crate::text::clean;

/// What is found in the file: the element of `found` in the document of a dry run.
#[derive(Debug, Serialize)]
struct Found {
    id: String,
    provider: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ends_at: Option<String>,
    /// What refreshes it: `none`, `pool` or `owner`.
    renewal: &'static str,
    /// What a refresh by this pool needs and the file does not have.
    missing: Vec<&'static str>,
    /// What it means for the owner if this pool takes it over.
    take_over: String,
}

impl Found {
    fn of(id: String, credential: &Credential) -> Self {
        Self {
            id,
            provider: credential.auth().provider,
            kind: credential.kind().to_string(),
            account: credential.account().map(str::to_owned),
            token_ends_at: match credential.expires_at() {
                Expiry::At(end) => Some(exact(end)),
                _ => None,
            },
            renewal: match credential.renewal() {
                Renewal::Pool => "pool",
                Renewal::Owner => "owner",
                _ => "none",
            },
            missing: credential
                .missing()
                .iter()
                .map(|missing| missing.name)
                .collect(),
            take_over: credential.take_over().consequence,
        }
    }
}

pub(super) fn run(place: &Place, wanted: &Import, output: &Output) -> Result<Exit, Failure> {
    let file = import::read(&wanted.file)?;
    let prefix = wanted.prefix.clone();
    let prefix = prefix.unwrap_or_else(|| slug(&file.program().to_string()));
    let found: Vec<_> = file
        .credentials()
        .iter()
        .map(|credential| (id_of(&prefix, credential), credential))
        .collect();
    for problem in file.not_understood() {
        note(&format!("not understood: {problem}"));
    }
    if found.is_empty() {
        let message = format!("there is no credential in {}", wanted.file.display());
        return Err(Failed::usage(message, "name another file").into());
    }
    if wanted.dry_run {
        return tell_found(found, output);
    }
    let editor = Editor::open_with_keys(&place.open(IfMissing::Make)?)?;
    let outcomes: Vec<_> = found
        .iter()
        .map(|(id, credential)| Outcome::of(id, register(&editor, id, credential, wanted)))
        .collect();
    editor.close()?;
    tell(&outcomes, output)
}

fn register(
    editor: &Editor,
    id: &str,
    credential: &Credential,
    wanted: &Import,
) -> Result<String, Failed> {
    if editor.manager.get_by_id(id).is_some() {
        let message = format!("there is a credential {id} already");
        let hint = "`--prefix TEXT` gives the new ones other ids";
        return Err(Failed::of_one(message, hint).about(id));
    }
    let (auth, done): (Auth, String) = if wanted.take_over {
        let taken = credential.take_over();
        (
            taken.auth,
            format!("imported and taken over: {}", taken.consequence),
        )
    } else {
        (credential.auth(), format!("imported: {credential}"))
    };
    editor.manager.register(auth.with_id(id))?;
    Ok(done)
}

fn tell_found(found: Vec<(String, &Credential)>, output: &Output) -> Result<Exit, Failure> {
    if output.json {
        let of = |(id, credential): (String, &Credential)| Found::of(id, credential);
        let found: Vec<_> = found.into_iter().map(of).collect();
        output.document(&serde_json::json!({ "found": found }))?;
        return Ok(Exit::Well);
    }
    for (id, credential) in found {
        output.line(&output.paint(Tone::Heading, &clean(&id)))?;
        output.line(&format!("  {}", clean(&credential.to_string())))?;
        let consequence = credential.take_over().consequence;
        output.line(&format!("  with --take-over: {}", clean(&consequence)))?;
    }
    Ok(Exit::Well)
}

fn id_of(prefix: &str, credential: &Credential) -> String {
    match slug(credential.member()) {
        member if member.is_empty() => prefix.to_owned(),
        member => format!("{prefix}-{member}"),
    }
}

/// A name as a part of an id: `Claude Code` becomes `claude-code`.
fn slug(name: &str) -> String {
    let name = name.trim_start_matches("the ").to_lowercase();
    let parts = name.split(|char: char| !char.is_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-")
}
