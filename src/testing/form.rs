//! Form fields of a received request.

use super::ReceivedRequest;
use crate::percent;

/// A field of a form.
pub(super) fn field(request: &ReceivedRequest, name: &str) -> Option<String> {
    let form = String::from_utf8_lossy(&request.body);
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(decoded(value))
}

/// A form value without its escapes.
pub(super) fn decoded(value: &str) -> String {
    let spaced = value.replace('+', " ");
    String::from_utf8_lossy(&percent::decoded(&spaced)).into_owned()
}
