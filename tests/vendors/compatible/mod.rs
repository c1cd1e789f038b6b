//! Each row of the table of compatible vendors, by its own executor, against what its pages show.

mod sheets;

use std::path::Path;

use credpool::provider::compatible::{self, Address, CompatibleVendor, KeyPlacement};
use credpool::provider::http::Dialect;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, ErrorCode, FailureKind, FailurePolicy, Manager, Options, RawRequest, Request, Scope,
    ToolCall,
};
use serde_json::Value;

use crate::replay::{Api, Play, Played, events};

/// What a vendor's pages show.
pub struct Sheet {
    /// The vendor's name as its users know it.
    pub title: &'static str,
    pub vendor: CompatibleVendor,
    /// Where its shapes were seen.
    pub sources: Vec<Source>,
    /// The shapes of which no page, SDK or report was seen: they are OpenAI's, or what people remember of the vendor.
    pub unseen: &'static [Shape],
    /// Places that are named for it, and were not seen on [`DAY`].
    pub more: &'static [&'static str],
    /// A plain reply: `Hi there`, for 3 tokens and 2.
    pub reply: Value,
    /// The same as a stream.
    pub stream: Vec<Value>,
    /// A stream that calls `weather` with `{"city":"Rome"}` under the id `call_1`.
    pub tools: Vec<Value>,
    /// A piece with the reasoning `hm`, where the vendor has models that think.
    pub thought: Option<Value>,
    /// The comment that a stream has while there is nothing to say; empty where none is known.
    pub silence: &'static str,
    /// A 429: headers, body, what it is, and the wait that it tells in seconds.
    pub limited: (Headers, &'static str, FailureKind, Option<u64>),
    /// Other errors: status, headers, body, what each is and what it counts against, and the wait that it tells in seconds.
    pub errors: &'static [(u16, Headers, &'static str, FailureKind, Scope, Option<u64>)],
    /// Reasons for the end of a reply, and whether it has failed then.
    pub ends: &'static [(&'static str, bool)],
}

type Headers = &'static [(&'static str, &'static str)];

/// A page, a file of an SDK or a report, the day on which it or a copy of it was looked at, and the shapes that it shows.
pub struct Source {
    pub place: &'static str,
    pub day: &'static str,
    pub shows: &'static [Shape],
}

/// What a sheet has of a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Reply,
    Stream,
    Tools,
    Thought,
    Silence,
    Limits,
    Errors,
    Ends,
}

const DAY: &str = "2026-11-28";

fn seen(place: &'static str, shows: &'static [Shape]) -> Source {
    let day = DAY;
    Source { place, day, shows }
}

impl Sheet {
    fn api(&self) -> Api {
        if self.vendor.alt == Some("responses") {
            Api::Responses
        } else {
            Api::Chat
        }
    }

    fn play(&self) -> Play {
        Play::new(self.api()).by(&self.vendor)
    }

    fn stream(&self, events_of: &[Value]) -> Played {
        let texts = events_of.iter().map(|event| format!("data: {event}\n\n"));
        self.play().stream(events(texts.collect::<String>()))
    }

    fn check(&self, what: &str, is_right: bool, played: &Played) {
        let name = &self.vendor.name;
        assert!(is_right, "{name}, {what}: {played:?}");
    }

    /// The shapes that the sheet has.
    fn shapes(&self) -> Vec<Shape> {
        use Shape::{Ends, Errors, Limits, Reply, Silence, Stream, Thought, Tools};
        let mut shapes = vec![Reply, Stream, Tools, Limits, Errors, Ends];
        shapes.extend(self.thought.is_some().then_some(Thought));
        shapes.extend((!self.silence.is_empty()).then_some(Silence));
        shapes
    }

