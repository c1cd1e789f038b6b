//! The AWS CLI and SDKs: the token of a session with IAM Identity Center, and the client that is registered for it.

use serde_json::{Map, Value};

use super::super::credential::Missing;
use super::super::draft::Draft;
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    object.keys().all(|name| OWN.contains(&name.as_str()))
        && object.contains_key("expiresAt")
        && (object.contains_key("accessToken") || is_registration(object))
}

fn is_registration(object: &Map<String, Value>) -> bool {
    object.contains_key("clientId") && object.contains_key("clientSecret")
}

pub(super) fn read<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    top.know(&OWN);
    if !object.contains_key("accessToken") {
        return top.note("", "is the registration of a client, and no login");
    }
    let (access, refresh) = (top.text("accessToken"), top.text("refreshToken"));
    let end = top.time("expiresAt");
    let mut draft = Draft::new(Program::AwsSso, "aws-sso")
        .of(top.text("startUrl"))
        .needing(Rotation::Unknown, NEEDS)
        .tokens(access, refresh, end);
    let metadata = draft.auth.metadata.get_or_insert_default();
    for (name, theirs) in [
        ("client_id", "clientId"),
        ("client_secret", "clientSecret"),
        ("region", "region"),
        ("start_url", "startUrl"),
    ] {
        if let Some(text) = top.text(theirs) {
            metadata.insert(name, text);
        }
    }
    findings.credentials.extend(draft.login());
}

const OWN: [&str; 10] = [
    "accessToken",
    "expiresAt",
    "refreshToken",
    "clientId",
    "clientSecret",
    "registrationExpiresAt",
    "region",
    "startUrl",
    "scopes",
    "grantTypes",
];

const NEEDS: &[Missing] = &[Missing {
    name: "grant",
    what: "IAM Identity Center's CreateToken is none of OAuth's forms",
}];
