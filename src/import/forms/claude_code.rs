//! Claude Code: the login of a Claude account, beside those of MCP servers.

use serde_json::{Map, Value};

use super::super::draft::{Draft, PUBLIC_CLIENT};
use super::super::part::{Findings, Part};
use super::super::program::{Program, Rotation};

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    object.contains_key(LOGIN) || object.contains_key(SERVERS)
}

pub(super) fn read<'a>(_: &'a Map<String, Value>, top: &mut Part<'a>, findings: &mut Findings) {
    if let Some(mut login) = top.object(LOGIN) {
        login.know(&["refreshTokenExpiresAt"]);
        let (access, refresh) = (login.text("accessToken"), login.text("refreshToken"));
        let end = login.time("expiresAt");
        let mut draft = Draft::new(Program::ClaudeCode, "anthropic")
            .needing(Rotation::OneTime, PUBLIC_CLIENT)
            .tokens(access, refresh, end);
        login.copy(
            &["scopes", "subscriptionType", "rateLimitTier"],
            &mut draft.auth,
        );
        findings.credentials.extend(draft.login());
        login.end(findings);
    }
    if top.object(SERVERS).is_some() {
        top.note(
            SERVERS,
            "holds logins of MCP servers, which are no credentials of a model's API",
        );
    }
    top.know(&["organizationUuid"]);
}

const LOGIN: &str = "claudeAiOauth";
const SERVERS: &str = "mcpOAuth";
