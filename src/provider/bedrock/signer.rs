//! [`RequestSigner`]: signs Bedrock's requests, by the server's time where the own clock is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use time::{Duration, UtcDateTime};

use super::sigv4::{Signed, Signing};
use super::{place, sigv4};
use crate::auth::{Auth, AwsKey};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::provider::http::Signer;
use crate::provider::http::credential_header::{key_value, sensitive};

/// Whether a credential signs: it has an access key, and no bearer token.
pub(super) fn signs(auth: &Auth) -> bool {
    let has_header = || {
        let mut attributes = auth.attributes.iter();
        attributes.any(|(name, _)| name.eq_ignore_ascii_case("header:authorization"))
    };
    auth.attributes.filled("api_key").is_none() && auth.aws_key().is_some() && !has_header()
}

/// Signs by Signature Version 4. How far the machine's clock is off is the same for all credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestSigner {
    /// Seconds by which the server's clock is ahead.
    skew: Arc<AtomicI64>,
}

impl Signer for RequestSigner {
    fn sign(
        &self,
        auth: &Auth,
        head: &mut Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let key = auth
            .aws_key()
            .ok_or_else(|| auth.unfit("it has no access key to sign with"))?;
        check(auth, &key)?;
        let signing = Signing {
            region: place::region(auth)?,
            service: SERVICE,
            time: self.corrected(now),
            key,
        };
        // The connection would add the same one; a signature holds for what it was made of.
        let host = head.uri.authority().map(ToString::to_string);
        let unfit = || auth.unfit("its address or its session token is no header");
        let mut set = |name: HeaderName, value: String| {
            let value = sensitive(value.into()).ok_or_else(unfit)?;
            head.headers.insert(name, value);
            Ok::<(), Error>(())
        };
        set(HOST, host.unwrap_or_default())?;
        set(TIME, signing.date())?;
        if let Some(token) = signing.key.session_token {
            set(SESSION, token.to_owned())?;
        }
        let authorization = {
            let headers = head.headers.iter();
            let signed = headers.filter(|(name, _)| is_signed(name));
            let headers: Vec<_> = signed
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            signing.authorization(&Signed {
                method: head.method.as_str(),
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                headers: &headers,
                body,
            })
        };
        let value = sensitive(authorization.into()).ok_or_else(unfit)?;
        head.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The largest body of
    /// [InvokeModel](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html).
    fn largest_body(&self) -> usize {
        25_000_000
    }

    /// Takes the server's time from an answer that refuses a signature and was made at another time than that one.
    fn learns_from(&self, request: &Parts, refused: &Error, now: Timestamp) -> bool {
        let Some(head) = refused.head() else {
            return false;
        };
        let is_refusal = |name: &str| {
            let mut names = MAY_BE_THE_TIME.iter();
            names.any(|known| known.eq_ignore_ascii_case(name))
        };
        if !head.aws_error_type().is_some_and(is_refusal) {
            return false;
        }
        let text = |headers: &HeaderMap, name| headers.get(name)?.to_str().ok().map(str::to_owned);
        let told = text(&head.headers, DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
        let signed = text(&request.headers, TIME).and_then(|time| sigv4::parse_date(&time));
        let Some((told, signed)) = told.map(UtcDateTime::from).zip(signed) else {
            return false;
        };
        if (told - signed).abs() < TOLERATED {
            return false;
        }
        let skew = (told - now).whole_seconds();
        self.skew.store(skew, Ordering::Relaxed);
        log::warn!(
            "the server's clock and this machine's are {} s apart: requests are signed by the server's",
            skew.abs()
        );
        true
    }
}

impl RequestSigner {
    fn corrected(&self, now: Timestamp) -> Timestamp {
        let skew = Duration::seconds(self.skew.load(Ordering::Relaxed));
        now.checked_add(skew).unwrap_or(now)
    }
}

/// The host, what the body is, and what is AWS's own. Other headers may be changed on the way.
fn is_signed(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

/// The id stands in a header beside other words; the secret is only a key, but a line end in it comes from a careless copy.
fn check(auth: &Auth, key: &AwsKey<'_>) -> Result<(), Error> {
    key_value(auth, key.secret)?;
    key_value(auth, key.session_token.unwrap_or("-"))?;
    if key
        .id
        .bytes()
        .all(|sign| sign.is_ascii_alphanumeric() || b"-_".contains(&sign))
    {
        Ok(())
    } else {
        Err(auth.unfit("its access_key_id has other signs than letters and digits: copy it again"))
    }
}

/// How AWS says that a signature is no good, for its time or for another reason: the names that its own clients take for a wrong clock
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>, `clock skew`; smithy-rs, aws-sdk-js).
const MAY_BE_THE_TIME: [&str; 6] = [
    "RequestTimeTooSkewed",
    "RequestExpired",
    "RequestInTheFuture",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
];

/// Servers allow five minutes.
const TOLERATED: Duration = Duration::minutes(4);

const SERVICE: &str = "bedrock";
const TIME: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers of a signature: another signature than the credential's is not passed on.
pub(super) const OF_A_SIGNATURE: [HeaderName; 3] = [
    TIME,
    SESSION,
    HeaderName::from_static("x-amz-content-sha256"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::head::ResponseHead;
    use http::{Request, StatusCode};
    use time::macros::utc_datetime;

    const NOW: Timestamp = utc_datetime!(2026-11-27 4:00);

    fn auth() -> Auth {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Auth::aws_access_key("bedrock", "AKIDEXAMPLE", secret).with_attribute("region", "us-east-1")
    }

    fn signed(signer: &RequestSigner, auth: &Auth, request: &Request<&str>) -> Parts {
        let (mut head, body) = request.clone().into_parts();
        signer.sign(auth, &mut head, body.as_bytes(), NOW).unwrap();
        head
    }

    fn text<'a>(head: &'a Parts, name: &str) -> &'a str {
        head.headers[name].to_str().unwrap()
    }

    /// The same requests, signed by botocore 1.43.
    #[test]
    fn signatures_are_those_of_the_vendors_client() {
        let host = "https://bedrock-runtime.us-east-1.amazonaws.com";
        let model = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a.b-v1%3A0";
        let post = Request::post(format!("{host}/model/{model}/converse"))
            .header("content-type", "application/json")
            .header("user-agent", "not signed")
            .body(r#"{"messages":[]}"#)
            .unwrap();
        let query = "statusEquals=Completed&maxResults=5&sortBy=a%20b";
        let get = Request::get(format!("{host}/async-invoke?{query}"));
        let get = get.body("").unwrap();
        let session = auth().with_metadata("session_token", "session/token+1==");
        for (auth, request, signature) in [
            (
                auth(),
                &post,
                "67c6ceebc4c86b873f7266b44adddade2d27059090f5d39c98a2817108687e95",
            ),
            (
                auth(),
                &get,
                "e83e7c8125a305b3eeeb9acd6414c9201f7285ec7c23daf9a281c768a37ab583",
            ),
            (
                session.clone(),
                &post,
                "d69bf11005a8aaab040e27a0c493db978bdc6e9830eecdcf348733cb45984640",
            ),
            (
                session,
                &get,
                "0736ebb2cf212c199b3ed942cd8f0a19ca4c064603f15d80795e9d899257ce13",
            ),
        ] {
            let head = signed(&RequestSigner::default(), &auth, request);
            let authorization = text(&head, "authorization");
            assert!(authorization.ends_with(signature), "{authorization}");
            assert_eq!(text(&head, "x-amz-date"), "20261127T040000Z");
            assert!(!format!("{head:?}").contains("wJalr"));
            assert!(!format!("{head:?}").contains("Signature"), "{head:?}");
        }
    }

    fn refused(name: &str, date: Option<&str>) -> Error {
        let mut head = ResponseHead::new(StatusCode::FORBIDDEN);
        head.headers
            .insert("x-amzn-errortype", name.parse().unwrap());
        if let Some(date) = date {
            head.headers.insert(DATE, date.parse().unwrap());
        }
        Error::upstream(403, "{}").with_head(head)
    }

    #[test]
    fn the_servers_time_is_taken_where_the_signature_was_made_at_another() {
        let get = Request::get("https://h/").body("").unwrap();
        let ahead = Some("Fri, 27 Nov 2026 05:00:00 GMT");
        for (name, date, learns) in [
            ("RequestTimeTooSkewed", ahead, true),
            ("InvalidSignatureException:http://internal/", ahead, true),
            ("com.amazon#SignatureDoesNotMatch", ahead, true),
            (
                "InvalidSignatureException",
                Some("Fri, 27 Nov 2026 04:03:59 GMT"),
                false,
            ),
            (
                "InvalidSignatureException",
                Some("Fri, 27 Nov 2026 03:55:00 GMT"),
                true,
            ),
            ("InvalidSignatureException", Some("yesterday"), false),
            ("InvalidSignatureException", None, false),
            ("AccessDeniedException", ahead, false),
        ] {
            let signer = RequestSigner::default();
            let first = signed(&signer, &auth(), &get);
            let refused = refused(name, date);
            assert_eq!(
                signer.learns_from(&first, &refused, NOW),
                learns,
                "{name} {date:?}"
            );
            let second = signed(&signer, &auth(), &get);
            assert_eq!(text(&second, "x-amz-date") != "20261127T040000Z", learns);
            // Another that was signed before is sent once more, too; one that was signed since is not.
            assert_eq!(signer.learns_from(&first, &refused, NOW), learns);
            if learns {
                assert!(!signer.learns_from(&second, &refused, NOW));
            }
        }
    }

    #[test]
    fn a_key_with_stray_signs_is_refused_and_not_shown() {
        let get = Request::get("https://h/").body("").unwrap();
        let region = |auth: Auth| auth.with_id("a").with_attribute("region", "us-east-1");
        for auth in [
            region(Auth::aws_access_key("p", "AKIA/canary", "secret")),
            region(Auth::aws_access_key("p", "AKIA, canary", "secret")),
            region(Auth::aws_access_key("p", "AKIA", "can\r\nary")),
            region(Auth::aws_access_key("p", "AKIA", "secret"))
                .with_metadata("session_token", "can ary"),
            Auth::aws_access_key("p", "AKIA", "canary").with_id("a"),
        ] {
            let (mut head, _) = get.clone().into_parts();
            let signer = RequestSigner::default();
            let error = signer.sign(&auth, &mut head, b"", NOW).unwrap_err();
            assert_eq!(
                (error.code(), error.auth_id()),
                (&ErrorCode::Config, Some("a"))
            );
            assert!(!format!("{error} {error:?}").contains("ary"), "{error}");
        }
    }
}
