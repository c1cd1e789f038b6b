//! `copy`: credentials, with their state, from one store into another.

use credpool::{Auth, Error, ErrorCode, Revision, Saved, Store};

use super::change::{Outcome, tell};
use crate::args::Copy;
use crate::failure::{Exit, Failed, Failure};
use crate::output::{Output, note};
use crate::store::{IfMissing, Opened, Place};
use crate::text::{count, listed};

pub(super) fn run(place: &Place, copy: &Copy, output: &Output) -> Result<Exit, Failure> {
    let to = Place::of_copy(
        copy.to.as_deref(),
        copy.to_name.clone(),
        copy.to_seal_key_file.clone(),
    )?;
    let from = place.open(IfMissing::Refuse)?;
    if from.sealed.is_some() && copy.to_seal_key_file.is_none() && !copy.to_plain {
        let message = "the store is sealed, and the copy would not be";
        let hint = "`--to-seal-key-file FILE` seals the copy, too; `--to-plain` copies it readable";
        return Err(Failed::usage(message, hint).into());
    }
    let listing = from.store().list()?;
    for skipped in &listing.skipped {
        note(&format!("not copied: {skipped}"));
    }
    let chosen = chosen(&copy.ids, &listing.records, &from)?;
    let to = to.open(IfMissing::Make)?;
    let target = to.store();
    let outcomes: Vec<_> = chosen
        .iter()
        .map(|auth| Outcome::of(&auth.id, put(auth, &*target, copy.replace)))
        .collect();
    let logins = chosen.iter().filter(|auth| is_login(auth));
    let logins: Vec<&str> = logins.map(|auth| auth.id.as_str()).collect();
    if !logins.is_empty() {
        note(&format!(
            "{} with a refresh token now in two stores ({}): use one of the stores alone, since the second refresh of such a token ends the login",
            count(logins.len(), "login"),
            listed(logins.iter().copied(), 8),
        ));
    }
    tell(&outcomes, output)
}

fn chosen<'a>(ids: &[String], records: &'a [Auth], from: &Opened) -> Result<Vec<&'a Auth>, Failed> {
    if ids.is_empty() {
        return Ok(records.iter().collect());
    }
    let find = |id: &String| {
        let found = records.iter().find(|auth| auth.id == *id);
        found.ok_or_else(|| {
            let message = format!("there is no credential {id} in {}", from.name);
            Failed::from(Error::new(ErrorCode::AuthNotFound, message)).about(id)
        })
    };
    ids.iter().map(find).collect()
}

/// Writes a record where there is none, or over the very record that was read.
fn put(auth: &Auth, target: &dyn Store, replace: bool) -> Result<String, Failed> {
    let mut there = match target.save_if(auth, None)? {
        Saved::At(_) => return Ok("copied".to_owned()),
        Saved::Conflict(there) => there,
    };
    if !replace {
        let message = format!(
            "there is a credential {} in the other store already",
            auth.id
        );
        let hint = "`--replace` replaces it";
        return Err(Failed::of_one(message, hint).about(&auth.id));
    }
    for _ in 0..MOST_RACES {
        let revision = there.as_deref().map(Revision::of);
        match target.save_if(auth, revision.as_ref())? {
            Saved::At(_) => return Ok("copied, in place of the former".to_owned()),
            Saved::Conflict(now) => there = now,
        }
    }
    let message = format!(
        "credential {} changes all the time in the other store",
        auth.id
    );
    Err(Failed::from(Error::new(ErrorCode::Conflict, message)).about(&auth.id))
}

fn is_login(auth: &Auth) -> bool {
    let metadata = auth.metadata.as_ref();
    metadata.is_some_and(|metadata| metadata.get("refresh_token").is_some())
}

/// How often another process may be first.
const MOST_RACES: usize = 16;
