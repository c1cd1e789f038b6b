//! Reads the files that command-line tools keep credentials in, and says of each credential what it is, whose it is, and what a refresh
//! of it needs.
//!
//! ```
//! use credpool::import::{self, Kind, Program, Renewal};
//!
//! // In a program: import::read(".claude/.credentials.json")
//! let file = br#"{"claudeAiOauth": {"accessToken": "a", "refreshToken": "r", "expiresAt": 1795730400000}}"#;
//! let import = import::parse(file)?;
//! let login = &import.credentials()[0];
//! assert_eq!((login.owner(), login.kind()), (Program::ClaudeCode, Kind::Login));
//! assert_eq!(login.renewal(), Renewal::Owner);
//! // Claude Code alone may send the refresh token, so that the record has none.
//! assert_eq!(login.auth().metadata.unwrap().text("refresh_token"), None);
//! # Ok::<(), credpool::Error>(())
//! ```
//!
//! # Files
//!
//! | file | credentials, and the provider of their records |
//! |---|---|
//! | Codex, `~/.codex/auth.json` | the login of a ChatGPT account (`codex`), an API key (`openai`) |
//! | Claude Code, `~/.claude/.credentials.json` | the login of a Claude account (`anthropic`) |
//! | Gemini CLI, `~/.gemini/oauth_creds.json` | the login of a Google user (`gemini`) |
//! | clasp, `~/.clasprc.json`, in its three forms | logins of Google users (`gemini`) |
//! | gcloud, `application_default_credentials.json`, and keys of service accounts | `authorized_user`, `service_account`, `external_account`, `external_account_authorized_user`, `impersonated_service_account` (`gemini`) |
//! | GitHub Copilot, `apps.json` or `hosts.json` | tokens of GitHub users, which GitHub exchanges for those of Copilot (`github-copilot`) |
//! | opencode, `~/.local/share/opencode/auth.json` | logins and keys, each of the provider that it is filed under |
//! | AWS, `~/.aws/sso/cache/*.json` | the session with IAM Identity Center, which AWS exchanges for credentials of a role (`aws-sso`) |
//! | a [`FileStore`](crate::FileStore)'s or another pool's, one file for each | records and token files as they are |
//!
//! gcloud's `credentials.db` is a database: [`read`] says so. A file of no known form is an error; a member that is not understood is
//! in [`Import::not_understood`], and never guessed at. Names and ends of accounts come from claims that are not verified.
//!
//! # Refresh tokens that serve once
//!
//! A refresh token that serves once belongs to one program: the second one that sends it ends the login of both.
//!
//! | vendor | refresh tokens | source |
//! |---|---|---|
//! | OpenAI | serve once: the second use is answered by `refresh_token_reused` | <https://github.com/openai/codex/issues/9634>, <https://github.com/Lampese/codex-switcher/issues/37>; read 2026-11-27 |
//! | Anthropic | serve once, as users observe it | <https://github.com/anthropics/claude-code/issues/80585>, <https://github.com/anthropics/claude-code/issues/88947>; read 2026-11-27 |
//! | Google | serve again and again: the answer to a refresh has no new one | <https://developers.google.com/identity/protocols/oauth2/web-server#offline>; not read again |
//! | GitHub, apps whose tokens end | serve once | <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens>; read 2026-11-27 |
//! | AWS IAM Identity Center | not documented: the answer may have a new one | <https://github.com/boto/botocore/blob/develop/botocore/tokens.py>; read 2026-11-27 |
//! | others, among them Google's workforce identities | not documented | |
//!
//! Where a token serves once, or that is not known, or something that a refresh needs is missing, the record is the owner's
//! ([`Renewal::Owner`]): it has the access token, and no refresh token. When that token has ended or is refused, the pool reads the file
//! again ([`refresh_tokens`](crate::provider::refresh_tokens)), and waits for its owner where there is no other token in it yet. Files in
//! the directory of a [`FileStore`](crate::FileStore) are read in the same way, and followed by
//! [hot reload](crate::Manager::start_hot_reload) as well. No file of another program is ever written to, but for logins of Google users
//! in a store's directory, which stay in their form.
//!
//! An operator who wants this pool to refresh such a login instead calls [`take_over`]; [`TakeOver::consequence`] says what that does to
//! the owner.

mod claims;
mod credential;
mod draft;
mod forms;
mod input;
mod part;
mod program;

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

pub use credential::{Credential, Kind, Missing, NotUnderstood, Renewal, TakeOver};
pub(crate) use forms::pool;
pub use program::{Program, Rotation};

use crate::auth::Auth;
use crate::error::Error;

/// What a file holds, from [`read`] or [`parse`].
///
/// Prints as lines without secrets: one for each credential, and one for each member that is not understood.
#[derive(Clone, Debug)]
pub struct Import {
    program: Program,
    credentials: Vec<Credential>,
    not_understood: Vec<NotUnderstood>,
}

impl Import {
    /// The program whose form the file has.
    pub fn program(&self) -> Program {
        self.program
    }

    /// The credentials in it, in the order of the file's members.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// Members that were not understood.
    pub fn not_understood(&self) -> &[NotUnderstood] {
        &self.not_understood
    }

