//! Every endpoint of the vendors, as their pages show it: served, failed over before the head, refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use credpool::testing::{Reply, Upstream};
use credpool::{Availability, Format, Usage};
use http::StatusCode;

use crate::vendor;

/// A line of the table.
struct Endpoint<'a> {
    vendor: &'a str,
    method: &'a str,
    path: &'a str,
    media_type: Option<&'static str>,
    body: &'a [u8],
    reply: Reply,
    reply_body: Bytes,
    /// Tokens in and out.
    usage: Option<(u64, u64)>,
}

impl<'a> Endpoint<'a> {
    fn read(line: &'a str) -> Self {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [request, body, reply, usage] = columns[..] else {
            panic!("{line} has four columns");
        };
        let mut request = request.split(' ');
        let mut next = || request.next().expect(line);
        let (media_type, body) = match body {
            "" => (None, &b""[..]),
            "form" => (Some("multipart/form-data; boundary=x"), FORM),
            "binary" => (Some("application/octet-stream"), BINARY),
            json => (Some("application/json"), json.as_bytes()),
        };
        let (reply, reply_body) = match reply.strip_prefix("events ") {
            Some(events) => {
                let body = events.split(" ;; ").collect::<Vec<_>>().join("\n\ndata: ");
                let body = format!("data: {body}\n\n").into();
                (Reply::sse(events.split(" ;; ")), body)
            }
            None if reply == "binary" => {
                let body = Bytes::from_static(BINARY);
                (Reply::new(200).body(body.clone()), body)
            }
            None => {
                let body = Bytes::from(reply.to_owned());
                (Reply::json(200, body.clone()), body)
            }
        };
        let usage = usage.split_once(' ');
        Self {
            vendor: next(),
            method: next(),
            path: next(),
            media_type,
            body,
            reply: reply.header("x-request-id", "req_1"),
            reply_body,
            usage: usage.map(|(input, output)| (input.parse().unwrap(), output.parse().unwrap())),
        }
    }

    fn request(&self) -> http::Request<Bytes> {
        let request = http::Request::builder().method(self.method).uri(self.path);
        let media_type = self.media_type.iter();
        let request = media_type.fold(request, |request, media_type| {
            request.header("content-type", *media_type)
        });
        request.body(Bytes::copy_from_slice(self.body)).unwrap()
    }
}

fn endpoints() -> impl Iterator<Item = Endpoint<'static>> {
    let lines = include_str!("endpoints.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Endpoint::read)
}

/// A refusal in the vendor's own form.
fn refusal(vendor: &str, status: u16) -> String {
    let (kind, name) = match status {
        429 => ("rate_limit_error", "RESOURCE_EXHAUSTED"),
        404 => ("not_found_error", "NOT_FOUND"),
        413 => ("request_too_large", "INVALID_ARGUMENT"),
        _ => ("invalid_request_error", "INVALID_ARGUMENT"),
    };
    match vendor {
        "openai" => {
            format!(r#"{{"error":{{"message":"no","type":"{kind}","param":null,"code":null}}}}"#)
        }
        "anthropic" => format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}},"request_id":"req_1"}}"#
        ),
        _ => format!(r#"{{"error":{{"code":{status},"message":"no","status":"{name}"}}}}"#),
    }
}

#[test]
fn every_endpoint_is_served_and_fails_over_before_its_head_and_refuses_what_it_refuses() {
    for endpoint in endpoints() {
        // The status of the next answer; the one after a 429 is good.
        let status = Arc::new(AtomicUsize::new(429));
        let upstream = Upstream::start({
            let (status, reply, vendor) =
                (Arc::clone(&status), endpoint.reply.clone(), endpoint.vendor);
            move |_| match u16::try_from(status.load(Ordering::SeqCst)).unwrap() {
                200 => reply.clone(),
                refused => {
                    if refused == 429 {
                        status.store(200, Ordering::SeqCst);
                    }
                    Reply::json(refused, refusal(vendor, refused)).header("retry-after", "30")
                }
            }
        });
        let pool = vendor(endpoint.vendor, &upstream);
        let says = format!("{} {} {}", endpoint.vendor, endpoint.method, endpoint.path);

        let answer = pool.ask(endpoint.request());
        let answer = answer.unwrap_or_else(|error| panic!("{says}: {error}"));
        assert_eq!(answer.status(), StatusCode::OK, "{says}");
        assert_eq!(answer.headers()["x-request-id"], "req_1", "{says}");
        let body = answer.into_body();
        assert_eq!(body.attempts(), 2, "{says}");
        let server = body.auth_id().to_owned();
        assert_eq!(
            body.into_bytes(1 << 20).unwrap(),
            endpoint.reply_body,
            "{says}"
        );
        let (served_by, kind, usage) = pool.heard.last();
        assert_eq!((&served_by, kind), (&server, "success"), "{says}");
        let told = usage.map(|Usage { input, output, .. }| (input, output));
        assert_eq!(told, endpoint.usage, "{says}");

        let requests = upstream.requests();
        assert_eq!(requests.len(), 2, "{says}");
        for sent in &requests {
            let (path, query) = endpoint.path.split_once('?').unwrap_or((endpoint.path, ""));
            assert_eq!(
                (&*sent.method, &*sent.path, &*sent.query),
                (endpoint.method, path, query),
                "{says}"
            );
            assert_eq!(sent.body, endpoint.body, "{says}");
            assert_eq!(sent.header("content-type"), endpoint.media_type, "{says}");
        }
        let keys = ["authorization", "x-api-key", "x-goog-api-key"];
        let shown = |index: usize| keys.iter().find_map(|name| requests[index].header(name));
        assert_ne!(shown(0).unwrap(), shown(1).unwrap(), "{says}");

        // Another key would be refused as well, and the credential is not to blame.
        for refused in [400, 404, 413] {
            status.store(refused, Ordering::SeqCst);
            let before = upstream.request_count();
            let error = pool.ask(endpoint.request()).unwrap_err();
            let refused = u16::try_from(refused).unwrap();
            assert_eq!(error.http_status(), Some(refused), "{says}: {error}");
            assert_eq!(upstream.request_count(), before + 1, "{says}");
            let told = error.to_http_response(&Format::new(endpoint.vendor));
            assert_eq!(told.status(), refused, "{says}");
            assert_eq!(told.body(), &refusal(endpoint.vendor, refused), "{says}");
        }
        let ready = pool.manager.explain(endpoint.vendor, "");
        let ready = ready
            .iter()
            .filter(|one| one.availability == Availability::Ready);
        assert_eq!(ready.count(), 1, "{says}");
    }
}

const FORM: &[u8] =
    b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--x--\r\n";
const BINARY: &[u8] = b"\x01RIFF\0\xff\r\n\r\n";
