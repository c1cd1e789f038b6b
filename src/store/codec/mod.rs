//! A record as bytes and back: the credential and its state apart, so that a cooldown never rewrites a token.

mod record;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod text;

pub(crate) use record::{
    MOST_BYTES, Object, add_state, check, credential, from_credential, refused, shown, state,
    without_state,
};
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) use text::{MOST_RACES, overtaken};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) use text::{
    Parts, Texts, add_row, conflict, intent_text, read, read_intent, state_text, texts,
};
