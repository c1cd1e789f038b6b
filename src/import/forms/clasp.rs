//! clasp: logins of Google users by name; formerly one login, in an object of its own or at the top.

use serde_json::{Map, Value};

use super::super::claims::Claims;
use super::super::draft::{Draft, SECRET_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::gemini_cli::PROVIDER;
use super::{has_object, has_text, is_map_of};

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    let is_local = has_object(object, "token")
        && (has_object(object, "oauth2ClientSettings") || object.contains_key("isLocalCreds"));
    let is_global = has_text(object, "access_token") && object.contains_key(FORMER_END);
    is_local || is_global || are_users(object)
}

/// Whether it is the form with several users.
pub(in crate::import) fn are_users(object: &Map<String, Value>) -> bool {
    let users = object.get("tokens").and_then(Value::as_object);
    users.is_some_and(|users| {
        is_map_of(users, |user| {
            has_text(user, "refresh_token") || has_text(user, "access_token")
        })
    })
}

pub(super) fn read<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    top.know(&["isLocalCreds"]);
    if let Some(mut users) = top.object("tokens") {
        for (user, mut login) in users.objects() {
            let (id, secret) = (login.text("client_id"), login.text("client_secret"));
            add(user, &mut login, id, secret, "expiry_date", findings);
            login.end(findings);
        }
        users.end(findings);
    }
    if let Some(mut login) = top.object("token") {
        let mut settings = top.object("oauth2ClientSettings");
        let mut setting = |name| settings.as_mut()?.text(name);
        let (id, secret) = (setting("clientId"), setting("clientSecret"));
        add("", &mut login, id, secret, "expiry_date", findings);
        login.end(findings);
        if let Some(mut settings) = settings {
            settings.know(&["redirectUri"]);
            settings.end(findings);
        }
    } else if has_text(object, "access_token") {
        // The client is clasp's own, and in no file.
        add("", top, None, None, FORMER_END, findings);
    }
}

fn add<'a>(
    member: &str,
    login: &mut Part<'a>,
    client_id: Option<&str>,
    client_secret: Option<&str>,
    end: &'a str,
    findings: &mut Findings,
) {
    let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
    let id = Claims::of(login.text("id_token").unwrap_or_default());
    let end = login.time(end);
    login.know(&["type", "scope", "token_type"]);
    let mut draft = Draft::new(Program::Clasp, PROVIDER)
        .at(member)
        .of(id.text("email"))
        .needing(Rotation::Reusable, SECRET_CLIENT)
        .tokens(access, refresh, end);
    let metadata = draft.auth.metadata.get_or_insert_default();
    metadata.insert("type", "authorized_user");
    for (name, text) in [("client_id", client_id), ("client_secret", client_secret)] {
        if let Some(text) = text {
            metadata.insert(name, text);
        }
    }
    findings.credentials.extend(draft.login());
}

/// As clasp spelt it.
const FORMER_END: &str = "exprity_date";
