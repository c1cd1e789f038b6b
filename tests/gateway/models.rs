//! Names of the pool's own, as clients of each vendor ask for them: aliases and chains.

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use serde_json::{Value, json};

use crate::programs::Gateway;

/// Serves its own models, each by name, and is out of `busy`.
fn upstream() -> Upstream {
    Upstream::start(|request: &ReceivedRequest| {
        let path = &*request.path;
        let stream = || request.json()["stream"] == true;
        let model = match path.split_once("/models/") {
            Some((_, rest)) => rest.split(':').next().unwrap_or_default().to_owned(),
            None => named(request),
        };
        match path {
            "/v1/models" if request.header("x-api-key").is_some() => Reply::json(
                200,
                r#"{"data":[{"type":"model","id":"own","display_name":"Own"}],"has_more":false}"#,
            ),
            "/v1/models" => Reply::json(
                200,
                r#"{"object":"list","data":[{"id":"own","owned_by":"vendor"}]}"#,
            ),
            "/v1beta/models" => Reply::json(200, r#"{"models":[{"name":"models/own"}]}"#),
            _ if model == "busy" => Reply::json(429, "{}").header("retry-after", "600"),
            _ if model != "own" => Reply::json(404, r#"{"error":{"message":"no such model"}}"#),
            "/v1/messages" if stream() => Reply::sse([
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
                r#"{"type":"message_stop"}"#,
            ]),
            "/v1/chat/completions" if stream() => Reply::sse([
                r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}"#,
                "[DONE]",
            ]),
            _ if path.ends_with(":streamGenerateContent") => Reply::sse([
                r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#,
            ]),
            _ => Reply::json(200, r#"{"model":"own","text":"hi"}"#),
        }
    })
}

/// The model in JSON, or in a form.
fn named(request: &ReceivedRequest) -> String {
    let body = String::from_utf8_lossy(&request.body);
    match body.split_once("name=\"model\"\r\n\r\n") {
        Some((_, rest)) => rest.lines().next().unwrap_or_default().to_owned(),
        None => {
            let json: Value = serde_json::from_str(&body).unwrap_or_default();
            json["model"].as_str().unwrap_or_default().to_owned()
        }
    }
}

/// A key for each vendor, which has the upstream's model by two names.
fn gateway(upstream: &Upstream) -> Gateway {
    let vendors = [("openai", "/v1"), ("anthropic", ""), ("gemini", "/v1beta")];
    let records = vendors.map(|(provider, base)| {
        json!({"id": provider, "provider": provider, "attributes": {
            "api_key": "sk", "base_url": format!("{}{base}", upstream.url()), "models": "fast=own, first=busy"}})
    });
    Gateway::with(records, &["best=first,fast"])
}

/// How a vendor's client shows its key.
fn key_of(provider: &str) -> (&'static str, &'static str) {
    match provider {
        "anthropic" => ("anthropic-version", "2023-06-01"),
        "gemini" => ("x-goog-api-key", "of-the-client"),
        _ => ("authorization", "Bearer of-the-client"),
    }
}

/// A request of a vendor's client: its path and its body.
fn request_for(provider: &str, model: &str, stream: bool) -> (String, String) {
    let body = json!({"model": model, "messages": [], "max_tokens": 9, "stream": stream});
    match (provider, stream) {
        ("openai", _) => ("/v1/chat/completions".to_owned(), body.to_string()),
        ("anthropic", _) => ("/v1/messages".to_owned(), body.to_string()),
        (_, false) => (
            format!("/v1beta/models/{model}:generateContent"),
            r#"{"contents":[]}"#.to_owned(),
        ),
        (_, true) => (
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            r#"{"contents":[]}"#.to_owned(),
        ),
    }
}

#[test]
fn a_client_of_each_vendor_asks_for_an_alias_and_for_a_chain() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    for provider in ["openai", "anthropic", "gemini"] {
        let (name, value) = key_of(provider);
        let ask = |model: &str, stream: bool| {
            let (path, body) = request_for(provider, model, stream);
            let mut answer = ureq::post(format!("{}{path}", gateway.url()))
                .config()
                .http_status_as_error(false)
                .build()
                .header(name, value)
                .send(body)
                .unwrap();
            let kind = answer
                .headers()
                .get("content-type")
                .unwrap()
                .to_str()
                .unwrap();
            let is_stream = kind.contains("event-stream");
            let status = answer.status().as_u16();
            (
                status,
                is_stream,
                answer.body_mut().read_to_string().unwrap(),
            )
        };
        let asked = || {
            let all = upstream.requests();
            all.into_iter().map(|request| {
                let (path, _) = request.path.split_once(':').unwrap_or((&request.path, ""));
                match path.split_once("/models/") {
                    Some((_, model)) => model.to_owned(),
                    None => named(&request),
                }
            })
        };
        // The chain's first link is asked once: then its model is out.
        for (model, stream, expected) in [
            ("fast", false, vec!["own"]),
            ("fast", true, vec!["own"]),
            ("best", true, vec!["busy", "own"]),
            ("best", false, vec!["own"]),
            ("own", false, vec!["own"]),
        ] {
            let before = upstream.request_count();
            let (status, is_stream, text) = ask(model, stream);
            assert_eq!(
                (status, is_stream),
                (200, stream),
                "{provider} {model}: {text}"
            );
            assert!(text.contains("hi"), "{provider} {model}: {text}");
            let new: Vec<_> = asked().skip(before).collect();
            assert_eq!(new, expected, "{provider} {model}");
        }
        let before = upstream.request_count();
        let (status, is_stream, text) = ask("first", true);
        assert_eq!((status, is_stream), (429, false), "{provider}: {text}");
        assert_eq!(
            upstream.request_count(),
            before,
            "{provider}: its model is out"
        );
    }
}

#[test]
fn an_alias_may_stand_in_a_form() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let form = |model: &str| {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\na--x\r\n--\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--x--\r\n"
        )
    };
    for model in ["fast", "best"] {
        let answer = ureq::post(format!("{}/v1/audio/transcriptions", gateway.url()))
            .header("content-type", "multipart/form-data; boundary=x")
            .send(form(model));
        assert_eq!(answer.unwrap().status(), 200, "{model}");
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&sent.body), form("own"), "{model}");
    }
}

