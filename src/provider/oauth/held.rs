//! The tokens of a login that another program holds: read from that program's file anew, never asked for.

use crate::auth::{Auth, EXPIRY_NAMES, Metadata};
use crate::clock::{Timestamp, time_text};
use crate::error::{Error, ErrorCode};
use crate::import;
use crate::transport::NotSent;

/// The record with what its holder has written by now; none where no other program holds it.
///
/// # Errors
/// Code `refresh_failed`, retryable, where there is no other token in the file than the one that has ended or was refused.
pub(super) fn tokens(auth: &Auth, now: Timestamp) -> Option<Result<Auth, Error>> {
    let holder = import::holder(auth)?;
    let found = import::held_now(auth)
        .map_err(|error| not_renewed(error.message().to_owned(), NotSent::because(error.clone())));
    Some(found.and_then(|found| {
        let renewed = with(auth, &found);
        if renewed.metadata != auth.metadata || renewed.attributes != auth.attributes {
            return Ok(renewed);
        }
        let ended = found.expiration_time().at().filter(|end| *end <= now);
        let token = ended.map_or_else(
            || "its token is the same as before".to_owned(),
            |end| format!("its token ended at {}", time_text(end)),
        );
        let message = format!(
            "{holder} holds the login, and has not renewed it: {token}; run {holder}, or take the login over with \
             credpool::import::take_over"
        );
        Err(not_renewed(message, NotSent::new()))
    }))
}

/// What the holder does not know of stays.
fn with(auth: &Auth, found: &Auth) -> Auth {
    let mut renewed = auth.clone();
    let metadata = renewed.metadata.get_or_insert_default();
    for name in EXPIRY_NAMES {
        metadata.remove(name);
    }
    for (name, value) in found.metadata.iter().flat_map(Metadata::iter) {
        metadata.insert(name, value.clone());
    }
    for (name, value) in found.attributes.iter() {
        renewed.attributes.insert(name, value);
    }
    renewed
}

fn not_renewed(message: String, why: NotSent) -> Error {
    let error = Error::new(ErrorCode::RefreshFailed, message);
    error.with_retryable(true).with_source(why)
}
