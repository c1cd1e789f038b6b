//! How a command ends: the exit codes, and an error with what to do about it.

use credpool::{Error, ErrorCode};
use serde::Serialize;

/// How a command ended, for scripts. The help lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Well = 0,
    /// What was asked for was done, and not all is well: a credential does not serve.
    Unwell = 1,
    /// The command or a setting is wrong: nothing was done.
    Usage = 2,
    /// The store cannot be opened, read or written.
    Store = 3,
    /// There is no such credential.
    NotFound = 4,
    /// A vendor or a login server refused, or was not reached.
    Vendor = 5,
    Interrupted = 130,
}

/// What ends a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    Failed(Box<Failed>),
    /// The reader of the output has gone: there is nothing to say, and no fault.
    OutputClosed,
}

/// An error as it is shown: what happened, to which credential, what to do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failed {
    #[serde(skip)]
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) what_to_do: Option<String>,
}

impl Failed {
    pub(crate) fn usage(message: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            code: "usage".to_owned(),
            message: message.into(),
            id: None,
            what_to_do: Some(what_to_do.into()),
        }
    }

    /// Of one credential among several, of which others were seen to.
    pub(crate) fn of_one(message: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unwell,
            code: "conflict".to_owned(),
            ..Self::usage(message, what_to_do)
        }
    }

    pub(crate) fn about(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.what_to_do = Some(hint.into());
        self
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let (exit, hint) = meaning(error.code());
        Self {
            exit,
            code: error.code().as_str().to_owned(),
            message: error.message().to_owned(),
            id: error.auth_id().map(str::to_owned),
            what_to_do: hint.map(str::to_owned),
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Failed(Box::new(failed))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failed::from(error).into()
    }
}

fn meaning(code: &ErrorCode) -> (Exit, Option<&'static str>) {
    match code {
        ErrorCode::Config | ErrorCode::Unsupported | ErrorCode::ExecutorNotFound => {
            (Exit::Usage, None)
        }
        ErrorCode::Store => (
            Exit::Store,
            Some("look at the store: its server, its path, its permissions"),
        ),
        ErrorCode::Conflict => (
            Exit::Store,
            Some("another process changed the record meanwhile: run the command again"),
        ),
        ErrorCode::AuthNotFound => (
            Exit::NotFound,
            Some("`credpool list` names the credentials of the store"),
        ),
        ErrorCode::NeedsLogin => (Exit::Vendor, Some("log in again: `credpool login ID`")),
        ErrorCode::DeadlineExceeded => (Exit::Vendor, Some("run the command again")),
        ErrorCode::Transport => (
            Exit::Vendor,
            Some("look at the network, the proxy and the address, then run the command again"),
        ),
        ErrorCode::Cancelled => (Exit::Interrupted, None),
        ErrorCode::Panicked => (Exit::Unwell, None),
        _ => (Exit::Vendor, None),
    }
}
