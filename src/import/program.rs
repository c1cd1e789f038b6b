//! The programs whose files are read, and whether the refresh tokens in them serve once.

use std::fmt;

/// A program that keeps credentials in a file of its own.
///
/// Prints as its name.
///
/// ```
/// use credpool::import::Program;
///
/// assert_eq!(Program::ClaudeCode.to_string(), "Claude Code");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Program {
    /// OpenAI's Codex: `~/.codex/auth.json`.
    Codex,
    /// Anthropic's Claude Code: `~/.claude/.credentials.json`.
    ClaudeCode,
    /// Google's Gemini CLI: `~/.gemini/oauth_creds.json`.
    GeminiCli,
    /// Google's clasp: `~/.clasprc.json`.
    Clasp,
    /// Google's gcloud and console: `application_default_credentials.json`, keys of service accounts.
    Gcloud,
    /// GitHub Copilot's editors: `~/.config/github-copilot/apps.json`, formerly `hosts.json`.
    GithubCopilot,
    /// opencode: `~/.local/share/opencode/auth.json`.
    Opencode,
    /// The AWS CLI and SDKs: `~/.aws/sso/cache/*.json`.
    AwsSso,
    /// A pool: one file for each credential in a directory that pools share, see [`FileStore`](crate::FileStore).
    Pool,
}

/// Whether a refresh token serves once: the first program that sends it gets the next one, and every other program has to log in
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rotation {
    /// Once.
    OneTime,
    /// Again and again.
    Reusable,
    /// Not documented: taken for one that serves once.
    Unknown,
}

impl Program {
    /// Its name in attribute `held_by`.
    pub(crate) fn id(self) -> &'static str {
        self.row().0
    }

    /// The program with this name in attribute `held_by`, as people know it.
    pub(crate) fn named(id: &str) -> Option<Self> {
        let all = ALL.iter().map(|(program, ..)| *program);
        all.into_iter().find(|program| program.id() == id)
    }

    fn row(self) -> (&'static str, &'static str) {
        let row = ALL.iter().find(|(program, ..)| *program == self);
        row.map_or(("", ""), |(_, id, name)| (id, name))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

const ALL: [(Program, &str, &str); 9] = [
    (Program::Codex, "codex", "Codex"),
    (Program::ClaudeCode, "claude-code", "Claude Code"),
    (Program::GeminiCli, "gemini-cli", "Gemini CLI"),
    (Program::Clasp, "clasp", "clasp"),
    (Program::Gcloud, "gcloud", "gcloud"),
    (Program::GithubCopilot, "github-copilot", "GitHub Copilot"),
    (Program::Opencode, "opencode", "opencode"),
    (Program::AwsSso, "aws-sso", "the AWS CLI"),
    (Program::Pool, "pool", "a pool"),
];
