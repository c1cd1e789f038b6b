//! The upstream, in a process of its own: chat completions, messages, and a token endpoint whose refresh tokens serve once. One
//! request in twenty meets a fault.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// The argument that makes this program the server.
pub(crate) const SERVE: &str = "--serve";

/// What is counted of requests to which a kept connection brought no answer.
pub(crate) const SENT_AGAIN: &str = "requests without an answer on a kept connection";

/// How long an access token lives, in milliseconds.
const LIFETIME: u128 = 20_000;

/// The server, seen from the program under test. It ends with it.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { process, url }
    }

    /// How many requests of each kind there were.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        serde_json::from_str(&self.get("/counts")).unwrap()
    }

    /// Begins or ends a time in which every chat completion is answered with 503.
    pub(crate) fn set_outage(&self, is_out: bool) {
        self.get(if is_out { "/outage/on" } else { "/outage/off" });
    }

    fn get(&self, path: &str) -> String {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Default)]
struct State {
    counts: BTreeMap<String, u64>,
    is_out: bool,
    /// Of each login, how many refresh tokens it has used up.
    logins: HashMap<String, u64>,
}

impl State {
    fn count(&mut self, what: &str) -> u64 {
        let count = self.counts.entry(what.to_owned()).or_default();
        *count += 1;
        *count
    }
}

struct Request {
    path: String,
    bearer: String,
    body: Vec<u8>,
}

/// What is sent instead of an answer, or of its second half.
enum Break {
    Before,
    Within,
}

