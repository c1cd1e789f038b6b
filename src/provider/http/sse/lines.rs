//! Where lines end, and what they begin with.

/// Whether a text begins with a field of an event. `None` where it may do so once more of it has come.
pub(crate) fn opens_field(text: &[u8]) -> Option<bool> {
    let names: [&[u8]; 5] = [b"", b"data", b"event", b"id", b"retry"];
    let end = text
        .iter()
        .position(|byte| matches!(byte, b':' | b'\r' | b'\n'));
    match end {
        Some(end) => Some(names.contains(&&text[..end])),
        None if names.iter().any(|name| name.starts_with(text)) => None,
        None => Some(false),
    }
}

/// Where the first CR or LF is, looking at eight bytes at a time.
pub(crate) fn find_line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // A byte of `word ^ pattern` is zero where the bytes are equal; the expression is zero when no byte is.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let (words, _) = bytes.as_chunks::<8>();
    let whole = words
        .iter()
        .position(|word| {
            let word = u64::from_ne_bytes(*word);
            has_zero(word ^ (ONES * u64::from(b'\n'))) | has_zero(word ^ (ONES * u64::from(b'\r')))
                != 0
        })
        .unwrap_or(words.len())
        * 8;
    bytes[whole..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map(|at| whole + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_is_known_by_its_whole_name() {
        for (text, opens) in [
            ("data: x", Some(true)),
            (": a comment", Some(true)),
            ("retry\r\n", Some(true)),
            ("id\ndata: x", Some(true)),
            ("eve", None),
            ("data", None),
            ("database", Some(false)),
            ("error: x", Some(false)),
            (" data: x", Some(false)),
        ] {
            assert_eq!(opens_field(text.as_bytes()), opens, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_end_is_found_where_it_is(bytes in prop::collection::vec(prop::sample::select(vec![b'\n', b'\r', b'a', 0x8A, 0x8D, 0xFF, 0x0B, 0x0C, 0x0E, 9]), 0..40)) {
            let plain = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            prop_assert_eq!(find_line_end(&bytes), plain);
        }
    }
}
