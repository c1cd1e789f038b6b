//! Finish reasons of chat completions: which end a reply, and which are errors.

use serde_json::Value;

use crate::provider::http::error_body::ReportedError;
use crate::provider::http::json::is_filled;

/// The reason that a choice gives for its end. An empty one is none: some servers write it into every chunk, others the word `null`
/// (<https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope>).
pub(super) fn reason(choice: &Value) -> Option<&str> {
    let reason = choice.get("finish_reason")?.as_str()?;
    Some(reason).filter(|reason| is_reason(reason))
}

/// Whether a word is a reason for an end.
pub(super) fn is_reason(word: &str) -> bool {
    !matches!(word, "" | "null")
}

/// Whether a choice has ended, for whatever reason.
pub(super) fn is_finished(choice: &Value) -> bool {
    match choice.get("finish_reason") {
        Some(Value::String(_)) => reason(choice).is_some(),
        Some(other) => is_filled(other),
        None => false,
    }
}

/// Whether a reason means that the reply failed. All others end one: `stop`, `length`, `tool_calls`, `content_filter` and what
/// vendors call them (`eos`, `end_turn`, `model_length`, `sensitive`, `COMPLETE`), and what there may be one day.
pub(super) fn is_fault(reason: &str) -> bool {
    fault(reason).is_some()
}

/// Why a choice failed, if it did: gateways put an error beside what a reply has come to
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>), or it is the reason of the end.
pub(super) fn failure(choice: &Value) -> Option<ReportedError> {
    let error = choice.get("error").filter(|error| is_filled(error));
    let fault = reason(choice).and_then(fault);
    if error.is_none() && fault.is_none() {
        return None;
    }
    let said = ReportedError::find(choice).filter(|problem| *problem != ReportedError::default());
    said.or(fault)
}

fn fault(reason: &str) -> Option<ReportedError> {
    let (name, status, what) = FAULTS
        .iter()
        .find(|(name, ..)| name.eq_ignore_ascii_case(reason))?;
    if *name == "error" {
        let mut problem = ReportedError::default();
        problem.message = Some((*what).to_owned());
        return Some(problem);
    }
    Some(ReportedError::named(name, *status, what))
}

/// The reasons that mean a fault of the upstream, with the status that stands for it.
///
/// | reason | of |
/// |---|---|
/// | `error` | OpenRouter, Mistral (<https://docs.mistral.ai/api>), Cohere |
/// | `insufficient_system_resource` | DeepSeek (<https://api-docs.deepseek.com/api/create-chat-completion>) |
/// | `network_error` | Zhipu (<https://docs.bigmodel.cn/api-reference>) |
/// | `abort`, `aborted` | vLLM (`vllm/v1/engine`) and SGLang |
/// | `timeout`, `error_limit`, `error_toxic` | Cohere (<https://docs.cohere.com/reference/chat>) |
const FAULTS: [(&str, Option<u16>, &str); 7] = [
    ("error", None, "the reply failed without a reason"),
    (
        "insufficient_system_resource",
        Some(503),
        "the upstream aborted the reply: out of resources",
    ),
    (
        "network_error",
        Some(502),
        "the upstream aborted the reply: a fault of its network",
    ),
    ("abort", Some(503), "the upstream aborted the reply"),
    ("aborted", Some(503), "the upstream aborted the reply"),
    ("timeout", Some(504), "the upstream timed out"),
    ("error_limit", Some(500), "the upstream aborted the reply"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_vendors_reasons_end_a_reply_or_are_faults() {
        for (reason, fault) in [
            // https://platform.openai.com/docs/api-reference/chat/object
            ("stop", false),
            ("length", false),
            ("tool_calls", false),
            ("content_filter", false),
            ("function_call", false),
            // Mistral, Together, Fireworks, Zhipu, Cohere, gateways.
            ("model_length", false),
            ("eos", false),
            ("eos_token", false),
            ("stop_sequence", false),
            ("end_turn", false),
            ("tool_use", false),
            ("sensitive", false),
            ("model_context_window_exceeded", false),
            ("COMPLETE", false),
            ("MAX_TOKENS", false),
            ("TOOL_CALL", false),
            ("load", false),
            ("one_day", false),
            ("error", true),
            ("ERROR", true),
            ("insufficient_system_resource", true),
            ("network_error", true),
            ("abort", true),
            ("TIMEOUT", true),
        ] {
            let choice = json!({"index": 0, "finish_reason": reason});
            assert!(is_finished(&choice), "{reason}");
            assert_eq!(failure(&choice).is_some(), fault, "{reason}");
        }
        for none in [json!(null), json!(""), json!("null"), json!([])] {
            let choice = json!({"finish_reason": none});
            assert!(
                !is_finished(&choice) && failure(&choice).is_none(),
                "{none}"
            );
        }
        let beside = json!({"finish_reason": "stop", "error": {"code": 502, "message": "m"}});
        assert_eq!(failure(&beside).unwrap().status(), Some(502));
        let empty = json!({"finish_reason": "stop", "error": {}});
        assert_eq!(failure(&empty), None);
    }
}
