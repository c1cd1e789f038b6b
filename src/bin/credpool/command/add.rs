//! `add`: a new API key, or a new key for a credential that is there.

use credpool::{Auth, Error, ErrorCode, Manager, Secret};

use super::change::{Outcome, tell};
use crate::args::Add;
use crate::failure::{Exit, Failed, Failure};
use crate::output::Output;
use crate::pool::Editor;
use crate::secret::ask;
use crate::settings::is_public;
use crate::store::{IfMissing, Place};

pub(super) fn run(place: &Place, add: &Add, output: &Output) -> Result<Exit, Failure> {
    let secret = add.settings.iter().find(|(name, _)| !is_public(name));
    if let Some((name, _)) = secret {
        let message = format!("setting {name} may be secret, and other users can read arguments");
        let hint = "let a program set it, or edit the record; a key is asked for, or read from standard input";
        return Err(Failed::usage(message, hint).into());
    }
    // The store is looked at first: a key is not asked for in vain.
    let editor = Editor::open_with_keys(&place.open(IfMissing::Make)?)?;
    let known = add.id.as_ref().and_then(|id| editor.manager.get_by_id(id));
    match (&known, add.replace) {
        (Some(auth), false) => {
            let message = format!("there is a credential {} already", auth.id);
            let hint = "`--replace` gives it the new key; another `--id` adds a second credential";
            return Err(Failed::usage(message, hint).about(&auth.id).into());
        }
        (None, true) => {
            let id = add.id.as_deref().unwrap_or_default();
            let error = Error::new(
                ErrorCode::AuthNotFound,
                format!("there is no credential {id}"),
            );
            return Err(Failed::from(error).about(id).into());
        }
        _ => {}
    }
    let key = ask(&format!("the key for {}", add.provider))?;
    let known = known.map(|auth| (*auth).clone());
    let is_new = known.is_none();
    let auth = save(&editor.manager, known, add, &key)?;
    editor.close()?;
    let done = if is_new { "added" } else { "has the new key" };
    let done = format!("{done}; `credpool check {}` asks the vendor", auth.id);
    tell(&[Outcome::of(&auth.id, Ok(done))], output)
}

fn save(manager: &Manager, known: Option<Auth>, add: &Add, key: &Secret) -> Result<Auth, Failed> {
    let is_new = known.is_none();
    let mut auth = known.unwrap_or_else(|| {
        let auth = Auth::api_key(&*add.provider, "");
        auth.with_id(add.id.clone().unwrap_or_default())
    });
    if !auth.provider.eq_ignore_ascii_case(add.provider.trim()) {
        let message = format!(
            "credential {} is one of provider {}",
            auth.id, auth.provider
        );
        let hint = "name that provider, or remove the credential first";
        return Err(Failed::usage(message, hint).about(&auth.id));
    }
    auth.attributes.insert("api_key", key.expose());
    for (name, value) in &add.settings {
        auth.attributes.insert(name, value);
    }
    if let Some(label) = &add.label {
        auth.label.clone_from(label);
    }
    if !add.models.is_empty() {
        auth.attributes.remove("models");
        auth = auth.with_models(&add.models);
    }
    let saved = if is_new {
        manager.register(auth)?
    } else {
        manager.update(auth)?
    };
    Ok((*saved).clone())
}
