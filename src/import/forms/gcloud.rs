//! gcloud and Google's console: files that say their type, <https://google.aip.dev/auth/4110>.

use serde_json::{Map, Value};

use super::super::credential::{Kind, Missing};
use super::super::draft::{Draft, PUBLIC_CLIENT, SECRET_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::gemini_cli::PROVIDER;
use crate::auth::{Auth, wiped_json};
use crate::error::Error;

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    let kind = object.get("type").and_then(Value::as_str);
    kind.is_some_and(|kind| TYPES.contains(&kind))
}

pub(super) fn read<'a>(
    object: &'a Map<String, Value>,
    top: &mut Part<'a>,
    findings: &mut Findings,
) {
    // The whole object is the metadata.
    top.know(&object.keys().map(String::as_str).collect::<Vec<_>>());
    let draft = Draft::new(Program::Gcloud, PROVIDER);
    match top.text("type").unwrap_or_default() {
        "authorized_user" => {
            let draft = draft
                .of(top.text("account"))
                .needing(Rotation::Reusable, SECRET_CLIENT);
            match with(draft, object, Auth::authorized_user) {
                Ok(draft) => findings.credentials.extend(draft.login()),
                Err(error) => top.note("", error.message()),
            }
        }
        "service_account" => {
            let draft = draft.of(top.text("client_email"));
            match with(draft, object, Auth::service_account) {
                Ok(draft) => findings.credentials.push(draft.finished(
                    Kind::ServiceAccount,
                    None,
                    Vec::new(),
                )),
                Err(error) => top.note("", error.message()),
            }
        }
        "external_account_authorized_user" => {
            // Its readers never write a new token back: the one in the file serves again and again.
            let draft = whole(draft, object).needing(Rotation::Reusable, PUBLIC_CLIENT);
            findings.credentials.extend(draft.login());
        }
        "external_account" => {
            let account = impersonated(top).or_else(|| top.text("audience"));
            match with(draft.of(account), object, Auth::external_account) {
                Ok(draft) => findings.credentials.push(draft.finished(
                    Kind::WorkloadIdentity,
                    None,
                    Vec::new(),
                )),
                Err(error) => top.note("", error.message()),
            }
        }
        "impersonated_service_account" => {
            let draft = whole(draft, object).of(impersonated(top));
            findings
                .credentials
                .push(draft.finished(Kind::Impersonation, None, vec![GRANT]));
        }
        other => {
            let reason = format!("says a type that is not imported: {other}");
            top.note("type", reason);
        }
    }
}

fn whole(mut draft: Draft, object: &Map<String, Value>) -> Draft {
    draft.auth.metadata = Some(object.clone().into());
    draft
}

/// With the record that the crate's own constructor makes of the file.
fn with(
    mut draft: Draft,
    object: &Map<String, Value>,
    made: fn(&'static str, &str) -> Result<Auth, Error>,
) -> Result<Draft, Error> {
    let text = wiped_json(object).unwrap_or_default();
    draft.auth = made(PROVIDER, &String::from_utf8_lossy(&text))?;
    Ok(draft)
}

/// The e-mail of the service account in the URL that gives its tokens.
fn impersonated<'a>(top: &mut Part<'a>) -> Option<&'a str> {
    let url = top.text("service_account_impersonation_url")?;
    let (_, account) = url.rsplit_once('/')?;
    account
        .split(':')
        .next()
        .filter(|account| !account.is_empty())
}

/// Those of Google's documentation.
const TYPES: [&str; 6] = [
    "authorized_user",
    "service_account",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
    "gdch_service_account",
];

const GRANT: Missing = Missing {
    name: "grant",
    what: "no grant of this version gets tokens for a file of this type",
};
