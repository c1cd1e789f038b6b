//! `login`: a person logs in, on any device or in a browser.

use credpool::{Auth, Error, ErrorCode, Expiry, Manager};

use super::change::{Outcome, tell};
use crate::args::Login as Wanted;
use crate::failure::{Exit, Failed, Failure};
use crate::interrupt;
use crate::moment::{exact, short};
use crate::output::{Output, note};
use crate::pool::Editor;
use crate::secret::ask;
use crate::store::{IfMissing, Place};

pub(super) fn run(place: &Place, wanted: &Wanted, output: &Output) -> Result<Exit, Failure> {
    let editor = Editor::open_with_keys(&place.open(IfMissing::Make)?)?;
    let is_new = editor.manager.get_by_id(&wanted.id).is_none();
    if is_new && wanted.provider.is_none() {
        let message = format!("there is no credential {}", wanted.id);
        let error = Error::new(ErrorCode::AuthNotFound, message);
        let hint = "`--provider NAME` makes a new one; `credpool list` names those that are there";
        return Err(Failed::from(error).about(&wanted.id).with_hint(hint).into());
    }
    let login = login(wanted)?;
    let interrupted = interrupt::hear()?;
    let login = login.with_cancel(interrupted.clone());
    if let Some(provider) = wanted.provider.as_deref().filter(|_| is_new) {
        editor
            .manager
            .register(Auth::pending(provider).with_id(&*wanted.id))?;
    }
    let logged_in = editor.manager.log_in(&wanted.id, &login, |prompt| {
        let time = short(prompt.expires_in);
        note(&format!("{prompt}"));
        if let Some(url) = &prompt.complete_url {
            note(&format!("With the code in it: {url}"));
        }
        note(&format!("This waits for {time}; Ctrl-C ends it."));
    });
    if logged_in.is_err() && is_new {
        forget(&editor.manager, &wanted.id);
    }
    let end = logged_in.map(|auth| auth.expiration_time());
    editor.close()?;
    let done = match end? {
        Expiry::At(end) => format!("logged in, the token ends at {}", exact(end)),
        _ => "logged in".to_owned(),
    };
    tell(&[Outcome::of(&wanted.id, Ok(done))], output)
}

/// Takes away the record that was made for a login which did not come about.
fn forget(manager: &Manager, id: &str) {
    let is_pending = manager
        .get_by_id(id)
        .is_some_and(|auth| auth.generation() == 0);
    if is_pending && let Err(error) = manager.remove(id) {
        log::warn!("credential {id} waits for its login, and could not be removed: {error}");
    }
}

fn login(wanted: &Wanted) -> Result<credpool::Login, Failed> {
    let mut login = if wanted.device {
        credpool::Login::by_device(&*wanted.client_id)
    } else {
        credpool::Login::by_browser(&*wanted.client_id)
    };
    if let Some(issuer) = &wanted.issuer {
        login = login.with_issuer(&**issuer);
    }
    if let Some((begin, token)) = wanted.begin_url.as_ref().zip(wanted.token_url.as_ref()) {
        login = login.with_endpoints(&**begin, &**token);
    }
    if let Some(scope) = &wanted.scope {
        login = login.with_scope(&**scope);
    }
    for (name, value) in &wanted.parameters {
        login = login.with_parameter(&**name, &**value);
    }
    if let Some(uri) = &wanted.redirect_uri {
        login = login.with_redirect_uri(&**uri);
    }
    if wanted.client_secret {
        login = login.with_client_secret(ask("the client's secret")?);
    }
    Ok(login.with_timeout(wanted.timeout))
}
