//! Codex: a key, and the login of a ChatGPT account, both at most once.

use serde_json::{Map, Value};

use super::super::claims::Claims;
use super::super::draft::{Draft, PUBLIC_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::has_text;

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    // A key of that name may be in any program's settings.
    let is_own = || {
        object.contains_key("auth_mode") || object.keys().all(|name| OWN.contains(&name.as_str()))
    };
    let has_tokens = |tokens: &Map<String, Value>| {
        let mut names = ["access_token", "refresh_token", "id_token"].into_iter();
        names.any(|name| has_text(tokens, name))
    };
    let tokens = object.get("tokens").and_then(Value::as_object);
    tokens.is_some_and(has_tokens) || (object.contains_key(KEY) && is_own())
}

pub(super) fn read<'a>(_: &'a Map<String, Value>, top: &mut Part<'a>, findings: &mut Findings) {
    top.know(&["auth_mode", "last_refresh"]);
    if let Some(mut tokens) = top.object("tokens") {
        let access = tokens.text("access_token");
        let refresh = tokens.text("refresh_token");
        let id = Claims::of(tokens.text("id_token").unwrap_or_default());
        let account_id = tokens.text("account_id");
        let email = id
            .text("email")
            .or_else(|| id.nested("https://api.openai.com/profile", "email"));
        let end = access.and_then(|token| Claims::of(token).end());
        let mut draft = Draft::new(Program::Codex, "codex")
            .of(email.or(account_id))
            .needing(Rotation::OneTime, PUBLIC_CLIENT)
            .tokens(access, refresh, end);
        for (name, text) in [("account_id", account_id), ("email", email)] {
            if let Some(text) = text {
                draft
                    .auth
                    .metadata
                    .get_or_insert_default()
                    .insert(name, text);
            }
        }
        findings.credentials.extend(draft.login());
        tokens.end(findings);
    }
    if let Some(key) = top.text(KEY) {
        let draft = Draft::new(Program::Codex, "openai").at(KEY);
        findings.credentials.push(draft.key(key));
    }
    for name in ["agent_identity", "personal_access_token"] {
        if top.text(name).is_some() {
            top.note(name, "is of a kind that is not imported");
        }
    }
}

const KEY: &str = "OPENAI_API_KEY";

const OWN: [&str; 6] = [
    "auth_mode",
    KEY,
    "tokens",
    "last_refresh",
    "agent_identity",
    "personal_access_token",
];