pub(crate) fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    thread::spawn(|| {
        // Ends with the process that started it, however that ends.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    let state = Arc::new(Mutex::new(State::default()));
    for stream in listener.incoming() {
        let state = Arc::clone(&state);
        thread::spawn(move || {
            let stream = stream.unwrap();
            // A client that has gone is none of the server's concern.
            let _ = answer_all(&stream, &state);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn answer_all(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream);
    let mut is_kept = false;
    while let Some(request) = read(&mut requests)? {
        let was_kept = std::mem::replace(&mut is_kept, true);
        let goes_on = match request.path.as_str() {
            "/counts" => {
                let counts = json!(state.lock().counts);
                whole(stream, 200, "", &counts)?
            }
            "/outage/on" | "/outage/off" => {
                state.lock().is_out = request.path.ends_with("on");
                whole(stream, 200, "", &json!({}))?
            }
            "/token" => grant(stream, &request, state)?,
            _ => complete(stream, &request, was_kept, state)?,
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

fn read(requests: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if requests.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut bearer, mut line) = (0, String::new(), String::new());
    while requests.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':') {
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => value
                    .trim()
                    .trim_start_matches("Bearer ")
                    .clone_into(&mut bearer),
                _ => {}
            }
        }
        line.clear();
    }
    let mut body = vec![0; length];
    requests.read_exact(&mut body)?;
    Ok(Some(Request { path, bearer, body }))
}

/// Whether the connection goes on.
fn whole(mut stream: &TcpStream, status: u16, header: &str, body: &Value) -> io::Result<bool> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    Ok(true)
}

/// A refresh: tokens are `refresh-LOGIN-NUMBER` and `access-LOGIN-NUMBER-END`.
fn grant(stream: &TcpStream, request: &Request, state: &Mutex<State>) -> io::Result<bool> {
    let body = String::from_utf8_lossy(&request.body);
    let mut fields = body.split('&');
    let sent = fields.find_map(|field| field.strip_prefix("refresh_token="));
    let parts = sent.and_then(|token| token.strip_prefix("refresh-")?.rsplit_once('-'));
    let Some((login, number)) = parts else {
        return whole(stream, 400, "", &json!({"error": "invalid_grant"}));
    };
    let next = {
        let mut state = state.lock();
        if state.count("refreshes").is_multiple_of(20) {
            state.count("refreshes refused");
            None
        } else {
            let used = state.logins.entry(login.to_owned()).or_default();
            if number == used.to_string() {
                *used += 1;
                Some(*used)
            } else {
                state.count("refresh tokens used again");
                None
            }
        }
    };
    let Some(next) = next else {
        return whole(stream, 500, "", &json!({}));
    };
    let tokens = json!({
        "access_token": format!("access-{login}-{next}-{}", millis() + LIFETIME),
        "refresh_token": format!("refresh-{login}-{next}"),
        "token_type": "Bearer",
        "expires_in": LIFETIME / 1000,
    });
    whole(stream, 200, "", &tokens)
}

fn millis() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

fn complete(
    stream: &TcpStream,
    request: &Request,
    was_kept: bool,
    state: &Mutex<State>,
) -> io::Result<bool> {
    let is_chat = request.path.ends_with("/chat/completions");
    let (number, is_out) = {
        let mut state = state.lock();
        let is_out = state.is_out && is_chat;
        let kind = if is_out {
            "in an outage"
        } else {
            "outside outages"
        };
        state.count(kind);
        (state.count("requests"), is_out)
    };
    let problem = |what: &str| json!({"type": "error", "error": {"type": what, "message": what}});
    if is_out {
        return whole(stream, 503, "", &problem("unavailable"));
    }
    let end = request
        .bearer
        .strip_prefix("access-")
        .and_then(|rest| rest.rsplit('-').next());
    if end.is_some_and(|end| end.parse::<u128>().is_ok_and(|end| end < millis())) {
        state.lock().count("ended tokens");
        return whole(stream, 401, "", &problem("authentication_error"));
    }
    let mut broken = None;
    // Not in step with the callers' turns.
    match number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54 {
        0..10 => {
            return whole(
                stream,
                429,
                "retry-after: 1\r\n",
                &problem("rate_limit_error"),
            );
        }
        10..15 => return whole(stream, 429, "", &problem("rate_limit_error")),
        15..25 => return whole(stream, 500, "", &problem("server_error")),
        25..30 => return whole(stream, 503, "", &problem("server_error")),
        30..35 => return whole(stream, 529, "", &problem("overloaded_error")),
        35..42 => broken = Some(Break::Before),
        42..50 => broken = Some(Break::Within),
        _ => {}
    }
    if let Some(Break::Before) = broken {
        if was_kept {
            // As if it had been dead: the client sends the request again, within the same attempt.
            state.lock().count(SENT_AGAIN);
        }
        return Ok(false);
    }
    let payload: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let model = payload["model"].as_str().unwrap_or_default();
    if payload["stream"] == true {
        let pause = Duration::from_millis(if model == "long" { 20 } else { 0 });
        stream_events(stream, is_chat, pause, broken.is_some())
    } else {
        thread::sleep(Duration::from_millis(if model == "slow" {
            400
        } else {
            20
        }));
        let answer = if is_chat { completion() } else { message() };
        if broken.is_some() {
            let text = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            let mut stream = stream;
            stream.write_all((head + &text[..text.len() / 2]).as_bytes())?;
            return Ok(false);
        }
        whole(stream, 200, "", &answer)
    }
}

const WORDS: usize = 40;

fn stream_events(
    mut stream: &TcpStream,
    is_chat: bool,
    pause: Duration,
    is_broken: bool,
) -> io::Result<bool> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    let events = if is_chat {
        chat_events()
    } else {
        message_events()
    };
    let half = events.len() / 2;
    for (index, event) in events.into_iter().enumerate() {
        if is_broken && index == half {
            return Ok(false);
        }
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    stream.write_all(b"0\r\n\r\n")?;
    Ok(true)
}

fn completion() -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "word ".repeat(WORDS)},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 10, "completion_tokens": WORDS, "total_tokens": 10 + WORDS},
    })
}

fn chat_events() -> Vec<String> {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let data = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]});
        format!("data: {data}\n\n")
    };
    let words = (0..WORDS).map(|_| chunk(json!({"content": "word "}), Value::Null));
    let finish = chunk(json!({}), json!("stop"));
    words
        .chain([finish, "data: [DONE]\n\n".to_owned()])
        .collect()
}

fn message() -> Value {
    json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "word ".repeat(WORDS)}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": WORDS},
    })
}

fn message_events() -> Vec<String> {
    let mut start = message();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let text = json!({"type": "text", "text": ""});
    let delta = json!({"type": "text_delta", "text": "word "});
    let end = json!({"stop_reason": "end_turn", "stop_sequence": null});
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": text}),
    ];
    let word = json!({"type": "content_block_delta", "index": 0, "delta": delta});
    events.extend(std::iter::repeat_n(word, WORDS));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": WORDS}}),
        json!({"type": "message_stop"}),
    ]);
    let named = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    events.iter().map(named).collect()
}
