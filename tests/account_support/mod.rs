//! A vendor whose accounts have resources of their own: what one key has made, another one does not find.
#![allow(dead_code, reason = "each program of tests uses a part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{Auth, Error, Manager, Options, RawRequest};
use http::Method;
use serde_json::{Value, json};

/// What was made, by id: which key made it.
type Made = Arc<Mutex<BTreeMap<String, String>>>;

pub(crate) struct Accounts {
    pub(crate) upstream: Upstream,
    pub(crate) made: Made,
}

/// The keys of the two accounts; a credential's id is its key.
pub(crate) const KEYS: [&str; 2] = ["key-a", "key-b"];

impl Accounts {
    pub(crate) fn start() -> Self {
        let made = Made::default();
        let upstream = Upstream::start({
            let made = Arc::clone(&made);
            move |request| answer(&made, request)
        });
        Self { upstream, made }
    }

    /// Below which address a vendor's API is.
    pub(crate) fn base_url(&self, vendor: &str) -> String {
        match vendor {
            "openai" => format!("{}/v1", self.upstream.url()),
            "gemini" => format!("{}/v1beta", self.upstream.url()),
            _ => self.upstream.url(),
        }
    }

    pub(crate) fn credential(&self, vendor: &str, key: &str) -> Auth {
        Auth::api_key(vendor, key)
            .with_id(key)
            .with_attribute("base_url", self.base_url(vendor))
    }

    pub(crate) fn last_key(&self) -> String {
        key_of(self.upstream.requests().last().unwrap())
    }
}

fn key_of(request: &ReceivedRequest) -> String {
    let headers = ["x-api-key", "x-goog-api-key"];
    let key = headers.iter().find_map(|name| request.header(name));
    key.or(request.bearer()).unwrap().to_owned()
}

/// Answers with 404 where the request names what another account has made.
fn answer(made: &Made, request: &ReceivedRequest) -> Reply {
    let key = key_of(request);
    let text = format!(
        "{}?{} {}",
        request.path,
        request.query,
        String::from_utf8_lossy(&request.body)
    );
    let mut made = made.lock().unwrap();
    let mut named = made.iter().filter(|(id, _)| text.contains(id.as_str()));
    if let Some((id, _)) = named.find(|(_, owner)| **owner != key) {
        let error = json!({"error": {"message": format!("no such thing: {id}")}});
        return Reply::json(404, error.to_string());
    }
    let number = made.len();
    let mut make = |id: String| {
        made.insert(id.clone(), key.clone());
        id
    };
    let is_creation = request.method == "POST";
    let path = request.path.as_str();
    let answer = match path {
        "/v1/responses" if text.contains("\"stream\":true") => {
            let id = make(format!("resp_{number}x"));
            return streamed(&id);
        }
        "/v1/responses" => {
            json!({"id": make(format!("resp_{number}x")), "object": "response", "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]})
        }
        "/v1/files" if request.header("anthropic-version").is_some() => {
            json!({"id": make(format!("file_{number}x")), "type": "file"})
        }
        "/v1/files" => json!({"id": make(format!("file-{number}x")), "object": "file"}),
        "/v1/batches" => json!({"id": make(format!("batch_{number}x")), "object": "batch",
            "output_file_id": make(format!("file-out{number}x"))}),
        "/v1/messages/batches" => {
            json!({"id": make(format!("msgbatch_{number}x")), "type": "message_batch"})
        }
        "/v1/messages" => json!({"type": "message", "content": [], "stop_reason": "end_turn",
            "container": {"id": make(format!("container_{number}x"))}}),
        "/v1beta/cachedContents" => json!({"name": make(format!("cachedContents/c{number}x"))}),
        "/upload/v1beta/files" if request.query.is_empty() => {
            let url = format!(
                "https://vendor.example/upload/v1beta/files?upload_id={}",
                make(format!("UP{number}x"))
            );
            return Reply::json(200, "{}").header("x-goog-upload-url", &url);
        }
        "/upload/v1beta/files" => {
            let name = make(format!("files/f{number}x"));
            json!({"file": {"uri": format!("https://vendor.example/v1beta/{name}"), "name": name}})
        }
        "/v1beta/interactions" => {
            json!({"id": make(format!("v1_{number}x")), "status": "completed"})
        }
        _ if is_creation && path.split('/').count() == 3 => {
            json!({"id": make(format!("{}_{number}x", &path[4..])), "object": &path[4..path.len() - 1]})
        }
        _ => json!({"ok": true}),
    };
    Reply::json(200, answer.to_string())
}

fn streamed(id: &str) -> Reply {
    let response = |status| json!({"id": id, "object": "response", "status": status, "output": []});
    let event = |kind: &str, status| {
        let data = json!({"type": kind, "response": response(status)});
        (kind.to_owned(), data.to_string())
    };
    let text = json!({"type": "response.output_text.delta", "delta": "hi"}).to_string();
    Reply::named_sse([
        event("response.created", "in_progress"),
        ("response.output_text.delta".to_owned(), text),
        event("response.completed", "completed"),
    ])
}

/// A request without a body, or with one of JSON.
pub(crate) fn request(method: &Method, url: &str, body: Option<&Value>) -> http::Request<String> {
    let request = http::Request::builder().method(method).uri(url);
    match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(body.to_string()),
        None => request.body(String::new()),
    }
    .unwrap()
}

/// The answer to a raw call: who gave it, its head and its JSON.
pub(crate) fn ask(
    manager: &Manager,
    vendor: &str,
    request: impl Into<RawRequest>,
    options: &Options,
) -> Result<(String, Value), Error> {
    let answer = manager.execute_raw([vendor], request, options)?;
    let by = answer.body().auth_id().to_owned();
    let upload = answer.headers().get("x-goog-upload-url").cloned();
    let bytes = answer.into_body().into_bytes(1 << 20)?;
    let mut json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if let Some(upload) = upload {
        json = json!({"upload": upload.to_str().unwrap().split_once("vendor.example").unwrap().1});
    }
    Ok((by, json))
}
