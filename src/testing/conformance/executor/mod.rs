//! The conformance suite of executors.

mod call;
mod interruptions;
mod raw;
mod replies;
mod safety;
mod stream_ends;
mod streams;

use std::sync::Arc;

use super::{Check, Report, run};
use crate::auth::Auth;
use crate::executor::ProviderExecutor;
use crate::request::{Options, Request, Usage};
use crate::testing::Reply;

/// An event of a stream: its name, which may be empty, and its data.
///
/// ```
/// use credpool::testing::conformance::Event;
///
/// let piece: Event = ("content_block_delta", r#"{"text": "hello"}"#.to_owned());
/// ```
pub type Event = (&'static str, String);

/// What [`check_executor`] needs to know of an executor: how its vendor answers, by the vendor's own pages. A server of the suite, on loopback,
/// gives these answers, and spoils them.
///
/// ```
/// use std::sync::Arc;
///
/// use credpool::provider::OpenAi;
/// use credpool::testing::conformance::{Event, ExecutorFixture};
/// use credpool::{Auth, ProviderExecutor, Request};
/// use serde_json::json;
///
/// /// How chat completions are answered.
/// struct Chat;
/// impl ExecutorFixture for Chat {
///     fn executor(&self) -> Arc<dyn ProviderExecutor> {
///         Arc::new(OpenAi::new())
///     }
///     fn credential(&self, base_url: &str, key: &str) -> Auth {
///         let auth = Auth::api_key("openai", key).with_attribute("base_url", base_url);
///         auth.with_attribute("count_tokens_path", "/count")
///     }
///     fn request(&self) -> Request {
///         Request::new("gpt-5", r#"{"model": "gpt-5", "messages": []}"#)
///     }
///     fn reply(&self, text: &str) -> String {
///         json!({"choices": [{"finish_reason": "stop", "message": {"content": text}}]}).to_string()
///     }
///     fn stream_piece(&self, text: &str) -> Event {
///         ("", json!({"choices": [{"delta": {"content": text}}]}).to_string())
///     }
///     fn stream_end(&self) -> Vec<Event> {
///         let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
///         vec![("", last.to_string()), ("", "[DONE]".to_owned())]
///     }
///     fn error(&self, message: &str) -> String {
///         json!({"error": {"message": message}}).to_string()
///     }
///     fn error_in_reply(&self, message: &str) -> Option<String> {
///         Some(self.error(message))
///     }
///     fn error_in_stream(&self, message: &str) -> Option<Event> {
///         Some(("", self.error(message)))
///     }
///     fn count(&self, tokens: u64) -> Option<String> {
///         Some(json!({"input_tokens": tokens}).to_string())
///     }
/// }
/// ```
pub trait ExecutorFixture: Send + Sync {
    /// The executor.
    fn executor(&self) -> Arc<dyn ProviderExecutor>;

    /// A credential with this key, for an API at this address. By default an API key with attribute `base_url`.
    fn credential(&self, base_url: &str, key: &str) -> Auth {
        Auth::api_key(self.executor().identifier(), key).with_attribute("base_url", base_url)
    }

    /// An ordinary request.
    fn request(&self) -> Request;

    /// How it is made. By default as every request.
    fn options(&self) -> Options {
        Options::new()
    }

    /// The body of a whole reply with this text.
    fn reply(&self, text: &str) -> String;

    /// The tokens that [`reply`](Self::reply) says it has used. None by default.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// The events of a stream before any text. None by default.
    fn stream_start(&self) -> Vec<Event> {
        Vec::new()
    }

    /// The event that brings a piece of text.
    fn stream_piece(&self, text: &str) -> Event;

    /// The events after the last text, up to the last one of a whole stream.
    fn stream_end(&self) -> Vec<Event>;

    /// After how many of the events at the [end](Self::stream_end) the reply is whole, so that nothing is lost where the others are missing. By
    /// default after all of them.
    fn whole_after(&self) -> usize {
        self.stream_end().len()
    }

    /// A stream with these events, in the vendor's framing. By default [`Reply::named_sse`].
    fn stream_of(&self, events: Vec<Event>) -> Reply {
        Reply::named_sse(events)
    }

    /// The body of an answer with an error status.
    fn error(&self, message: &str) -> String;

    /// The body of an answer with status 200 that is an error. None by default: the vendor sends none.
    fn error_in_reply(&self, message: &str) -> Option<String> {
        let _ = message;
        None
    }

    /// The event by which a stream fails. By default one named `error` with the [error in a reply](Self::error_in_reply).
    fn error_in_stream(&self, message: &str) -> Option<Event> {
        let data = self.error_in_reply(message)?;
        Some(("error", data))
    }

    /// The body of an answer to a token count. None by default: the vendor does not count, and the executor says so.
    fn count(&self, tokens: u64) -> Option<String> {
        let _ = tokens;
        None
    }
}

/// Checks everything that a [`ProviderExecutor`] promises, against a server of the suite that answers as the fixture says.
///
/// ```
/// use credpool::provider::Anthropic;
/// use credpool::testing::conformance::{Event, ExecutorFixture, check_executor};
/// use credpool::{ProviderExecutor, Request, Usage};
/// use serde_json::{Value, json};
/// use std::sync::Arc;
///
/// struct Messages;
///
/// fn event(name: &'static str, data: Value) -> Event {
///     (name, data.to_string())
/// }
///
/// impl ExecutorFixture for Messages {
///     fn executor(&self) -> Arc<dyn ProviderExecutor> {
///         Arc::new(Anthropic::new())
///     }
///
///     fn request(&self) -> Request {
///         Request::new("claude", r#"{"model":"claude","max_tokens":64,"messages":[]}"#)
///     }
///
///     fn reply(&self, text: &str) -> String {
///         json!({
///             "type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
///             "usage": {"input_tokens": 2, "output_tokens": 1},
///         })
///         .to_string()
///     }
///
///     fn usage(&self) -> Option<Usage> {
///         Some(Usage::new(2, 1))
///     }
///
///     fn error(&self, message: &str) -> String {
///         json!({"type": "error", "error": {"type": "overloaded_error", "message": message}}).to_string()
///     }
///
///     fn stream_piece(&self, text: &str) -> Event {
///         let delta = json!({"type": "text_delta", "text": text});
///         event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta}))
///     }
///
///     fn stream_end(&self) -> Vec<Event> {
///         let reason = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
///         vec![event("message_delta", reason), event("message_stop", json!({"type": "message_stop"}))]
///     }
///
///     fn count(&self, tokens: u64) -> Option<String> {
///         Some(json!({"input_tokens": tokens}).to_string())
///     }
/// }
///
/// let report = check_executor(&Messages);
/// assert!(report.kept.contains(&"a stream that is cut anywhere is an error".to_owned()));
/// ```
///
/// # Panics
/// When a promise is broken, after all were checked, with a sentence for each.
pub fn check_executor(fixture: &(dyn ExecutorFixture + 'static)) -> Report {
    run("ProviderExecutor", CHECKS, |check| (check.run)(fixture))
}

const CHECKS: &[Check<dyn ExecutorFixture, ()>] = checks! {
    replies:
        a_whole_reply_is_served,
        a_rate_limit_keeps_its_status_and_wait,
        every_error_keeps_its_status_and_body,
        an_error_inside_a_success_is_an_error,
        an_unreadable_answer_is_an_error,
        a_lost_answer_is_a_transport_error,
        a_refused_connection_is_a_transport_error,
        tokens_are_counted_or_said_not_to_be;
    interruptions:
        a_call_that_takes_too_long_is_given_up,
        a_cancelled_call_returns_immediately,
        a_call_ends_at_its_deadline,
        a_call_whose_time_is_over_sends_nothing,
        a_cancelled_stream_ends_immediately,
        a_stream_ends_at_its_deadline,
        a_dropped_stream_closes_its_connection,
        a_silent_stream_is_given_up;
    streams:
        a_whole_stream_brings_the_text,
        every_framing_gives_the_same_chunks,
        a_chunk_arrives_while_the_stream_waits,
        an_unreadable_event_is_an_error,
        an_event_has_a_limit,
        an_error_event_is_the_last_item,
        a_document_is_no_stream;
    stream_ends:
        a_stream_that_is_cut_anywhere_is_an_error,
        a_stream_without_its_end_is_an_error,
        a_reset_is_a_lost_connection,
        what_follows_the_end_does_not_matter;
    raw:
        raw_calls_are_made_or_said_not_to_be,
        a_raw_request_goes_out_as_it_is_with_the_credential,
        a_raw_answer_comes_as_it_is,
        the_usage_of_a_raw_answer_is_what_it_says,
        a_raw_answer_is_read_while_it_comes,
        a_raw_error_keeps_its_status_body_and_wait,
        a_raw_answer_that_is_cut_is_an_error,
        a_raw_call_ends_when_it_is_cancelled_and_at_its_deadline,
        an_upload_is_read_once_for_each_attempt,
        a_raw_call_shows_its_key_to_nobody_else;
    safety:
        an_upstream_that_echoes_secrets_does_not_make_errors_tell_them,
        a_key_is_in_no_url,
        an_unfit_key_is_refused_before_anything_is_sent,
        a_redirect_goes_nowhere,
        a_key_goes_to_no_other_machine_in_the_clear,
        another_request_gets_the_credential,
        its_own_format_is_spoken;
};
