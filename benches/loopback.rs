//! What the pool costs beside raw ureq that makes the same calls: `cargo bench --bench loopback`, or `-- --quick`. With names of figures, those
//! alone: `-- streamed`.
//!
//! In one run, against one server on loopback (a process of its own, which answers from memory), both sides in turns,
//! medians. Each figure is a line of JSON; `ratio` is throughput, ours by raw: 1 is as fast. Client and server have a core each, as on
//! machines of their own; with `--packed` the system places them, which on two idle cores is mostly on one: it then measures the work
//! of both together. The last figure is what a live stream adds to the process.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed bench")]

#[path = "support/chat.rs"]
mod chat;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::{Auth, ChunkStream, Manager, Options, RawRequest, Request};
use serde_json::json;

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if !has("--packed") {
        stay_on_core(usize::from(has(SERVE)));
    }
    if has(SERVE) {
        return serve();
    }
    let effort = if has("--quick") { 1 } else { 10 };
    let names = || {
        std::env::args()
            .skip(1)
            .filter(|name| !name.starts_with("--"))
    };
    let is_asked_for = |name: &str| names().next().is_none() || names().any(|asked| asked == name);
    let server = Server::start();
    let sides = Sides::new(&server.url);
    for (name, rounds, per_round, ours, raw) in [
        (
            "plain",
            1000,
            1,
            Sides::call as Side,
            Sides::raw_call as Side,
        ),
        (
            "plain_unlimited",
            1000,
            1,
            Sides::call,
            Sides::raw_call_unlimited,
        ),
        ("raw", 1000, 1, Sides::passed_on, Sides::raw_call),
        (
            "raw_unlimited",
            1000,
            1,
            Sides::passed_on,
            Sides::raw_call_unlimited,
        ),
        ("streamed", 100, EVENTS, Sides::stream, Sides::raw_stream),
    ] {
        if !is_asked_for(name) {
            continue;
        }
        let times = compare(effort * rounds, || ours(&sides), || raw(&sides));
        let nanos = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(per_round);
        let ours = median(times.iter().map(|(ours, _)| nanos(*ours)));
        let raw = median(times.iter().map(|(_, raw)| nanos(*raw)));
        // Of each pair: what disturbs one side disturbs its neighbour, too.
        let ratio = median(times.iter().map(|(ours, raw)| nanos(*raw) / nanos(*ours)));
        println!(
            r#"{{"bench":"{name}","ours_ns":{ours:.0},"raw_ns":{raw:.0},"ratio":{ratio:.3}}}"#
        );
    }
    if is_asked_for("stream_memory") {
        let kib = sides.memory();
        println!(r#"{{"bench":"stream_memory","live_streams":{LIVE},"kib_each":{kib:.1}}}"#);
    }
}

