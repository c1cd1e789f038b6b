//! Why a provider or a pick is refused before anything is sent, in words that say what to do.

use crate::auth::Auth;
use crate::clock::until;
use crate::error::{Error, ErrorCode};
use crate::executor::ProviderExecutor;
use crate::registry::{Query, Standing};
use crate::request::Request;
use crate::runtime::guard;
use crate::selection::Candidates;

pub(super) fn refused_format(
    provider: &str,
    executor: &dyn ProviderExecutor,
    request: &Request,
) -> Option<Error> {
    let format = request.format.as_ref()?;
    let speaks = guard(
        || format!("the executor for {provider}"),
        || executor.speaks(format),
    );
    match speaks {
        Ok(true) => None,
        Ok(false) => Some(Error::new(
            ErrorCode::UnsupportedFormat,
            format!(
                "the executor for {provider} does not speak format {}",
                format.as_str()
            ),
        )),
        Err(panicked) => Some(panicked),
    }
}

pub(super) fn misplaced(auth: &Auth) -> Error {
    Error::new(
        ErrorCode::Config,
        format!(
            "the selector chose {}, which is no candidate of this call",
            auth.id
        ),
    )
}

/// Why nobody was picked, in words that say what to do.
pub(super) fn nobody(candidates: &Candidates<'_>, standing: Standing, query: Query<'_>) -> Error {
    let Query {
        provider,
        model,
        pinned,
        now,
        ..
    } = query;
    let whose = pinned.map_or_else(
        || format!("credential of provider {provider}"),
        |id| format!("credential {id} of provider {provider}"),
    );
    match standing {
        Standing::NoCandidates => Error::new(
            ErrorCode::AuthNotFound,
            format!("no {whose} is registered, enabled and untried in this call"),
        ),
        Standing::Ready => Error::new(
            ErrorCode::AuthUnavailable,
            format!("the selector took none of the ready ones: no {whose} serves the call"),
        ),
        Standing::AllBlocked {
            candidates: count,
            earliest,
        } => {
            let returns = earliest.map_or_else(
                || "none of them returns by itself".to_owned(),
                |at| format!("the earliest returns at {at}"),
            );
            let reasons = if count <= MOST_REASONS {
                reasons(candidates)
            } else {
                String::new()
            };
            let error = Error::new(
                ErrorCode::AuthUnavailable,
                format!(
                    "every {whose} ({count}) is blocked for model {model:?}; {returns}{reasons}"
                ),
            );
            match earliest {
                Some(at) => error.with_retry_after(until(now, at)),
                None => error,
            }
        }
    }
}

fn reasons(candidates: &Candidates<'_>) -> String {
    let mut text = String::new();
    for blocked in candidates.blocked() {
        let why = blocked.error.map_or_else(
            || blocked.auth.status.to_string(),
            |error| error.to_string(),
        );
        text.push_str("; ");
        text.push_str(&blocked.auth.id);
        text.push_str(": ");
        text.push_str(&why);
    }
    text
}

/// A longer list of reasons helps nobody.
const MOST_REASONS: usize = 8;
