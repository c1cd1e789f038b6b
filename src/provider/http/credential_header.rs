//! A credential's key or token as an HTTP header value.

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::auth::Auth;
use crate::error::Error;

/// What a credential shows to its provider: attribute `api_key`, else `access_token` of the metadata, else the same
/// inside a nested `token` or `Token` object.
///
/// ```
/// use credpool::provider::http::secret_of;
/// use credpool::{Auth, OAuthTokens};
///
/// assert_eq!(secret_of(&Auth::api_key("p", "k")), Some("k"));
/// assert_eq!(secret_of(&Auth::oauth("p", OAuthTokens::new("t"))), Some("t"));
/// ```
pub fn secret_of(auth: &Auth) -> Option<&str> {
    let key = auth.attributes.get("api_key").into_iter();
    let mut secrets = key.chain(auth.texts("access_token"));
    secrets.find(|secret| !secret.is_empty())
}

/// A key as the value of a header, marked sensitive.
///
/// # Errors
/// Code `config` where it is empty, longer than 8 KiB, or holds anything but visible ASCII.
///
/// ```
/// use credpool::Auth;
/// use credpool::provider::http::{key_value, secret_of};
///
/// let auth = Auth::api_key("p", "k-1");
/// let value = key_value(&auth, secret_of(&auth).unwrap_or_default())?;
/// assert!(value.is_sensitive() && value == "k-1");
/// assert!(key_value(&auth, "two\nlines").is_err());
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn key_value(auth: &Auth, secret: &str) -> Result<HeaderValue, Error> {
    check(auth, secret)?;
    sensitive(secret.to_owned().into()).ok_or_else(|| unfit(auth))
}

/// `Bearer` and a token as the value of a header, marked sensitive.
///
/// # Errors
/// As [`key_value`].
///
/// ```
/// use credpool::Auth;
/// use credpool::provider::http::bearer_value;
///
/// let auth = Auth::api_key("p", "key");
/// let value = bearer_value(&auth, "key")?;
/// assert!(value.is_sensitive());
/// assert_eq!(value, "Bearer key");
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn bearer_value(auth: &Auth, secret: &str) -> Result<HeaderValue, Error> {
    check(auth, secret)?;
    let mut text = Zeroizing::new(String::with_capacity(BEARER.len() + secret.len()));
    text.push_str(BEARER);
    text.push_str(secret);
    sensitive(text).ok_or_else(|| unfit(auth))
}

/// A header value that prints as `Sensitive` and is overwritten in memory when its last copy is dropped; `None` where HTTP does
/// not allow the text.
pub(crate) fn sensitive(text: Zeroizing<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Refuses what cannot be a bearer token: a line end would start another header, and other stray bytes come from a
/// careless copy.
fn check(auth: &Auth, secret: &str) -> Result<(), Error> {
    let fit = (1..=LONGEST).contains(&secret.len())
        && secret.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
    if fit { Ok(()) } else { Err(unfit(auth)) }
}

fn unfit(auth: &Auth) -> Error {
    auth.unfit(
        "its key or token is empty, longer than 8 KiB, or has characters other than visible ASCII: copy it again without \
         spaces and line ends",
    )
}

/// The error about a credential that has nothing to show.
pub(crate) fn missing(auth: &Auth) -> Error {
    auth.unfit("it has neither attribute api_key nor an access_token")
}

const BEARER: &str = "Bearer ";

const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_first_secret_that_is_there_speaks() {
        let auth = Auth::new("p").with_metadata("Token", json!({"access_token": "d"}));
        assert_eq!(secret_of(&auth), Some("d"));
        let auth = auth.with_metadata("token", json!({"access_token": "c"}));
        assert_eq!(secret_of(&auth), Some("c"));
        let auth = auth.with_metadata("access_token", "b");
        assert_eq!(secret_of(&auth), Some("b"));
        let auth = auth.with_attribute("api_key", "");
        assert_eq!(secret_of(&auth), Some("b"));
        let auth = auth.with_attribute("api_key", "a");
        assert_eq!(secret_of(&auth), Some("a"));
        assert_eq!(secret_of(&Auth::new("p")), None);
    }

    #[test]
    fn the_longest_key_still_goes() {
        let auth = Auth::new("p").with_id("a");
        assert!(
            bearer_value(&auth, &"k".repeat(LONGEST))
                .unwrap()
                .is_sensitive()
        );
        assert!(bearer_value(&auth, &"k".repeat(LONGEST + 1)).is_err());
    }

    proptest! {
        #[test]
        fn only_visible_ascii_passes_and_no_error_shows_it(secret in ".{1,30}|sk-[ -~]{8}[\r\n\t\u{80}]?") {
            let auth = Auth::new("p").with_id("team");
            let visible = secret.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
            match bearer_value(&auth, &secret) {
                Ok(value) => {
                    prop_assert!(visible);
                    prop_assert_eq!(value.to_str().ok(), Some(&*format!("Bearer {secret}")));
                }
                Err(error) => {
                    prop_assert!(!visible);
                    prop_assert_eq!(error.code(), &ErrorCode::Config);
                    let plain = "credential \"team\" cannot be used: its key or token is empty";
                    prop_assert!(error.message().starts_with(plain));
                }
            }
        }
    }
}
