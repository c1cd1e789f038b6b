//! Streams: failover before the first content, none after it, and every way to end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{
    Affinity, Auth, ChunkSource, ChunkStream, Error, ErrorCode, FailurePolicy, LimitWindow,
    Manager, Message, Options, OutcomeKind, RateLimits, Request, ResponseHead, RoundRobin,
    StreamChunk, StreamCommit, StreamEvent, Usage,
};
use serde_json::json;
use support::{Act, Recorder, SOON, chunks, eventually, pool_of, pool_with};

fn open(manager: &Manager, options: &Options) -> Result<ChunkStream, Error> {
    manager.execute_stream(["p"], &Request::new("m", "{}"), options)
}

fn texts(stream: ChunkStream) -> Vec<String> {
    stream
        .map(|chunk| match chunk {
            Ok(chunk) => chunk.text.unwrap_or_default(),
            Err(error) => format!("! {}", error.code()),
        })
        .collect()
}

fn items(items: Vec<Result<StreamChunk, Error>>) -> Act {
    Act::Stream(Arc::new(move |_| {
        Ok(Box::new(items.clone().into_iter()) as ChunkSource)
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "an item of a stream")]
fn text(text: &str) -> Result<StreamChunk, Error> {
    Ok(StreamChunk::new(text.to_owned()).with_text(text))
}

/// A source that gives one chunk and then blocks until the attempt is cancelled.
fn endless() -> Act {
    Act::Stream(Arc::new(|attempt| {
        let token = attempt.cancel_token().clone();
        let first = std::iter::once(text("first"));
        Ok(Box::new(first.chain(std::iter::once_with(move || {
            let _ = token.cancelled().recv();
            Err(Error::new(ErrorCode::Transport, "closed"))
        }))))
    }))
}

#[test]
fn chunks_arrive_in_order_and_success_is_recorded_before_the_end_shows() {
    let hook = Recorder::default();
    let (manager, _, _) = pool_with(1, |builder| builder.hook(hook.clone()));
    let stream = open(&manager, &Options::new()).unwrap();
    assert_eq!(
        (stream.auth_id(), stream.provider(), stream.attempts()),
        ("a0", "p", 1)
    );
    assert_eq!(texts(stream), ["one", "two"]);
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Success]));
}

#[test]
fn texts_are_what_the_chunks_add_and_end_with_the_streams_error() {
    let (manager, fake, _) = pool_of(1);
    let usage = StreamChunk::new("{}").with_usage(Usage::new(1, 2));
    let thought = StreamChunk::new("{}").with_reasoning("hm");
    let lost = Error::new(ErrorCode::StreamInterrupted, "lost");
    let all = vec![Ok(thought), text("a"), Ok(usage), text("b"), Err(lost)];
    fake.on("a0", items(all));
    let mut texts = open(&manager, &Options::new()).unwrap().texts();
    let mut next = || {
        texts
            .next()
            .map(|text| text.map_err(|error| error.code().to_string()))
    };
    assert_eq!(next(), Some(Ok("a".into())));
    assert_eq!(next(), Some(Ok("b".into())));
    assert_eq!(next(), Some(Err("stream_interrupted".into())));
    assert_eq!(next(), None);
}

#[test]
fn a_collected_stream_is_the_response_of_a_plain_call() {
    let (manager, fake, _) = pool_of(1);
    let mut head = ResponseHead::new(http::StatusCode::OK);
    let id = http::HeaderValue::from_static("req_7");
    head.headers.insert("x-request-id", id);
    let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(9));
    let first = StreamChunk::new("{}").with_preamble().with_head(head);
    let all = vec![
        Ok(first.with_rate_limits(limits.clone())),
        Ok(StreamChunk::new("1")
            .with_event("delta")
            .with_reasoning("h")),
        Ok(StreamChunk::new("2\n3")
            .with_reasoning("m")
            .with_usage(Usage::new(1, 0))),
        text("a"),
        text("b"),
        Ok(StreamChunk::new("4")
            .with_finish_reason("stop")
            .with_usage(Usage::new(1, 2))),
        Ok(StreamChunk::new("5")),
    ];
    fake.on("a0", items(all));
    let stream = open(&manager, &Options::new()).unwrap();
    let response = stream.collect_response().unwrap();
    assert_eq!(response.reply_text.as_deref(), Some("ab"));
    assert_eq!(response.reasoning_text.as_deref(), Some("hm"));
    assert_eq!(response.finish_reason.as_deref(), Some("stop"));
    assert_eq!(response.usage, Some(Usage::new(1, 2)));
    assert_eq!(response.rate_limits.as_deref(), Some(&limits));
    assert_eq!(response.head.unwrap().request_id(), Some("req_7"));
    let metadata = response.metadata.unwrap();
    assert_eq!(metadata.get("request_id").unwrap(), "req_7");
    let served = (&*response.provider, &*response.auth_id, response.attempts);
    assert_eq!(served, ("p", "a0", 1));
    let events = "data: {}\n\nevent: delta\ndata: 1\n\ndata: 2\ndata: 3\n\ndata: a\n\ndata: b\n\ndata: 4\n\ndata: 5\n\n";
    assert_eq!(response.payload, events);
}

