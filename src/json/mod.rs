//! JSON from outside: read once, with memory bounded by a small multiple of its size. Knows nothing of what it says.

mod bounded;
mod input;

pub(crate) use input::{
    BYTE_ORDER_MARK, Halves, parse_lenient, parse_piece, scalar_end, without_mark,
};
