//! Gemini CLI: the credentials of Google's library for Node.js as they are.

use serde_json::{Map, Value};

use super::super::claims::Claims;
use super::super::draft::{Draft, SECRET_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::{GOOGLE, has_text};

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    let has_token = has_text(object, "access_token") || has_text(object, "refresh_token");
    has_token && object.contains_key("expiry_date") && !has_text(object, "type")
}

pub(super) fn read<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    let id = Claims::of(top.text("id_token").unwrap_or_default());
    let _ = (
        top.text("access_token"),
        top.text("refresh_token"),
        top.time("expiry_date"),
    );
    top.know(&["scope", "token_type"]);
    let mut draft = Draft::new(Program::GeminiCli, PROVIDER)
        .of(id.text("email"))
        .needing(Rotation::Reusable, SECRET_CLIENT);
    draft.auth.metadata = Some(object.clone().into());
    draft.auth.attributes.insert("token_url", GOOGLE);
    findings.credentials.extend(draft.login());
}

/// What serves a login of Google's.
pub(super) const PROVIDER: &str = "gemini";
