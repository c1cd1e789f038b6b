//! Form fields of a received request.

use super::ReceivedRequest;

/// A field of a form.
pub(super) fn field(request: &ReceivedRequest, name: &str) -> Option<String> {
    let form = String::from_utf8_lossy(&request.body);
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(decoded(value))
}

/// A form value without its escapes.
pub(super) fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0);
                bytes.extend(u8::try_from(digit(*high) * 16 + digit(*low)));
                rest = after;
            }
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
