//! What the fuzz targets share: an upstream in memory, and how an input is divided.

mod upstream;

pub use upstream::Upstream;

use std::fmt::{Debug, Display};

use credpool::Timestamp;

/// The time in every target.
pub const NOW: Timestamp = time::macros::utc_datetime!(2026-11-27 04:00);

/// The secret of every credential.
pub const SECRET: &str = "canary-7f3a9c51e0";

/// The first `N` bytes of an input, which say how a target runs, and the rest.
pub fn settings<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    let (settings, rest) = input.split_first_chunk()?;
    Some((*settings, rest))
}

/// An input's parts up to each line of dashes.
pub fn parts(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = find(rest, BOUNDARY) {
        parts.push(&rest[..at]);
        rest = &rest[at + BOUNDARY.len()..];
    }
    parts.push(rest);
    parts
}

/// `input` in pieces whose lengths follow from `seed`: 0 leaves it whole, 1 takes it byte by byte.
pub fn cut(input: &[u8], seed: u8) -> Vec<Vec<u8>> {
    let longest = match seed {
        0 => return vec![input.to_vec()],
        1 => 1,
        seed => u32::from(seed),
    };
    let mut state = 0x9E37_79B9_u32 ^ (u32::from(seed) << 8);
    let mut pieces = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = (1 + state % longest) as usize;
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = tail;
    }
    pieces
}

/// No text that is shown holds the credential's secret.
pub fn holds_no_secret(shown: &(impl Display + Debug)) {
    let text = format!("{shown} {shown:?}");
    assert!(!text.contains(SECRET), "a secret is shown: {text}");
}

pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

const BOUNDARY: &[u8] = b"\n-----\n";