/// This process, with the threads that it starts: where there is such a core.
#[cfg(target_os = "linux")]
fn stay_on_core(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

#[cfg(not(target_os = "linux"))]
fn stay_on_core(_: usize) {}

/// The times of each round, ours and raw: in turns, now one first and now the other.
fn compare(rounds: u32, ours: impl Fn(), raw: impl Fn()) -> Vec<(Duration, Duration)> {
    let round = |round| {
        if round % 2 == 0 {
            let ours = timed(&ours);
            (ours, timed(&raw))
        } else {
            let raw = timed(&raw);
            (timed(&ours), raw)
        }
    };
    (0..rounds + WARM_UP)
        .map(round)
        .skip(WARM_UP as usize)
        .collect()
}

fn timed(work: impl Fn()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

type Side = fn(&Sides);

/// The same calls, through the pool and without it.
struct Sides {
    manager: Manager,
    agent: ureq::Agent,
    unlimited: ureq::Agent,
    url: String,
    plain: Request,
    streamed: Request,
}

impl Sides {
    fn new(url: &str) -> Self {
        let manager = Manager::builder().max_streams(LIVE).build().unwrap();
        manager.register_executor(OpenAi::new());
        let auth = Auth::api_key("openai", KEY).with_attribute("base_url", url);
        manager.register(auth).unwrap();
        // What the library sets for its own agents.
        let config = || {
            ureq::Agent::config_builder()
                .proxy(None)
                .user_agent("credpool")
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .input_buffer_size(12 * 1024)
                .output_buffer_size(12 * 1024)
                .max_response_header_size(11 * 1024)
                .max_idle_connections(16)
                .max_idle_connections_per_host(16)
                .timeout_connect(Some(Duration::from_secs(10)))
                .timeout_per_write(Some(Duration::from_secs(60)))
                .timeout_per_read(Some(Duration::from_secs(120)))
        };
        let messages = json!([{"role": "user", "content": "word ".repeat(100)}]);
        let request = |model: &str| {
            let payload = json!({"model": model, "stream": model != "plain", "messages": messages});
            Request::new(model, payload.to_string())
        };
        Self {
            manager,
            unlimited: config().build().into(),
            agent: config()
                .timeout_resolve(Some(Duration::from_secs(10)))
                .timeout_global(Some(Duration::from_secs(600)))
                .build()
                .into(),
            url: url.to_owned(),
            plain: request("plain"),
            streamed: request("streamed"),
        }
    }

    fn call(&self) {
        let options = Options::new();
        let response = self.manager.execute(["openai"], &self.plain, &options);
        assert!(response.unwrap().reply_text.is_some());
    }

    /// The same request as a raw call, as a gateway makes it.
    fn passed_on(&self) {
        let request = http::Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(self.plain.payload.clone())
            .unwrap();
        let request = RawRequest::from(request).with_model(&*self.plain.model);
        let answer = self
            .manager
            .execute_raw(["openai"], request, &Options::new());
        let body = answer.unwrap().into_body().into_bytes(1 << 20).unwrap();
        assert!(body.ends_with(b"}"));
    }

    fn raw_call(&self) {
        self.raw_call_with(&self.agent);
    }

    /// Without a limit for looking up names or for the whole call, which make ureq start a thread for each call.
    fn raw_call_unlimited(&self) {
        self.raw_call_with(&self.unlimited);
    }

    fn raw_call_with(&self, agent: &ureq::Agent) {
        let mut answer = self.post(agent, &self.plain, "application/json");
        let body = answer.body_mut().read_to_vec().unwrap();
        assert!(body.ends_with(b"}"));
    }

    fn stream(&self) {
        let events = self.open(&self.streamed).map(Result::unwrap);
        assert_eq!(events.count(), EVENTS as usize);
    }

    fn raw_stream(&self) {
        let answer = self.post(&self.agent, &self.streamed, "text/event-stream");
        let mut lines = BufReader::new(answer.into_body().into_reader());
        let (mut line, mut events) = (String::new(), 0);
        while lines.read_line(&mut line).unwrap() > 0 {
            events += u32::from(line.starts_with("data: {"));
            line.clear();
        }
        assert_eq!(events, EVENTS);
    }

    /// How many KiB each of many live streams takes, all of which have begun and wait for more.
    fn memory(&self) -> f64 {
        let stalled = Request::new("stalled", r#"{"model":"stalled","stream":true}"#);
        let begun = || {
            let mut stream = self.open(&stalled);
            let chunks = stream.by_ref().take(BEGUN as usize);
            assert!(
                chunks
                    .map(Result::unwrap)
                    .all(|chunk| chunk.event.is_none())
            );
            stream
        };
        // What is made once for all streams is made now.
        drop(begun());
        let before = resident();
        let streams: Vec<_> = (0..LIVE).map(|_| begun()).collect();
        let after = resident();
        drop(streams);
        (after - before) / f64::from(u32::try_from(LIVE).unwrap())
    }

    fn open(&self, request: &Request) -> ChunkStream {
        self.manager
            .execute_stream(["openai"], request, &Options::new())
            .unwrap()
    }

    fn post(
        &self,
        agent: &ureq::Agent,
        request: &Request,
        accept: &str,
    ) -> http::Response<ureq::Body> {
        agent
            .post(format!("{}/chat/completions", self.url))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .header("accept", accept)
            .send(&request.payload[..])
            .unwrap()
    }
}

/// The process's resident memory in KiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// The server, in another process: its memory is not ours.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .args(std::env::args().filter(|argument| argument == "--packed"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let output = process.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { process, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers from memory: one write for a plain answer, one write and one HTTP chunk for each event of a stream.
fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    thread::spawn(|| {
        // Ends with the process that started it, however that ends.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        thread::spawn(move || answer_all(&stream.unwrap()));
    }
}

fn answer_all(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let plain = chat::plain_answer();
    let event = chat::event();
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while requests.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        io::Read::read_exact(&mut requests, &mut body)?;
        let asks_for = |model: &str| {
            let model = format!(r#""model":"{model}""#);
            body.windows(model.len())
                .any(|part| part == model.as_bytes())
        };
        if asks_for("plain") {
            stream.write_all(plain.as_bytes())?;
            continue;
        }
        stream.write_all(chat::STREAM_HEAD.as_bytes())?;
        let whole = asks_for("streamed");
        for _ in 0..if whole { EVENTS - 1 } else { BEGUN } {
            stream.write_all(event.as_bytes())?;
        }
        if whole {
            stream.write_all(chat::finish().as_bytes())?;
            stream.write_all(chat::STREAM_END.as_bytes())?;
        }
    }
}

const SERVE: &str = "--serve";
const KEY: &str = "sk-bench";
const WARM_UP: u32 = 20;
/// Events of a stream, its finish included and `[DONE]` not.
const EVENTS: u32 = 500;
const LIVE: usize = 1_000;
/// Events of a stream that then stalls.
const BEGUN: u32 = 100;
