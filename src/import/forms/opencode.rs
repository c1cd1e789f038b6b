//! opencode: logins and keys by provider.

use serde_json::{Map, Value};

use super::super::draft::{Draft, PUBLIC_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};
use super::is_map_of;

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    is_map_of(object, |entry| {
        let kind = entry.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| KINDS.contains(&kind))
    })
}

pub(super) fn read<'a>(_: &'a Map<String, Value>, top: &mut Part<'a>, findings: &mut Findings) {
    for (provider, mut entry) in top.objects() {
        let draft = Draft::new(Program::Opencode, provider).at(provider);
        match entry.text("type") {
            Some("oauth") => {
                let (access, refresh) = (entry.text("access"), entry.text("refresh"));
                let end = entry.time("expires");
                entry.know(&["enterpriseUrl"]);
                let rotation = if ROTATING.contains(&provider) {
                    Rotation::OneTime
                } else {
                    Rotation::Unknown
                };
                let draft = draft
                    .of(entry.text("accountId"))
                    .needing(rotation, PUBLIC_CLIENT)
                    .tokens(access, refresh, end);
                findings.credentials.extend(draft.login());
            }
            Some("api") => {
                entry.know(&["metadata"]);
                if let Some(key) = entry.text("key") {
                    findings.credentials.push(draft.key(key));
                }
            }
            _ => {
                entry.know(&["key", "token"]);
                entry.note("", "is of a type that is not imported");
            }
        }
        entry.end(findings);
    }
}

/// Its schema's.
const KINDS: [&str; 3] = ["oauth", "api", "wellknown"];

/// Providers whose refresh tokens serve once, see the table of the module.
const ROTATING: [&str; 2] = ["anthropic", "openai"];