    fn check_replies(&self) {
        let plain = self.reply.to_string();
        // DeepSeek's connections are held open so, and JSON allows it to all.
        let late = format!("\n\n\n{plain}");
        let ways = [
            ("plain", self.play().plain(Reply::json(200, plain))),
            (
                "behind blank lines",
                self.play().plain(Reply::json(200, late)),
            ),
            ("by stream", self.stream(&self.stream)),
            ("by stream, with comments", self.spaced(&self.stream)),
        ];
        for (what, played) in ways {
            let used = played.usage.map(|usage| (usage.input, usage.output));
            let is_right = played.text == "Hi there"
                && used == Some((3, 2))
                && played.finish_reason.is_some()
                && (played.first, played.second) == (1, 0);
            self.check(what, is_right, &played);
        }
        let cut = &self.stream[..self.stream.len() / 2];
        let played = self.stream(cut);
        let is_cut = |played: &Played| {
            let error = played.error.as_ref();
            error.is_some_and(|error| *error.code() == ErrorCode::StreamTruncated)
        };
        let is_right = is_cut(&played) || (played.text == "fine" && played.second == 1);
        self.check("cut", is_right, &played);
    }

    /// The stream with a comment before each event, as the vendor writes one.
    fn spaced(&self, events_of: &[Value]) -> Played {
        let comment = if self.silence.is_empty() {
            ":"
        } else {
            self.silence
        };
        let texts = events_of.iter();
        let texts = texts.map(|event| format!("{comment}\n\ndata: {event}\n\n"));
        self.play().stream(events(texts.collect::<String>()))
    }

    fn check_thoughts(&self) {
        let Some(thought) = &self.thought else {
            return;
        };
        let piece =
            serde_json::json!({"choices": [{"index": 0, "delta": thought, "finish_reason": null}]});
        let mut stream = self.stream.clone();
        stream.insert(1, piece);
        let (mut reply, mut message) = (self.reply.clone(), thought.clone());
        match message.get_mut("content").and_then(Value::as_array_mut) {
            Some(parts) => parts.push(serde_json::json!({"type": "text", "text": "Hi there"})),
            None => message["content"] = "Hi there".into(),
        }
        reply["choices"][0]["message"] = message;
        for (what, played) in [
            ("thinks, by stream", self.stream(&stream)),
            (
                "thinks",
                self.play().plain(Reply::json(200, reply.to_string())),
            ),
        ] {
            let is_right = (&*played.reasoning, &*played.text) == ("hm", "Hi there")
                && (played.first, played.second) == (1, 0);
            self.check(what, is_right, &played);
        }
    }

    fn check_tools(&self) {
        let played = self.stream(&self.tools);
        let call = ToolCall::new("weather", r#"{"city":"Rome"}"#).with_id("call_1");
        let is_right = played.error.is_none() && played.tool_calls == [call];
        self.check("tools", is_right, &played);
    }

    fn check_limits(&self) {
        let (headers, body, fault, wait) = self.limited;
        let mut reply = Reply::json(429, body);
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        let played = self.play().plain(reply);
        let left = played.standing.remaining.map(|left| left.as_secs());
        let as_told = wait.is_none_or(|wait| {
            // Jitter only lengthens it.
            left.is_some_and(|left| (wait.saturating_sub(3)..=wait + wait / 2 + 32).contains(&left))
        });
        let is_right = played.standing.fault == Some(fault)
            && (played.first, played.second) == (1, 1)
            && as_told;
        self.check("limits", is_right, &played);
        let error = self.alone(429, headers, body);
        assert_eq!(error.0, fault, "{}", self.vendor.name);
    }

    fn check_errors(&self) {
        for (status, headers, body, fault, scope, wait) in self.errors {
            let found = self.alone(*status, headers, body);
            let name = &self.vendor.name;
            assert_eq!(found, (*fault, *scope, *wait), "{name}: {body}");
        }
    }

    /// What an error is, where one key meets it, and the wait that it tells.
    fn alone(
        &self,
        status: u16,
        headers: Headers,
        body: &'static str,
    ) -> (FailureKind, Scope, Option<u64>) {
        let mut reply = Reply::json(status, body);
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        let error = self.play().alone().plain(reply).error.unwrap();
        let verdict = FailurePolicy::default().classify(&error);
        let wait = error.retry_after().map(|wait| wait.as_secs());
        (verdict.fault, verdict.scope, wait)
    }

    fn check_ends(&self) {
        for (reason, has_failed) in self.ends {
            let what = format!("ends with {reason}");
            let (reply, stream) = self.ended(reason);
            let played = self.play().plain(Reply::json(200, reply.to_string()));
            let asked = if *has_failed { (1, 1) } else { (1, 0) };
            let is_right = (played.first, played.second) == asked && played.error.is_none();
            self.check(&what, is_right, &played);
            let played = self.stream(&stream);
            let is_right = played.error.is_some() == *has_failed && played.second == 0;
            self.check(&what, is_right, &played);
            if !has_failed {
                let is_told = played.finish_reason.as_deref() == Some(*reason);
                self.check(&what, is_told, &played);
            }
        }
    }

    /// The reply and the stream with another reason for the end.
    fn ended(&self, reason: &str) -> (Value, Vec<Value>) {
        let (mut reply, mut stream) = (self.reply.clone(), self.stream.clone());
        if self.api() == Api::Responses {
            let incomplete = |response: &mut Value| {
                response["status"] = "incomplete".into();
                response["incomplete_details"] = serde_json::json!({ "reason": reason });
            };
            incomplete(&mut reply);
            let last = stream.last_mut().unwrap();
            last["type"] = "response.incomplete".into();
            incomplete(&mut last["response"]);
            return (reply, stream);
        }
        reply["choices"][0]["finish_reason"] = reason.into();
        for event in &mut stream {
            let end = event.pointer_mut("/choices/0/finish_reason");
            if let Some(end) = end.filter(|end| end.is_string()) {
                *end = reason.into();
            }
        }
        (reply, stream)
    }
}

#[test]
fn every_vendor_of_the_table_has_a_sheet() {
    let sheets = sheets::all();
    let names: Vec<_> = sheets.iter().map(|sheet| &*sheet.vendor.name).collect();
    let rows: Vec<_> = compatible::ALL.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names, rows);
    for sheet in &sheets {
        assert!(!sheet.sources.is_empty() || !sheet.more.is_empty());
        assert!(!sheet.errors.is_empty() && !sheet.ends.is_empty());
    }
}

