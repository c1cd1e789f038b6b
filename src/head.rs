//! [`ResponseHead`]: status and headers of an upstream's answer.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The head of an upstream's answer: its status and headers as they came, without the credential's secrets.
///
/// `Debug` prints no cookies.
///
/// ```
/// use credpool::ResponseHead;
///
/// let mut head = ResponseHead::new(http::StatusCode::OK);
/// head.headers.insert("x-request-id", "req_7".parse().unwrap());
/// assert_eq!(head.request_id(), Some("req_7"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers. A value that held a secret of the credential has `***` in its place.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// A head without headers.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
        }
    }

    /// Under which id the vendor's support finds the request: `x-request-id` (OpenAI and most others), `request-id` (Anthropic),
    /// `apim-request-id` (Azure), `x-amzn-requestid` (Bedrock).
    pub fn request_id(&self) -> Option<&str> {
        REQUEST_IDS
            .iter()
            .find_map(|name| self.headers.get(*name)?.to_str().ok())
    }

    /// The name of an AWS service's error, from `x-amzn-errortype`
    /// (<https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>).
    pub(crate) fn aws_error_type(&self) -> Option<&str> {
        let name = self.headers.get("x-amzn-errortype")?.to_str().ok()?;
        Some(aws_name(name)).filter(|name| !name.is_empty())
    }

    /// The same head with its values cleaned: as they are where there is nothing to clean.
    pub(crate) fn cleaned(mut self, clean: impl for<'t> Fn(&'t str) -> Cow<'t, str>) -> Self {
        for (name, value) in &mut self.headers {
            // `Debug` of the map does not print it then.
            value.set_sensitive(*name == header::SET_COOKIE);
            let text = String::from_utf8_lossy(value.as_bytes());
            if let Cow::Owned(cleaned) = clean(&text)
                && cleaned != text
            {
                *value = HeaderValue::from_str(&cleaned)
                    .unwrap_or_else(|_| HeaderValue::from_static("***"));
            }
        }
        self
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .headers
            .iter()
            .filter(|(name, _)| **name != header::SET_COOKIE);
        f.debug_struct("ResponseHead")
            .field("status", &self.status.as_u16())
            .field("headers", &shown.collect::<Vec<_>>())
            .finish()
    }
}

/// The name of an error without its name space in front of a `#` and a URL behind a `:`.
pub(crate) fn aws_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

const REQUEST_IDS: [&str; 4] = [
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
];
