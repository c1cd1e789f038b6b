//! JSON from outside: parsed once, with memory bounded by a small multiple of its size. Knows nothing of its meaning, but where in it an error
//! stands.

mod bounded;
mod error_layers;
mod input;
mod members;

pub(crate) use error_layers::{embedded, error_body, error_layers};
pub(crate) use input::{
    BYTE_ORDER_MARK, Halves, parse_lenient, parse_piece, scalar_end, without_mark,
};
pub(crate) use members::{Member, Members, text_of, with_text};
