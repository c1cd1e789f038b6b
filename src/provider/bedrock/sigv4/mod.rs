//! [AWS Signature Version 4](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html): the signature of a
//! request by an access key. Read on 2026-11-27; checked against AWS's own test suite.
//!
//! The crate `aws-sigv4` would bring 69 others with it, tokio among them; hash and MAC are in the tree already.

use std::collections::BTreeMap;
use std::fmt::Write;

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::auth::AwsKey;
use crate::clock::Timestamp;
use crate::percent::{decoded, encoded};

/// What a signature holds for: access key, region, service and time.
pub(super) struct Signing<'a> {
    pub(super) key: AwsKey<'a>,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) time: Timestamp,
}

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// As it is sent.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl Signing<'_> {
    /// The header `x-amz-date`: `20150830T123600Z`.
    pub(super) fn date(&self) -> String {
        self.time.format(&DATE).unwrap_or_default()
    }

    /// The header `Authorization`.
    pub(super) fn authorization(&self, request: &Signed<'_>) -> String {
        let headers = canonical_headers(request.headers);
        let names: Vec<&str> = headers.keys().copied().collect();
        let names = names.join(";");
        let scope = format!(
            "{}/{}/{}/aws4_request",
            self.day(),
            self.region,
            self.service
        );
        let canonical = canonical_request(request, &headers, &names);
        let text = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            self.date(),
            hash(canonical.as_bytes())
        );
        let signature = hex(mac(self.signing_key().as_ref(), &text).as_ref());
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.key.id
        )
    }

    /// A key for this day, region and service alone.
    fn signing_key(&self) -> Tag {
        let mut secret = Zeroizing::new(String::with_capacity(4 + self.key.secret.len()));
        secret.push_str("AWS4");
        secret.push_str(self.key.secret);
        let parts = [self.region, self.service, "aws4_request"];
        let of_day = mac(secret.as_bytes(), &self.day());
        let next = |key: Tag, part: &&str| mac(key.as_ref(), part);
        parts.iter().fold(of_day, next)
    }

    fn day(&self) -> String {
        let mut date = self.date();
        date.truncate("YYYYMMDD".len());
        date
    }
}

/// The time in a header `x-amz-date`.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text, &DATE).ok()
}

/// The request in the one form in which both sides compute its hash.
fn canonical_request(request: &Signed<'_>, headers: &Headers<'_>, names: &str) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query)
    );
    for (name, values) in headers {
        // What is written to a text does not fail.
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let _ = write!(text, "\n{names}\n{}", hash(request.body));
    text
}

/// The path with its dot segments and empty segments resolved, and encoded once more than it is sent, as all services but S3 have it.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::new();
    for segment in &segments {
        canonical.push('/');
        canonical.extend(encoded(segment));
    }
    if segments.is_empty() || path.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// The parameters, encoded and in the order of their names.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| -> String {
        let decoded = String::from_utf8_lossy(&decoded(text)).into_owned();
        encoded(&decoded).collect()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

type Headers<'a> = BTreeMap<&'a str, Vec<String>>;

/// The headers in the order of their names; of space, one in the place of several.
fn canonical_headers<'a>(headers: &[(&'a str, &str)]) -> Headers<'a> {
    let mut canonical = Headers::new();
    for (name, value) in headers {
        let words: Vec<_> = value.split_ascii_whitespace().collect();
        canonical.entry(*name).or_default().push(words.join(" "));
    }
    canonical
}

fn mac(key: &[u8], text: &str) -> Tag {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::utc_datetime;

    /// The requests of the suite that AWS publishes with <https://github.com/awslabs/aws-c-auth> (`tests/aws-signing-test-suite/v4`), signed
    /// in headers; without those for S3, whose paths are signed as they are.
    const SUITE: &str = include_str!("vectors.txt");

    /// One request of the suite, and what stands in its `Authorization`.
    fn check(name: &str, text: &str) {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let (first, lines) = head.split_once('\n').unwrap();
        let (method, target) = first.split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.split('\n') {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with(' ') => {
                    headers.push((name.to_ascii_lowercase(), value.to_owned()));
                }
                _ => headers.last_mut().unwrap().1.extend(["\n", line]),
            }
        }
        let told = headers.iter().find(|(name, _)| name == "authorization");
        let told = told.unwrap().1.clone();
        let names = told.split("SignedHeaders=").nth(1).unwrap();
        let names: Vec<_> = names.split(',').next().unwrap().split(';').collect();
        headers.retain(|(name, _)| names.contains(&&**name));
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let signing = Signing {
            key: AwsKey {
                id: "AKIDEXAMPLE",
                secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session_token: None,
            },
            region: "us-east-1",
            service: "service",
            time: utc_datetime!(2015-08-30 12:36:00),
        };
        assert_eq!(signing.date(), "20150830T123600Z");
        let body = body.as_bytes();
        let request = Signed {
            method,
            path,
            query,
            headers: &headers,
            body,
        };
        assert_eq!(signing.authorization(&request), told, "{name}");
    }

    #[test]
    fn signatures_are_those_of_the_vendors_suite() {
        let cases = SUITE.split("=== ").skip(1);
        let mut count = 0;
        for case in cases {
            let (name, text) = case.split_once('\n').unwrap();
            check(name, text.strip_suffix('\n').unwrap());
            count += 1;
        }
        assert_eq!(count, 31);
    }

    /// A model's id has signs that are encoded in the path already.
    #[test]
    fn a_path_is_encoded_once_more() {
        for (path, canonical) in [
            ("/model/a%3A0/converse", "/model/a%253A0/converse"),
            ("", "/"),
            ("/", "/"),
            ("//a///b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
        ] {
            assert_eq!(canonical_path(path), canonical);
        }
    }
}
