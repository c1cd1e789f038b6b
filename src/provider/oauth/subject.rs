//! Gets a workload's subject token, anew each time: what issues it replaces it before it ends.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::endpoint::send;
use crate::auth::{Auth, Secret, Source, SubjectToken, Wiped, read_wiped};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::json::parse_lenient;
use crate::transport::check_url;

/// The token that the source has now.
pub(super) fn get(attempt: &Attempt, auth: &Auth, token: &SubjectToken) -> Result<Secret, Error> {
    let text = match &token.source {
        Source::File(path) => read_file(path).map_err(|error| {
            let place = path.display();
            failed(auth, &format!("the file {place} cannot be read: {error}")).with_source(error)
        })?,
        Source::Variable(name) => match std::env::var(name) {
            Ok(value) => Zeroizing::new(value.into_bytes()),
            Err(_) => return Err(failed(auth, &format!("the variable {name} is not set"))),
        },
        Source::Url(url) => fetch(attempt, auth, token, url)?,
        Source::Callback => {
            let Some(got) = auth.subject_token() else {
                let what = "its subject token comes from a callback, and it has none";
                return Err(auth.unfit(what));
            };
            let got =
                got.map_err(|error| failed(auth, "the callback failed").with_source(error))?;
            Zeroizing::new(got.expose().as_bytes().to_vec())
        }
    };
    let found = match &token.member {
        None => std::str::from_utf8(&text)
            .ok()
            .map(|text| text.trim().to_owned()),
        Some(name) => member(&text, name),
    };
    match found.map(Secret::new) {
        Some(found) if !found.is_empty() => Ok(found),
        _ => Err(failed(auth, "what its source holds is no token")),
    }
}

fn member(text: &[u8], name: &str) -> Option<String> {
    let json = Wiped::new(parse_lenient(text).ok()?);
    json.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let bytes = read_wiped(&mut File::open(path)?, USUAL, LONGEST)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    Ok(bytes)
}

fn fetch(
    attempt: &Attempt,
    auth: &Auth,
    token: &SubjectToken,
    url: &str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let answer = send(attempt, auth, url, |auth| {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = check_url(url, auth)?;
        for (name, value) in &token.headers {
            let (name, value) = header(auth, name, value)?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    })?;
    let status = answer.status();
    let body = answer.into_body().into_secret(LONGEST)?;
    if !status.is_success() {
        // What it says may quote the request.
        let what = format!("its source answered HTTP {}", status.as_u16());
        return Err(failed(auth, &what));
    }
    Ok(body)
}

/// A header that an exchange, or the source of a subject token, brings along.
pub(super) fn header(
    auth: &Auth,
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), Error> {
    let name = HeaderName::try_from(name);
    let value = HeaderValue::try_from(value);
    match (name, value) {
        (Ok(name), Ok(mut value)) => {
            value.set_sensitive(true);
            Ok((name, value))
        }
        _ => Err(auth.unfit("a header of its token exchange is not valid")),
    }
}

/// Another attempt may find a token.
fn failed(auth: &Auth, what: &str) -> Error {
    let what = format!("credential {:?} got no subject token: {what}", auth.id);
    let error = Error::new(ErrorCode::RefreshFailed, what);
    error.with_auth_id(&auth.id).with_retryable(true)
}

/// In bytes.
const LONGEST: usize = 64 * 1024;
const USUAL: usize = 4 * 1024;
