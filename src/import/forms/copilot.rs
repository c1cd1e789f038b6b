//! GitHub Copilot: tokens of GitHub users by host, and by the app that asked for them.

use serde_json::{Map, Value};

use super::super::draft::Draft;
use super::super::part::{Findings, Part};
use super::super::program::Program;
use super::{has_text, is_map_of};

pub(super) fn is_in(object: &Map<String, Value>) -> bool {
    is_map_of(object, |host| has_text(host, "oauth_token"))
}

pub(super) fn read<'a>(_: &'a Map<String, Value>, top: &mut Part<'a>, findings: &mut Findings) {
    for (host, mut login) in top.objects() {
        login.know(&["githubAppId", "dev_override"]);
        let token = login.text("oauth_token");
        let draft = Draft::new(Program::GithubCopilot, "github-copilot")
            .at(host)
            .of(login.text("user"))
            .tokens(token, None, None);
        findings.credentials.extend(draft.login());
        login.end(findings);
    }
}