    /// What is in an object; none where its form is not known.
    pub(crate) fn of(object: &Map<String, Value>) -> Option<Self> {
        let (program, findings) = forms::read(object)?;
        Some(Self {
            program,
            credentials: findings.credentials,
            not_understood: findings.not_understood,
        })
    }

    /// With the file that it was read from.
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        let credentials = self.credentials.into_iter();
        self.credentials = credentials
            .map(|credential| credential.of_file(file))
            .collect();
        self
    }

    /// Whether the store of files shows what is in an object as its owner's, rather than as a token file of its own.
    pub(crate) fn is_owners(object: &Map<String, Value>) -> bool {
        match forms::program_of(object) {
            None | Some(Program::Pool | Program::Gcloud | Program::GeminiCli) => false,
            Some(Program::Clasp) => forms::clasp::are_users(object),
            Some(_) => true,
        }
    }

    fn find(&self, member: &str) -> Option<&Credential> {
        let mut credentials = self.credentials.iter();
        credentials.find(|credential| credential.member == member)
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for credential in &self.credentials {
            writeln!(f, "{credential}")?;
        }
        for problem in &self.not_understood {
            writeln!(f, "{}: not understood: {problem}", self.program)?;
        }
        Ok(())
    }
}

/// Reads a file of up to 1 MiB. A byte order mark is passed over.
///
/// ```
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("auth.json");
/// std::fs::write(&file, r#"{"openrouter": {"type": "api", "key": "sk-or-1"}}"#)?;
///
/// let import = credpool::import::read(&file)?;
/// assert_eq!(import.to_string(), "opencode: API key `openrouter`\n");
/// let auth = import.credentials()[0].auth().with_id("openrouter");
/// assert_eq!((auth.provider.as_str(), auth.attributes.get("api_key")), ("openrouter", Some("sk-or-1")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Code `config` where the file cannot be read, is no JSON object, or has a form that is not known. Messages quote nothing of it.
pub fn read(path: impl AsRef<Path>) -> Result<Import, Error> {
    let path = path.as_ref();
    let bytes = input::bytes(path)?;
    let import = parsed(&bytes).map_err(|reason| input::unfit(path.display(), reason))?;
    Ok(import.in_file(path))
}

/// As [`read`], from memory. What is renewed by its owner alone cannot be followed without the file.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<Import, Error> {
    parsed(bytes).map_err(|reason| input::unfit("the file", reason))
}

fn parsed(bytes: &[u8]) -> Result<Import, String> {
    let object = input::object(bytes)?;
    Import::of(&object).ok_or_else(|| {
        let names = object.len();
        format!("has the form of no known program: none of its {names} members tells one")
    })
}

/// Has this pool refresh a credential that another program holds. Reads that program's file anew, and returns the record with the
/// refresh token, for [`Manager::update`](crate::Manager::update); id, label and the operator's attributes stay. Nothing is written to the
/// file, and the record no longer follows it.
///
/// ```
/// use credpool::import;
///
/// let home = tempfile::tempdir()?;
/// let file = home.path().join(".credentials.json");
/// std::fs::write(&file, r#"{"claudeAiOauth": {"accessToken": "a", "refreshToken": "r", "expiresAt": 1795730400000}}"#)?;
/// let held = import::read(&file)?.credentials()[0].auth().with_id("ada");
///
/// let taken = import::take_over(&held)?;
/// assert!(taken.consequence.contains("Claude Code loses its login"));
/// assert_eq!(taken.auth.metadata.unwrap().text("refresh_token"), Some("r"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Code `config` where no other program holds the record, its file is not known, cannot be read, or no longer has the credential.
pub fn take_over(auth: &Auth) -> Result<TakeOver, Error> {
    let credential = of_holder(auth)?;
    let mut taken = credential.take_over();
    let mut record = auth.clone().no_longer_held();
    record.metadata = taken.auth.metadata;
    for (name, value) in taken.auth.attributes.iter() {
        if record.attributes.get(name).is_none() {
            record.attributes.insert(name, value);
        }
    }
    taken.auth = record;
    Ok(taken)
}

/// A held record as its holder's file has it by now.
pub(crate) fn held_now(auth: &Auth) -> Result<Auth, Error> {
    Ok(of_holder(auth)?.held())
}

/// The name of the program that holds a record, for people.
pub(crate) fn holder(auth: &Auth) -> Option<String> {
    let holder = auth.holder()?;
    Some(Program::named(holder).map_or_else(|| holder.to_owned(), |program| program.to_string()))
}

fn of_holder(auth: &Auth) -> Result<Credential, Error> {
    let unfit = |reason: String| {
        Error::config(format!("credential {:?} {reason}", auth.id)).with_auth_id(&auth.id)
    };
    let Some(holder) = holder(auth) else {
        return Err(unfit("is held by no other program".into()));
    };
    let Some((file, member)) = auth.held_in() else {
        return Err(unfit(format!(
            "is held by {holder}, in a file that is not known: import that file by its path"
        )));
    };
    let import = read(file).map_err(|error| error.with_auth_id(&auth.id))?;
    let found = import
        .find(member)
        .filter(|found| auth.holder() == Some(found.owner.id()));
    found.cloned().ok_or_else(|| {
        unfit(format!(
            "is held by {holder}, and no longer in {}",
            file.display()
        ))
    })
}
