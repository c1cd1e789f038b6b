//! Request headers: those of the credential, of the call and of the connection.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

use super::credential_header;
use crate::auth::Auth;
use crate::error::Error;

/// Where the credential's API is: at its attribute `base_url`, else at the vendor's.
pub(crate) fn base_url<'a>(vendors: &'a str, auth: &'a Auth) -> &'a str {
    auth.attributes.filled("base_url").unwrap_or(vendors)
}

/// The headers that a credential's attributes ask for: `header:NAME`, and those in `named` (attribute, header). Each is marked sensitive.
///
/// # Errors
/// Code `config`, naming the attribute, for one that is no header, or one of the connection.
///
/// ```
/// use credpool::Auth;
/// use credpool::provider::http::configured_headers;
///
/// let auth = Auth::api_key("p", "k").with_attribute("project", "blue").with_attribute("header:x-team", "7");
/// let headers = configured_headers(&auth, &[("project", "x-project")])?;
/// assert_eq!(headers["x-project"], "blue");
/// assert_eq!(headers["x-team"], "7");
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn configured_headers(auth: &Auth, named: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (attribute, value) in auth.attributes.iter() {
        let named = named.iter().find(|(name, _)| *name == attribute);
        let header = match (named, attribute.split_at_checked(HEADER_PREFIX.len())) {
            (Some((_, header)), _) => header,
            (None, Some((prefix, header))) if prefix.eq_ignore_ascii_case(HEADER_PREFIX) => header,
            _ => continue,
        };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let (Ok(header), Some(value)) = (
            HeaderName::try_from(header),
            credential_header::sensitive(value.to_owned().into()),
        ) else {
            let what = format!("attribute {attribute:?} is not a header that HTTP allows");
            return Err(auth.unfit(&what));
        };
        if CONNECTION_HEADERS.contains(&header) && header != AUTHORIZATION {
            let what =
                format!("attribute {attribute:?} is a header that belongs to the connection");
            return Err(auth.unfit(&what));
        }
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The headers of an API that takes a bearer token ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)): `Authorization` with what
/// the credential [shows](super::secret_of), and those of its attributes `header:NAME`. See [`Vendor`](super::Vendor) for an example.
///
/// # Errors
/// Code `config` where it has nothing to show, or a header that cannot be one.
///
/// ```
/// use credpool::Auth;
/// use credpool::provider::http::bearer_headers;
///
/// let headers = bearer_headers(&Auth::api_key("p", "key"))?;
/// assert_eq!(headers["authorization"], "Bearer key");
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn bearer_headers(auth: &Auth) -> Result<HeaderMap, Error> {
    let mut headers = configured_headers(auth, &[])?;
    if let Some(secret) = credential_header::secret_of(auth) {
        headers.insert(
            AUTHORIZATION,
            credential_header::bearer_value(auth, secret)?,
        );
    } else if !headers.contains_key(AUTHORIZATION) {
        return Err(credential_header::missing(auth));
    }
    Ok(headers)
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const AMAZON_EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

pub(super) const USER_AGENT_TEXT: &str = concat!("credpool/", env!("CARGO_PKG_VERSION"));
const HEADER_PREFIX: &str = "header:";

/// What a call's options must not touch: the connection's own headers, and compression, which would not be decoded.
pub(super) const CONNECTION_HEADERS: [HeaderName; 11] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
