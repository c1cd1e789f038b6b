//! Wiping: values whose texts are overwritten in memory when they are dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

/// A value that may hold secrets as text.
pub(crate) trait Wipe {
    /// Overwrites every text in it. Names of members are no secrets and stay.
    fn wipe(&mut self);
}

/// A value that is wiped when it is dropped, wherever that is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Wiped<T: Wipe>(T);

impl<T: Wipe> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, which its new owner has to wipe.
    pub(crate) fn into_inner(mut self) -> T
    where
        T: Default,
    {
        mem::take(&mut self.0)
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Wipe> Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Wipe> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        self.zeroize();
    }
}

impl Wipe for Value {
    fn wipe(&mut self) {
        match self {
            Self::String(text) => text.zeroize(),
            Self::Array(values) => values.iter_mut().for_each(Wipe::wipe),
            Self::Object(members) => members.wipe(),
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}

impl Wipe for Map<String, Value> {
    fn wipe(&mut self) {
        self.values_mut().for_each(Wipe::wipe);
    }
}

impl Wipe for BTreeMap<String, String> {
    fn wipe(&mut self) {
        self.values_mut().for_each(Wipe::wipe);
    }
}

/// Makes room for `more` bytes; a text that grew by itself would leave a copy behind.
pub(crate) fn make_room(text: &mut Zeroizing<String>, more: usize) {
    if text.capacity() - text.len() < more {
        let capacity = text.len().saturating_add(more).saturating_mul(2);
        let mut larger = Zeroizing::new(String::with_capacity(capacity));
        larger.push_str(text);
        *text = larger;
    }
}

/// Bytes that are written piece by piece, and wiped when they are dropped or outgrow their place.
#[derive(Default)]
pub(crate) struct WipedBytes(Zeroizing<Vec<u8>>);

impl WipedBytes {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let bytes = &mut self.0;
        if bytes.capacity() - bytes.len() < piece.len() {
            let capacity = bytes.len().saturating_add(piece.len()).saturating_mul(2);
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(bytes);
            *bytes = larger;
        }
        bytes.extend_from_slice(piece);
    }

    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for WipedBytes {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.push(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end, or to one byte more than `limit`. `expected` is how much may come: a buffer that grew by itself would leave
/// copies of a secret behind.
pub(crate) fn read_wiped(
    mut reader: impl io::Read,
    expected: usize,
    limit: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; expected.min(limit) + 1]);
    let mut filled = 0;
    while filled <= limit {
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * filled).min(limit + 1)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The JSON of a value that holds secrets: no part of it stays behind.
pub(crate) fn wiped_json(value: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = WipedBytes::default();
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_ever() {
        let value = json!({"a": ["ä\u{1}\"", 1.5, null], "long": "x".repeat(1000)});
        assert_eq!(*wiped_json(&value).unwrap(), value.to_string().into_bytes());
    }

    #[test]
    fn every_text_is_emptied_and_every_name_stays() {
        let mut value = json!({"a": "s", "b": ["s", {"c": "s"}], "n": 1, "t": true, "z": null});
        value.wipe();
        assert_eq!(
            value,
            json!({"a": "", "b": ["", {"c": ""}], "n": 1, "t": true, "z": null})
        );
        let mut map = BTreeMap::from([("a".to_owned(), "s".to_owned())]);
        map.wipe();
        assert_eq!(map["a"], "");
    }

    #[test]
    fn room_is_made_by_copying() {
        let mut text = Zeroizing::new("secret".to_owned());
        make_room(&mut text, 100);
        assert!(text.capacity() - text.len() >= 100);
        let place = text.as_ptr();
        make_room(&mut text, 100);
        text.push_str(&"x".repeat(100));
        assert_eq!((text.as_ptr(), &text[..7]), (place, "secretx"));
    }

    #[test]
    fn what_is_taken_out_is_whole() {
        let wiped = Wiped::new("secret".to_owned());
        assert_eq!(format!("{wiped:?}"), "***");
        assert_eq!(wiped.into_inner(), "secret");
    }
}
