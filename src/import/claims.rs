//! Claims of a JSON Web Token ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)), not verified: they name an account and an end to a
//! person, and decide nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::auth::{Wiped, read_time};
use crate::clock::Timestamp;
use crate::json::parse_lenient;

/// What a token says; nothing where it is opaque.
pub(super) struct Claims(Wiped<Map<String, Value>>);

impl Claims {
    pub(super) fn of(token: &str) -> Self {
        let read = || {
            let mut parts = token.split('.');
            let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
            let payload = payload.trim_end_matches('=');
            let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
            match parse_lenient(&json).ok()? {
                Value::Object(claims) => Some(claims),
                _ => None,
            }
        };
        Self(Wiped::new(read().unwrap_or_default()))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        filled(self.0.get(name))
    }

    /// A text in an object of claims, such as OpenAI's.
    pub(super) fn nested(&self, object: &str, name: &str) -> Option<&str> {
        filled(self.0.get(object)?.get(name))
    }

    /// When the token ends.
    pub(super) fn end(&self) -> Option<Timestamp> {
        read_time(self.0.get("exp")?)?.at()
    }
}

fn filled(value: Option<&Value>) -> Option<&str> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}