#[test]
fn lists_of_models_show_aliases_and_chains_behind_the_vendors_own() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    for (provider, path, member, name, own) in [
        ("openai", "/v1/models", "data", "id", "owned_by"),
        (
            "anthropic",
            "/v1/models?limit=20",
            "data",
            "id",
            "display_name",
        ),
        ("gemini", "/v1beta/models", "models", "name", "name"),
    ] {
        let (header, value) = key_of(provider);
        let list = |path: &str| {
            let url = format!("{}{path}", gateway.url());
            let mut answer = ureq::get(url).header(header, value).call().unwrap();
            let text = answer.body_mut().read_to_string().unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let names = |list: &Value| {
            let entries = list[member].as_array().unwrap().iter();
            let names =
                entries.map(|entry| entry[name].as_str().unwrap().trim_start_matches("models/"));
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let first = list(path);
        assert_eq!(
            names(&first),
            ["own", "best", "fast", "first"],
            "{provider}"
        );
        assert!(
            first[member][0][own].is_string(),
            "{provider}: as the vendor has it"
        );
        let separator = if path.contains('?') { '&' } else { '?' };
        for next in ["after_id=own", "pageToken=x"] {
            let next = list(&format!("{path}{separator}{next}"));
            assert_eq!(names(&next), ["own"], "{provider}: a later page");
        }
        // One of the names alone is the vendor's model.
        let one = list(&format!("{}/fast", path.split('?').next().unwrap()));
        assert_eq!(one["model"], "own", "{provider}");
        assert!(
            upstream
                .requests()
                .pop()
                .unwrap()
                .path
                .ends_with("/models/own")
        );
    }
}