#[test]
fn a_stream_that_breaks_off_is_no_response() {
    let (manager, fake, _) = pool_of(1);
    let lost = Error::new(ErrorCode::StreamInterrupted, "lost");
    fake.on("a0", items(vec![text("a"), Err(lost)]));
    let stream = open(&manager, &Options::new()).unwrap();
    let error = stream.collect_response().unwrap_err();
    assert_eq!(error.code(), ErrorCode::StreamInterrupted);
    assert_eq!(
        fake.calls(),
        ["a0"],
        "nothing is retried after the first content"
    );
}

#[test]
fn an_error_before_the_first_content_fails_over() {
    let (manager, fake, _) = pool_of(3);
    fake.on("a0", Act::Fail(Error::upstream(429, "")));
    let greeting = Ok(StreamChunk::new("hello").with_preamble());
    fake.on(
        "a1",
        items(vec![greeting, Err(Error::upstream(529, "overloaded"))]),
    );
    let stream = open(&manager, &Options::new()).unwrap();
    assert_eq!((stream.auth_id(), stream.attempts()), ("a2", 3));
    assert_eq!(texts(stream), ["one", "two"]);
    assert!(manager.get_by_id("a1").unwrap().model_states["m"].unavailable);
}

#[test]
fn nothing_is_retried_after_the_first_content() {
    let hook = Recorder::default();
    let (manager, fake, _) = pool_with(2, |builder| builder.hook(hook.clone()));
    let late = Err(Error::upstream(500, "oops"));
    fake.on(
        "a0",
        items(vec![text("x"), late.clone(), text("never"), late]),
    );
    let stream = open(&manager, &Options::new()).unwrap();
    assert_eq!(texts(stream), ["x", "! upstream"]);
    assert_eq!(fake.calls(), ["a0"]);
    assert_eq!(hook.results(), 1, "one failure, whatever comes after");
    assert!(manager.get_by_id("a0").unwrap().model_states["m"].unavailable);
}

#[test]
fn a_policy_can_commit_on_open() {
    let policy = FailurePolicy::default().with_commit(StreamCommit::OnOpen);
    let (manager, fake, _) = pool_with(2, |builder| builder.policy(policy));
    fake.on("a0", items(vec![Err(Error::upstream(500, "oops"))]));
    let stream = open(&manager, &Options::new()).unwrap();
    assert_eq!(texts(stream), ["! upstream"]);
    assert_eq!(fake.calls(), ["a0"]);
}

#[test]
fn a_dropped_stream_ends_the_work_and_changes_nobody() {
    let hook = Recorder::default();
    let (manager, fake, _) = pool_with(1, |builder| builder.hook(hook.clone()));
    fake.on("a0", endless());
    let mut stream = open(&manager, &Options::new()).unwrap();
    assert_eq!(
        stream.next().unwrap().unwrap().text.as_deref(),
        Some("first")
    );
    assert_eq!(hook.results(), 0);
    drop(stream);
    eventually("the abandoned outcome", || hook.results() == 1);
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Abandoned]));
    assert!(manager.get_by_id("a0").unwrap().model_states.is_empty());
    manager.shutdown(SOON).unwrap();
    assert_eq!(hook.results(), 1);
}

#[test]
fn a_cancelled_stream_says_so_after_what_has_arrived() {
    let (manager, fake, _) = pool_of(1);
    fake.on("a0", endless());
    let mut stream = open(&manager, &Options::new()).unwrap();
    stream.cancel();
    let ends: Vec<_> = stream.by_ref().collect();
    let last = ends.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.code(), &ErrorCode::Cancelled);
    assert!(stream.next().is_none(), "fused");
    assert!(matches!(stream.try_recv(), StreamEvent::Failed(_)));
}