/// A reader of a sheet knows of each shape whether it was seen.
#[test]
fn each_shape_was_seen_somewhere_or_is_said_to_be_unseen() {
    for sheet in sheets::all() {
        let title = sheet.title;
        for shape in sheet.shapes() {
            let mut sources = sheet.sources.iter();
            let is_seen = sources.any(|source| source.shows.contains(&shape));
            let is_unseen = sheet.unseen.contains(&shape);
            assert_ne!(is_seen, is_unseen, "{title}: {shape:?}");
        }
        let has = sheet.shapes();
        assert!(
            sheet.unseen.iter().all(|shape| has.contains(shape)),
            "{title}"
        );
        for source in &sheet.sources {
            let day = source.day.split('-').map(str::len);
            let is_dated = day.eq([4, 2, 2]);
            assert!(is_dated && !source.place.is_empty(), "{title}");
            assert!(!source.shows.is_empty(), "{title}: {}", source.place);
        }
    }
}

/// Where the row says that its API is, with its list of models behind it. An address of the API with dates is one deployment's, which
/// lists none.
#[test]
fn lists_of_models_are_below_every_vendors_address() {
    for sheet in sheets::all() {
        let vendor = sheet.vendor;
        if vendor.name == "azure-openai-dated" {
            continue;
        }
        let address = match &vendor.address {
            Address::Common(address) => address.clone(),
            Address::OfAccount(form) => (*form).into(),
            _ => unreachable!(),
        };
        let address: http::Uri = address.parse().unwrap();
        let path = address.path().trim_end_matches('/').to_owned();
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"data":[{"id":"m"}]}"#));
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(vendor.executor());
        let auth = Auth::api_key(&*vendor.name, "key")
            .with_attribute("base_url", format!("{}{path}", upstream.url()));
        manager.register(auth).unwrap();
        let models = manager
            .refresh_models([&*vendor.name], &Options::new())
            .unwrap();
        assert!(models.iter().any(|model| model.name == "m"), "{models:?}");
        let asked = upstream.requests().pop().unwrap();
        assert_eq!(asked.path, format!("{path}/models"), "{}", vendor.name);
    }
}

#[test]
fn replies_and_streams_of_every_vendor_are_read() {
    sheets::all().iter().for_each(Sheet::check_replies);
}

