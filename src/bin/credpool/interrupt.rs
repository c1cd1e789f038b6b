//! Ctrl-C, and the signals with which a system ends a program.

use credpool::{CancelToken, Error, ErrorCode};

/// A token that is cancelled by them, from now on.
pub(crate) fn token() -> Result<CancelToken, Error> {
    let token = CancelToken::new();
    let thrown = token.clone();
    ctrlc::set_handler(move || thrown.cancel()).map_err(|error| {
        Error::new(
            ErrorCode::Config,
            format!("Ctrl-C cannot be heard: {error}"),
        )
    })?;
    Ok(token)
}