#[test]
fn a_token_ends_the_stream_from_outside() {
    let (manager, fake, _) = pool_of(1);
    fake.on("a0", endless());
    let token = credpool::CancelToken::new();
    let stream = open(&manager, &Options::new().with_cancel(token.clone())).unwrap();
    token.cancel();
    assert_eq!(texts(stream).last().unwrap(), "! cancelled");
}

#[test]
fn waiting_for_a_chunk_can_be_bounded() {
    let (manager, fake, _) = pool_of(1);
    fake.on("a0", endless());
    let mut stream = open(&manager, &Options::new()).unwrap();
    assert!(matches!(stream.recv_timeout(SOON), StreamEvent::Chunk(_)));
    assert!(matches!(
        stream.recv_timeout(Duration::from_millis(1)),
        StreamEvent::Pending
    ));
    assert!(matches!(stream.try_recv(), StreamEvent::Pending));
}

#[test]
fn a_consumer_that_stops_reading_loses_its_stream() {
    let hook = Recorder::default();
    let (manager, fake, clock) =
        pool_with(1, |builder| builder.hook(hook.clone()).stream_buffer(2));
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    fake.on(
        "a0",
        Act::Stream(Arc::new(move |_| {
            let count = Arc::clone(&count);
            Ok(Box::new(std::iter::repeat_with(move || {
                count.fetch_add(1, Ordering::Relaxed);
                text("x")
            })))
        })),
    );
    let stream = open(&manager, &Options::new()).unwrap();
    eventually("a full buffer", || made.load(Ordering::Relaxed) == 3);
    // Advance only once the worker's timer runs.
    eventually("the end of patience", || {
        clock.advance(Duration::from_secs(60));
        hook.results() == 1
    });
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Abandoned]));
    let ends = texts(stream);
    assert_eq!(ends, ["x", "x", "! cancelled"]);
}

#[test]
fn a_consumer_that_reads_slowly_keeps_its_stream() {
    let hook = Recorder::default();
    let (manager, fake, clock) =
        pool_with(1, |builder| builder.hook(hook.clone()).stream_buffer(8));
    fake.on(
        "a0",
        Act::Stream(Arc::new(|_| {
            Ok(Box::new(std::iter::repeat_with(|| text("x"))))
        })),
    );
    let mut stream = open(&manager, &Options::new()).unwrap();
    // A chunk every half a minute: what is fetched at once lasts longer than the patience.
    for _ in 0..24 {
        assert!(stream.next().unwrap().is_ok());
        eventually("the worker waits", || {
            clock.timers() > 0 || hook.results() > 0
        });
        clock.advance(Duration::from_secs(30));
    }
    assert_eq!(hook.results(), 0, "it has been given up");
    assert!(stream.next().unwrap().is_ok());
}

#[test]
fn a_deadline_in_mid_stream_blames_nobody() {
    let hook = Recorder::default();
    let (manager, fake, clock) = pool_with(1, |builder| builder.hook(hook.clone()));
    let late = clock.clone();
    fake.on(
        "a0",
        Act::Stream(Arc::new(move |_| {
            let late = late.clone();
            let then = std::iter::once_with(move || {
                late.advance(Duration::from_secs(10));
                text("late")
            });
            Ok(Box::new(std::iter::once(text("x")).chain(then)))
        })),
    );
    let options = Options::new().with_timeout(Duration::from_secs(10));
    let ends = texts(open(&manager, &options).unwrap());
    assert_eq!(
        (ends[0].as_str(), ends.last().unwrap().as_str()),
        ("x", "! deadline_exceeded")
    );
    eventually("the outcome", || hook.results() == 1);
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Abandoned]));
}

#[test]
fn more_streams_than_workers_are_refused_before_anything_is_sent() {
    let (manager, fake, _) = pool_with(1, |builder| builder.max_streams(1));
    fake.on("a0", endless());
    let first = open(&manager, &Options::new()).unwrap();
    let error = open(&manager, &Options::new()).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::PoolSaturated);
    assert_eq!(fake.calls().len(), 1);
    drop(first);
    // With a deadline the call waits for a worker.
    let patient = Options::new().with_timeout(SOON);
    drop(open(&manager, &patient).unwrap());
}