#[test]
fn reasoning_of_every_vendor_is_read() {
    sheets::all().iter().for_each(Sheet::check_thoughts);
}

#[test]
fn tool_calls_of_every_vendor_are_read() {
    sheets::all().iter().for_each(Sheet::check_tools);
}

#[test]
fn limits_of_every_vendor_are_read() {
    sheets::all().iter().for_each(Sheet::check_limits);
}

#[test]
fn errors_of_every_vendor_are_read() {
    sheets::all().iter().for_each(Sheet::check_errors);
}

#[test]
fn ends_of_every_vendor_are_read() {
    sheets::all().iter().for_each(Sheet::check_ends);
}

/// A server on this machine wants no key: the credential is registered, calls go, and no header stands for a key that is none.
#[test]
fn a_server_that_wants_no_key_is_called_without_one() {
    for vendor in compatible::ALL {
        if vendor.key != KeyPlacement::Optional {
            continue;
        }
        let upstream = Upstream::start(|request| match &*request.method {
            "GET" => Reply::json(200, r#"{"data":[]}"#),
            _ if request.json()["stream"] == true => Api::Chat.stream(),
            _ => Api::Chat.plain(),
        });
        let manager = Manager::builder().build().unwrap();
        let name = vendor.name.to_string();
        manager.register_executor(vendor.executor());
        let auth = Auth::new(&*name).with_id("local");
        let auth = auth.with_attribute("base_url", upstream.url());
        manager.register(auth).unwrap();
        let (request, options) = (Request::new("m", "{}"), Options::new());
        let plain = manager.execute([&*name], &request, &options).unwrap();
        assert_eq!(plain.reply_text.as_deref(), Some("fine"));
        let stream = manager
            .execute_stream([&*name], &request, &options)
            .unwrap();
        let whole = stream.collect_response().unwrap();
        assert_eq!(whole.reply_text.as_deref(), Some("fine"));
        let models = http::Request::get("/v1/models").body(()).unwrap();
        let models = RawRequest::from(models);
        assert!(manager.execute_raw([&*name], models, &options).is_ok());
        for request in upstream.requests() {
            assert_eq!(request.header("authorization"), None, "{name}");
        }
        assert!(manager.refresh_health().needs_login.is_empty(), "{name}");
    }
}

/// An account without an address is told how one looks, by the call, and another account of the pool serves.
#[test]
fn an_account_without_its_address_is_named_and_another_serves() {
    let upstream = Upstream::start(|_| Api::Chat.plain());
    let manager = Manager::builder()
        .policy(FailurePolicy::default().without_waiting())
        .build()
        .unwrap();
    manager.register_executor(compatible::AZURE_OPENAI.executor());
    let auth = |id: &str| Auth::api_key("azure-openai", "key").with_id(id);
    manager.register(auth("bare")).unwrap();
    let (request, options) = (Request::new("m", "{}"), Options::new());
    let error = manager
        .execute(["azure-openai"], &request, &options)
        .unwrap_err();
    let text = format!("{error} {:?}", manager.explain("azure-openai", "m"));
    assert!(
        text.contains("https://RESOURCE.openai.azure.com/openai/v1"),
        "{text}"
    );
    let whole = auth("whole").with_attribute("base_url", upstream.url());
    manager.register(whole).unwrap();
    let response = manager
        .execute(["azure-openai"], &request, &options)
        .unwrap();
    assert_eq!(&*response.auth_id, "whole");
    assert_eq!(upstream.requests()[0].header("api-key"), Some("key"));
    for fragment in [
        "https://r.openai.azure.com/openai/v1#",
        "http://localhost:1#x",
    ] {
        let odd = auth("odd").with_attribute("base_url", fragment);
        let error = manager.register(odd).unwrap_err();
        assert!(error.message().contains("fragment"), "{error}");
    }
}

/// A vendor that is in no table, with names that nobody else has: 12 lines of data.
const ACME: CompatibleVendor = CompatibleVendor::new("acme", "https://llm.acme.example/v1")
    .with_key(KeyPlacement::Header("x-acme-key"))
    .with_dialect(
        Dialect::new()
            .with_limits(&[
                ("x-acme-left", "x-ratelimit-remaining-requests"),
                ("x-acme-back", "x-ratelimit-reset-requests"),
            ])
            .with_errors(&[("wallet_empty", "insufficient_quota")])
            .with_ends(&[("gpu_lost", "error")]),
    );

#[test]
fn a_vendor_of_ones_own_is_data_of_a_few_lines_and_its_own_names_count() {
    let source = include_str!("mod.rs");
    let lines = source
        .lines()
        .skip_while(|line| !line.starts_with("const ACME"));
    let count = lines.take_while(|line| !line.is_empty()).count();
    assert!((1..20).contains(&count), "{count} lines");

    let play = || Play::new(Api::Chat).by(&ACME);
    let played = play().plain(Api::Chat.plain());
    let [request] = &played.requests[..] else {
        panic!("{played:?}");
    };
    assert_eq!(request.header("x-acme-key"), Some("key-of-the-first"));
    assert_eq!(request.header("authorization"), None);

    let limited = Reply::json(429, "{}")
        .header("x-acme-left", "0")
        .header("x-acme-back", "300");
    let left = play().plain(limited).standing.remaining.unwrap().as_secs();
    assert!((290..480).contains(&left), "{left}");

    let error = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
    for (code, fault) in [
        ("wallet_empty", FailureKind::Billing),
        ("another", FailureKind::Forbidden),
    ] {
        let played = play().plain(Reply::json(403, error(code)));
        assert_eq!(played.standing.fault, Some(fault), "{code}");
        assert_eq!((played.first, played.second), (1, 1), "{code}");
    }
    // An error in a stream has no status but that of its name.
    let in_stream = format!("data: {}\n\n", error("wallet_empty"));
    let played = play().stream(events(in_stream));
    assert_eq!(played.standing.fault, Some(FailureKind::Billing));

    let ended = |reason: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"Hi"}},"delta":{{"content":"Hi"}},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2}}}}"#
        )
    };
    for (reason, text, asked) in [("gpu_lost", "fine", (1, 1)), ("done", "Hi", (1, 0))] {
        let played = play().plain(Reply::json(200, ended(reason)));
        assert_eq!(
            (&*played.text, (played.first, played.second)),
            (text, asked)
        );
        let played = play().stream(events(format!("data: {}\n\n", ended(reason))));
        assert_eq!(
            (&*played.text, (played.first, played.second)),
            (text, asked)
        );
    }
}

