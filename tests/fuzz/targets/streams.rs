//! Streams of the four families of vendors: any split of a stream gives the same chunks and the same end, none ends well without
//! its vendor's end, and no error shows a secret.
#![no_main]

use std::sync::LazyLock;

use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::{Auth, ErrorCode, Options, ProviderExecutor, Request, Usage};
use credpool_fuzz::{SECRET, Upstream, cut, find, holds_no_secret, settings};
use libfuzzer_sys::fuzz_target;

static UPSTREAM: LazyLock<Upstream> = LazyLock::new(Upstream::new);

fuzz_target!(|input: &[u8]| {
    let Some(([family, seed], stream)) = settings(input) else {
        return;
    };
    let kind = match family / 4 % 3 {
        0 => "text/event-stream",
        1 => "application/json",
        _ => "text/plain",
    };
    let family = FAMILIES[usize::from(family % 4)];
    let whole = read(family, kind, cut(stream, 0));
    for seed in [1, seed] {
        assert_eq!(read(family, kind, cut(stream, seed)), whole);
    }
    let ends_well = whole.failure.is_none();
    // An escape may spell a name in other letters.
    if ends_well && find(stream, b"\\u").is_none() {
        let says_it = |end: &&str| find(stream, end.as_bytes()).is_some();
        assert!(family.ends.iter().any(|end| says_it(&end)), "{whole:?}");
    }
});

struct Family {
    provider: &'static str,
    alt: &'static str,
    payload: &'static str,
    /// What a stream that ends well holds one of.
    ends: &'static [&'static str],
}

const FAMILIES: [&Family; 4] = [
    &Family {
        provider: "openai",
        alt: "",
        payload: r#"{"model":"m","n":2}"#,
        ends: &["[DONE]", "finish_reason", "done"],
    },
    &Family {
        provider: "openai",
        alt: "responses",
        payload: r#"{"model":"m"}"#,
        ends: &["response.completed", "response.incomplete", "response.done"],
    },
    &Family {
        provider: "anthropic",
        alt: "",
        payload: r#"{"model":"m"}"#,
        ends: &["message_stop", "stop_reason"],
    },
    &Family {
        provider: "gemini",
        alt: "",
        payload: "{}",
        ends: &["finishReason", "blockReason"],
    },
];

#[derive(Debug, PartialEq)]
struct Played {
    chunks: Vec<Chunk>,
    failure: Option<(ErrorCode, String, bool)>,
}

#[derive(Debug, PartialEq)]
struct Chunk {
    event: Option<String>,
    payload: Vec<u8>,
    text: Option<String>,
    usage: Option<Usage>,
    preamble: bool,
}

fn read(family: &Family, kind: &str, pieces: Vec<Vec<u8>>) -> Played {
    UPSTREAM.answer(&format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}"), pieces);
    let auth = Auth::api_key(family.provider, SECRET)
        .with_id("a")
        .with_attribute("base_url", "https://upstream.test/v1");
    let executor: &dyn ProviderExecutor = match family.provider {
        "openai" => &OpenAi::new(),
        "anthropic" => &Anthropic::new(),
        _ => &Gemini::new(),
    };
    let mut options = Options::new();
    if !family.alt.is_empty() {
        options = options.with_alt(family.alt);
    }
    let request = Request::new("m", family.payload);
    let mut played = Played {
        chunks: Vec::new(),
        failure: None,
    };
    let fail = |error: credpool::Error| {
        holds_no_secret(&error);
        (
            error.code().clone(),
            error.to_string(),
            error.is_retryable(),
        )
    };
    match executor.execute_stream(UPSTREAM.attempt(), &auth, &request, &options) {
        Err(error) => played.failure = Some(fail(error)),
        Ok(chunks) => {
            for chunk in chunks {
                assert_eq!(played.failure, None, "an error is the last item");
                match chunk {
                    Ok(chunk) => played.chunks.push(Chunk {
                        event: chunk.event,
                        payload: chunk.payload.to_vec(),
                        text: chunk.text,
                        usage: chunk.usage,
                        preamble: chunk.preamble,
                    }),
                    Err(error) => played.failure = Some(fail(error)),
                }
            }
        }
    }
    played
}