#[test]
fn shutting_down_ends_streams_with_a_word() {
    let hook = Recorder::default();
    let (manager, fake, _) = pool_with(1, |builder| builder.hook(hook.clone()));
    fake.on("a0", endless());
    let stream = open(&manager, &Options::new()).unwrap();
    let error = manager.shutdown(Duration::from_millis(10)).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::DeadlineExceeded);
    manager.shutdown(SOON).unwrap();
    assert_eq!(texts(stream).last().unwrap(), "! shut_down");
    assert_eq!(hook.results(), 1);
    let refused = open(&manager, &Options::new()).unwrap_err();
    assert_eq!(refused.code(), &ErrorCode::ShutDown);
    let refused = manager.execute(["p"], &Request::new("m", ""), &Options::new());
    assert_eq!(refused.unwrap_err().code(), &ErrorCode::ShutDown);
}

#[test]
fn a_submitted_call_may_open_a_stream() {
    let (manager, fake, _) = pool_with(1, |builder| builder.max_job_threads(1).max_streams(1));
    let inner = manager.clone();
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            let stream = open(&inner, &Options::new())?;
            let texts: Result<Vec<_>, _> = stream.collect();
            Ok(credpool::Response::new(texts?.len().to_string()))
        })),
    );
    let handle = manager
        .submit(["p"], Request::new("m", "{}"), Options::new())
        .unwrap();
    assert_eq!(&handle.wait().unwrap().payload[..], b"2");
    // The executor's closure holds the manager: without this it would live for ever.
    fake.on("a0", Act::Serve);
}

#[test]
fn a_streamed_conversation_stays_on_its_credential() {
    let (manager, fake, _) = pool_with(3, |builder| {
        builder.selector(Affinity::new(RoundRobin::new()))
    });
    for id in ["a0", "a1", "a2"] {
        fake.on(id, Act::Stream(Arc::new(|_| Ok(chunks(["fi", "ne"])))));
    }
    let mut talk = vec![Message::new("user", "hello")];
    let mut home = None;
    for _ in 0..3 {
        drop(texts(open(&manager, &Options::new()).unwrap()));
        let options = Options::new().with_messages(talk.clone());
        let stream = open(&manager, &options).unwrap();
        let served = stream.auth_id().to_owned();
        assert_eq!(*home.get_or_insert_with(|| served.clone()), served);
        talk.push(Message::new("assistant", texts(stream).concat()));
        talk.push(Message::new("user", "go on"));
    }
}

#[test]
fn what_has_come_is_never_held_back_for_what_has_not() {
    let event = |text: &str| {
        let delta = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        format!("data: {delta}\n\n")
    };
    let two = event("one") + &event("two");
    for (behind, later) in [
        ("", ""),
        (": a comment\n", "\n"),
        (": a comment\n\n", ""),
        ("data: {\"choi", "ces\":[]}\n\n"),
        ("data: {\"choices\":[]}\n", "\n"),
    ] {
        let gate = Gate::new();
        let end = r#"{"choices":[{"index":0,"delta":{"content":"three"},"finish_reason":"stop"}]}"#;
        let body = format!("{two}{behind}{later}data: {end}\n\ndata: [DONE]\n\n");
        let reply = Reply::new(200)
            .header("content-type", "text/event-stream")
            .body(body.clone())
            .in_pieces(body.len())
            .stall_after(two.len() + behind.len(), &gate);
        let upstream = Upstream::start(move |_| reply.clone());
        let manager = Manager::builder().build().unwrap();
        manager.register_executor(OpenAi::new());
        let auth = Auth::api_key("openai", "k").with_attribute("base_url", upstream.url());
        manager.register(auth).unwrap();
        let request = Request::new("m", "{}");
        let mut stream = manager
            .execute_stream(["openai"], &request, &Options::new())
            .unwrap();
        for text in ["one", "two"] {
            match stream.recv_timeout(SOON) {
                StreamEvent::Chunk(chunk) => assert_eq!(chunk.text.as_deref(), Some(text)),
                other => panic!("{behind:?}: {other:?}"),
            }
        }
        gate.open();
        let rest: Vec<_> = stream.map(|chunk| chunk.unwrap().text).collect();
        assert_eq!(rest.last(), Some(&Some("three".to_owned())));
    }
}
