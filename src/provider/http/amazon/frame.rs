//! One frame of an Amazon event stream: lengths, headers, payload, two checksums.
//!
//! By <https://smithy.io/2.0/aws/amazon-eventstream.html> and
//! <https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html> (read on 2026-11-27); the largest lengths are those of
//! botocore 1.43. All numbers are big-endian:
//!
//! | bytes | of |
//! |---|---|
//! | 4 | length of the whole frame |
//! | 4 | length of the headers |
//! | 4 | CRC-32 of the eight bytes before |
//! | | headers: each a name behind its length (1 byte), a type (1 byte), a value |
//! | | payload |
//! | 4 | CRC-32 of all bytes before |

use std::ops::Range;

/// What is wrong with a frame.
pub(super) type Fault = &'static str;

/// A frame's message: its headers that are texts, and where its payload is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    headers: Vec<(&'a str, &'a str)>,
    pub(super) payload: Range<usize>,
}

impl Message<'_> {
    /// The text of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// How long the frame is that begins here; `None` where that has not come yet.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some((prelude, _)) = bytes.split_first_chunk::<PRELUDE>() else {
        return Ok(None);
    };
    let [length, headers, checksum] = [0, 4, 8].map(|at| number(prelude, at));
    if crc32fast::hash(&prelude[..8]) != checksum {
        return Err("the checksum of its lengths is wrong");
    }
    let (length, headers) = (length as usize, headers as usize);
    let Some(payload) = length.checked_sub(OVERHEAD + headers) else {
        return Err("it is shorter than its parts");
    };
    if headers > LARGEST_HEADERS || payload > LARGEST_PAYLOAD {
        return Err("it is longer than a frame may be");
    }
    Ok(Some(length))
}

/// The message in a whole frame.
pub(super) fn message(frame: &[u8]) -> Result<Message<'_>, Fault> {
    let end = frame.len().saturating_sub(CHECKSUM);
    if crc32fast::hash(&frame[..end]) != number(frame, end) {
        return Err("its checksum is wrong");
    }
    let start = PRELUDE + number(frame, 4) as usize;
    let mut rest = frame
        .get(PRELUDE..start)
        .ok_or("it is shorter than its parts")?;
    let mut headers = Vec::new();
    while !rest.is_empty() {
        take_header(&mut rest, &mut headers).ok_or("its headers cannot be read")?;
    }
    Ok(Message {
        headers,
        payload: start..end,
    })
}

/// Takes the next header, and keeps it where it is a text; `None` for one that cannot be.
fn take_header<'a>(rest: &mut &'a [u8], texts: &mut Vec<(&'a str, &'a str)>) -> Option<()> {
    let name = take_short(rest)?;
    let kind = take(rest, 1)?[0];
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        BYTES | TEXT => usize::from(u16::from_be_bytes(*take(rest, 2)?.first_chunk()?)),
        _ => return None,
    };
    let value = take(rest, length)?;
    if kind == TEXT {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        texts.push((text(name)?, text(value)?));
    }
    Some(())
}

/// What stands behind its length of one byte, which is not zero.
fn take_short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(take(rest, 1)?[0]);
    (length > 0).then(|| take(rest, length))?
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_be_bytes(*number))
}

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
const OVERHEAD: usize = PRELUDE + CHECKSUM;
const LARGEST_HEADERS: usize = 128 * 1024;
const LARGEST_PAYLOAD: usize = 24 * 1024 * 1024;

/// Types of headers with a length of their own.
const BYTES: u8 = 6;
const TEXT: u8 = 7;
