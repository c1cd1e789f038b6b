//! A record as two JSON texts, and back: the credential, and its runtime state apart from it, so that a cooldown never rewrites a token.
//!
//! For a [`Store`](crate::Store) of your own: [`encode`] before a save, [`encode_state`] before a save of the state alone, [`decode`] after a
//! load, [`Listing::add`](crate::Listing::add) and [`Changes::add`](crate::Changes::add) for many records. Both texts are opaque to a store,
//! but for being JSON objects. The stores of this crate with two columns use the same functions.
//!
//! ```
//! use credpool::{Auth, Listing, codec};
//! use std::collections::BTreeMap;
//!
//! let mut columns = BTreeMap::new();
//! let auth = Auth::api_key("openai", "sk-1").with_id("a");
//! let texts = codec::encode(&auth)?;
//! columns.insert(auth.id.clone(), (texts.credential().to_owned(), texts.state().to_owned()));
//!
//! let mut listing = Listing::default();
//! for (id, (credential, state)) in &columns {
//!     listing.add(id, credential, Some(state));
//! }
//! assert_eq!(listing.records[0].provider, "openai");
//! assert!(listing.skipped.is_empty());
//! # Ok::<(), credpool::Error>(())
//! ```

mod record;
mod text;

pub(crate) use record::{
    MOST_BYTES, Object, add_state, check, credential, from_credential, refused, shown, state,
    without_state,
};
pub(crate) use text::{MOST_RACES, add_row, object, object_text, overtaken};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) use text::{Parts, conflict, intent_text, read_intent};
pub use text::{Texts, decode, encode, encode_state};
