//! The files of each program: how one is recognised, and what is read of it.

mod aws_sso;
pub(super) mod clasp;
mod claude_code;
mod codex;
mod copilot;
mod gcloud;
mod gemini_cli;
mod opencode;
pub(crate) mod pool;

use serde_json::{Map, Value};

use super::part::{Findings, Part};
use super::program::Program;

/// The program whose form an object has; none where that of no known program is certain.
pub(super) fn program_of(object: &Map<String, Value>) -> Option<Program> {
    form_of(object).map(|(program, ..)| *program)
}

/// As [`program_of`], and what is in the object.
pub(super) fn read(object: &Map<String, Value>) -> Option<(Program, Findings)> {
    let (program, _, read) = form_of(object)?;
    let mut findings = Findings::default();
    let mut top = Part::top(object);
    read(object, &mut top, &mut findings);
    top.end(&mut findings);
    Some((*program, findings))
}

fn form_of(object: &Map<String, Value>) -> Option<&'static (Program, Is, Read)> {
    FORMS.iter().find(|(_, is_in, _)| is_in(object))
}

type Is = fn(&Map<String, Value>) -> bool;
type Read = for<'a> fn(&'a Map<String, Value>, &mut Part<'a>, &mut Findings);

/// In this order: a record first, and what only looks like a token file of a pool last.
///
/// | program | form | as of |
/// |---|---|---|
/// | Codex | <https://github.com/openai/codex/blob/main/codex-rs/login/src/auth/storage.rs>, `token_data.rs` | commit 0656615, read 2026-11-27 |
/// | Claude Code | its source is not public; as its users report it: <https://github.com/anthropics/claude-code/issues/91009> | 2026-08-31 |
/// | clasp | <https://github.com/google/clasp/blob/master/src/auth/file_credential_store.ts> | commit 0fbfd7a, read 2026-11-27 |
/// | gcloud | <https://docs.cloud.google.com/dotnet/docs/reference/Google.Apis/latest/Google.Apis.Auth.OAuth2.JsonCredentialParameters>; in prose <https://google.aip.dev/auth/4110> | the former read 2026-11-27 |
/// | Gemini CLI | credentials of <https://github.com/googleapis/google-auth-library-nodejs> as they are, from a file of it | 2026-11 |
/// | GitHub Copilot | no source is public; as other programs read its files | 2026-11 |
/// | opencode | <https://github.com/sst/opencode/blob/dev/packages/opencode/src/auth/index.ts> | commit 11193ab, read 2026-11-27 |
/// | AWS | <https://github.com/boto/botocore/blob/develop/botocore/tokens.py> | commit 45c9c57, read 2026-11-27 |
static FORMS: [(Program, Is, Read); 10] = [
    (Program::Pool, pool::is_record, pool::read_record),
    (Program::Codex, codex::is_in, codex::read),
    (Program::ClaudeCode, claude_code::is_in, claude_code::read),
    (Program::Clasp, clasp::is_in, clasp::read),
    (Program::Gcloud, gcloud::is_in, gcloud::read),
    (Program::GeminiCli, gemini_cli::is_in, gemini_cli::read),
    (Program::GithubCopilot, copilot::is_in, copilot::read),
    (Program::Opencode, opencode::is_in, opencode::read),
    (Program::AwsSso, aws_sso::is_in, aws_sso::read),
    (Program::Pool, pool::is_token_file, pool::read_token_file),
];

/// Whether a member is a text that is not empty.
fn has_text(object: &Map<String, Value>, name: &str) -> bool {
    let text = object.get(name).and_then(Value::as_str);
    text.is_some_and(|text| !text.trim().is_empty())
}

fn has_object(object: &Map<String, Value>, name: &str) -> bool {
    object.get(name).is_some_and(Value::is_object)
}

/// Whether it is a map of objects, one of which at least is as `is_one` says, and none is anything else than an object.
fn is_map_of(object: &Map<String, Value>, is_one: impl Fn(&Map<String, Value>) -> bool) -> bool {
    let objects: Option<Vec<_>> = object.values().map(Value::as_object).collect();
    objects.is_some_and(|objects| objects.into_iter().any(is_one))
}

/// Google's token endpoint, which none of the files names:
/// <https://developers.google.com/identity/protocols/oauth2/web-server#offline>.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";