/// The table of the guide is that of the constants.
#[test]
fn the_guide_has_the_whole_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("src/guide/providers.md")).unwrap();
    let lines = guide
        .lines()
        .skip_while(|line| !line.starts_with("| constant"))
        .skip(2);
    let found: Vec<_> = lines.take_while(|line| line.starts_with('|')).collect();
    let expected: Vec<_> = compatible::ALL.iter().map(line_of).collect();
    assert_eq!(
        found,
        expected,
        "the guide should read:\n{}",
        expected.join("\n")
    );
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for sheet in sheets::all() {
        assert!(readme.contains(sheet.title), "README: {}", sheet.title);
    }
}

/// The vendor's line in the table of the guide.
fn line_of(vendor: &CompatibleVendor) -> String {
    let constant = vendor.name.to_uppercase().replace('-', "_");
    let constant = match &*constant {
        "HUGGINGFACE" => "HUGGING_FACE",
        other => other,
    };
    let base_url = match &vendor.address {
        Address::Common(base_url) => base_url.to_string(),
        Address::OfAccount(form) => (*form).to_owned(),
        _ => unreachable!(),
    };
    let key = match vendor.key {
        KeyPlacement::Header(name) => format!("`{name}`"),
        KeyPlacement::Optional => "none, or bearer".to_owned(),
        _ => "bearer".to_owned(),
    };
    let (name, page, day, note) = (&vendor.name, vendor.page, vendor.looked_at, vendor.note);
    let constant = format!("[`{constant}`](crate::provider::compatible::{constant})");
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("{note} ")
    };
    format!("| {constant} | `{name}` | `{base_url}` | {key} | [{day}]({page}) | {note}|")
}
