//! The head of a request: where it goes, and the headers of the credential, the call and the connection.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::credential_header;
use super::url::endpoint;
use crate::auth::Auth;
use crate::error::Error;
use crate::request::Options;

/// What one vendor's requests have that others' do not.
pub(crate) trait Vendor: Sync {
    /// Where the API is, unless attribute `base_url` says otherwise.
    fn base_url(&self) -> &'static str;

    /// Puts the credential's headers in place of what is there.
    fn add_credential(&self, headers: &mut HeaderMap, auth: &Auth) -> Result<(), Error>;

    /// Settles what the credential's headers, `own`, and a call's have to do with each other. Of those that are in both
    /// afterwards, `own` ones go out.
    fn merge(&self, own: &mut HeaderMap, call: &mut HeaderMap) {
        let _ = (own, call);
    }
}

/// The head of a `POST` to `path` of the credential's API.
pub(crate) fn head(
    vendor: &dyn Vendor,
    auth: &Auth,
    path: &str,
    accept: &'static str,
    options: &Options,
) -> Result<Parts, Error> {
    let mut own = HeaderMap::new();
    vendor.add_credential(&mut own, auth)?;
    let mut call = options.headers.clone();
    vendor.merge(&mut own, &mut call);
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = http::Method::POST;
    head.uri = endpoint(auth, base_url(vendor, auth), path, &options.query)?;
    let headers = &mut head.headers;
    *headers = own;
    let mut default = |name, value| {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    };
    default(ACCEPT, accept);
    default(CONTENT_TYPE, JSON);
    if !call.contains_key(USER_AGENT) {
        default(USER_AGENT, USER_AGENT_TEXT);
    }
    for name in call.keys() {
        if CONNECTION_HEADERS.contains(name) || headers.contains_key(name) {
            continue;
        }
        for value in call.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    Ok(head)
}

/// Where the credential's API is.
pub(crate) fn base_url<'a>(vendor: &dyn Vendor, auth: &'a Auth) -> &'a str {
    auth.attributes
        .get("base_url")
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .unwrap_or(vendor.base_url())
}

/// Puts the headers `own` in place of what is there.
pub(crate) fn put(headers: &mut HeaderMap, own: HeaderMap) {
    if headers.is_empty() {
        *headers = own;
    } else {
        headers.extend(own);
    }
}

/// The headers that the credential's attributes ask for: `header:NAME`, and those in `named` (attribute, header).
pub(crate) fn configured(auth: &Auth, named: &[(&str, &str)]) -> Result<HeaderMap, Error> {
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
            return Err(credential_header::config(auth, &what));
        };
        if CONNECTION_HEADERS.contains(&header) && header != AUTHORIZATION {
            let what =
                format!("attribute {attribute:?} is a header that belongs to the connection");
            return Err(credential_header::config(auth, &what));
        }
        headers.insert(header, value);
    }
    Ok(headers)
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

const USER_AGENT_TEXT: &str = concat!("credpool/", env!("CARGO_PKG_VERSION"));
const HEADER_PREFIX: &str = "header:";

/// What a call's options must not touch: the connection's own headers, and compression, which nobody would undo.
const CONNECTION_HEADERS: [HeaderName; 11] = [
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
