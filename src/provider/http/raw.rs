//! Raw calls: any request below the credential's address, with its headers, and the response as it is.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use super::call::VendorCall;
use super::exchange::response_head;
use super::headers::{CONNECTION_HEADERS, USER_AGENT_TEXT};
use super::metered::MeteredBody;
use super::url::{below, endpoint};
use crate::error::{Error, ErrorCode};
use crate::executor::RawAnswer;
use crate::request::RawRequest;

impl VendorCall<'_> {
    /// Sends a request as it is, with the credential's headers, to the same path below the credential's address.
    ///
    /// # Errors
    /// Those of [`Attempt::send`](crate::Attempt::send); [`Error::upstream`] for another status than 2xx and 304.
    pub(crate) fn raw(&self, request: &RawRequest) -> Result<RawAnswer, Error> {
        let head = self.raw_head(&request.head)?;
        let limits = self.attempt.stream_limits(&self.options.timeouts);
        let answer = self.send_signed(head, request.body.clone(), &limits, |status| {
            status.is_success() || status == StatusCode::NOT_MODIFIED
        })?;
        let limits = self.limits_of(answer.headers());
        let (head, body) = answer.into_parts();
        let head = response_head(head, self.auth);
        let body = MeteredBody::new(body, &head.headers, self.vendor.usage_reader());
        let mut answer = RawAnswer::new(head, body);
        answer.rate_limits = limits.map(Arc::new);
        Ok(answer)
    }

    fn raw_head(&self, asked: &Parts) -> Result<Parts, Error> {
        if [Method::CONNECT, Method::TRACE].contains(&asked.method) {
            let what = format!("a raw call cannot be made with method {}", asked.method);
            return Err(Error::new(ErrorCode::Config, what));
        }
        let mut own = self.vendor.credential_headers(self.auth)?;
        let mut headers = self.options.headers.clone();
        headers.extend(passed_on(&asked.headers));
        self.vendor.merge(&mut own, &mut headers);
        for name in CONNECTION_HEADERS {
            headers.remove(name);
        }
        headers.extend(own);
        let user_agent = HeaderValue::from_static(USER_AGENT_TEXT);
        headers.entry(USER_AGENT).or_insert(user_agent);

        if leads_upward(asked.uri.path()) {
            let what = "a raw call's path cannot hold the segments . and ..: it is one below the API's address";
            return Err(Error::new(ErrorCode::Config, what));
        }
        let base = self.vendor.address(self.auth)?;
        let path = self.path_of(asked);
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = asked.method.clone();
        head.uri = endpoint(self.auth, &below(&base, &path), &path, &self.options.query)?;
        head.headers = headers;
        Ok(head)
    }

    /// Path and query, without the parameters in which clients show a key.
    fn path_of(&self, asked: &Parts) -> String {
        let mut path = asked.uri.path().to_owned();
        let keys = self.vendor.key_parameters();
        let is_kept = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !keys.contains(&name)
        };
        let query = asked.uri.query().unwrap_or_default();
        let query: Vec<&str> = query.split('&').filter(is_kept).collect();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.join("&"));
        }
        path
    }
}

/// Whether a server that resolves dot segments ([RFC 3986 section 5.2.4](https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4)) would leave
/// the path that it is below.
fn leads_upward(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    path.split(['/', '\\'])
        .any(|segment| matches!(segment, "." | ".."))
}

/// The headers of a program's request that a vendor may see: those in which its own clients show a credential are none of them.
fn passed_on(asked: &HeaderMap) -> HeaderMap {
    let is_kept = |(name, _): &(&HeaderName, &HeaderValue)| !NOT_PASSED_ON.contains(*name);
    let kept = asked.iter().filter(is_kept);
    let mut headers: HeaderMap = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // RFC 9110 section 7.6.1: the connection's own fields are named in it.
    let named = asked.get_all(CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    for name in named.flat_map(|value| value.split(',')) {
        headers.remove(name.trim());
    }
    headers
}

const NOT_PASSED_ON: [HeaderName; 7] = [
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
