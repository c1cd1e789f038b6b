//! JSON from outside: parsed once, with memory bounded by a small multiple of its size. Knows nothing of its meaning.

mod bounded;
mod input;

pub(crate) use input::{
    BYTE_ORDER_MARK, Halves, parse_lenient, parse_piece, scalar_end, without_mark,
};
