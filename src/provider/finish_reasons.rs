//! Why a reply ended, in one word: which words end one, which are none, and which mean that it failed.

use super::http::ReportedError;

/// Whether a word is a reason for an end. Some servers write one into every chunk: an empty one, or a word for none
/// (`null`: <https://help.aliyun.com/zh/model-studio/qwen-api-via-dashscope>; `not_finished`: IBM's and NVIDIA's servers).
pub(crate) fn is_reason(word: &str) -> bool {
    !NONE.iter().any(|none| none.eq_ignore_ascii_case(word))
}

/// Whether a reason means that the reply failed. All others end one: `stop`, `length`, `tool_calls`, `content_filter` and what
/// vendors call them (`eos`, `end_turn`, `model_length`, `sensitive`, `COMPLETE`, `time_limit`), and what there may be one day.
pub(crate) fn is_fault(reason: &str) -> bool {
    fault(reason).is_some()
}

/// The fault that a reason means, if it means one. Beside those that vendors name, any whose last word is one of a fault:
/// `server_error`, `connection_aborted`.
///
/// | reason | of |
/// |---|---|
/// | `error` | OpenRouter, Mistral (<https://docs.mistral.ai/api>), Cohere, vLLM, [IBM](https://ibm.github.io/watsonx-ai-node-sdk) |
/// | `insufficient_system_resource` | DeepSeek (<https://api-docs.deepseek.com/api/create-chat-completion>) |
/// | `network_error` | Zhipu (<https://docs.bigmodel.cn/api-reference>) |
/// | `abort`, `aborted` | vLLM (`vllm/v1/engine`) and SGLang |
/// | `timeout`, `error_limit`, `user_cancel` | Cohere (<https://docs.cohere.com/reference/chat>); `error_toxic` is its filter |
/// | `timeout`, `cancelled` | NVIDIA's TensorRT-LLM (`tensorrt_llm/executor/result.py`), IBM |
pub(crate) fn fault(reason: &str) -> Option<ReportedError> {
    let lower = reason.to_ascii_lowercase();
    let last = lower.rsplit(['_', '-', ' ', '.']).next();
    let named = |name: &str| FAULTS.iter().find(|(fault, ..)| *fault == name);
    let (name, status, what) = named(&lower).or_else(|| named(last?))?;
    if *name == "error" && lower == "error" {
        let mut problem = ReportedError::default();
        problem.message = Some((*what).to_owned());
        return Some(problem);
    }
    Some(ReportedError::named(&lower, *status, what))
}

const NONE: [&str; 6] = [
    "",
    "null",
    "none",
    "not_finished",
    "in_progress",
    "finish_reason_unspecified",
];

/// With the status that stands for it.
const FAULTS: [(&str, Option<u16>, &str); 14] = [
    (
        "error",
        None,
        "the reply failed, and the upstream does not say why",
    ),
    (
        "insufficient_system_resource",
        Some(503),
        "the upstream broke the reply off for want of resources",
    ),
    (
        "network_error",
        Some(502),
        "the upstream broke the reply off for a fault of its network",
    ),
    ("abort", Some(503), BROKEN_OFF),
    ("aborted", Some(503), BROKEN_OFF),
    ("timeout", Some(504), "the upstream ran out of time"),
    ("error_limit", Some(500), BROKEN_OFF),
    ("cancel", Some(499), BROKEN_OFF),
    ("cancelled", Some(499), BROKEN_OFF),
    ("canceled", Some(499), BROKEN_OFF),
    ("failed", Some(500), BROKEN_OFF),
    ("failure", Some(500), BROKEN_OFF),
    ("interrupted", Some(503), BROKEN_OFF),
    ("overloaded", Some(503), BROKEN_OFF),
];

const BROKEN_OFF: &str = "the upstream broke the reply off";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendors_reasons_end_a_reply_or_are_faults() {
        for (reason, is_a_fault) in [
            // https://platform.openai.com/docs/api-reference/chat/object
            ("stop", false),
            ("length", false),
            ("tool_calls", false),
            ("content_filter", false),
            ("function_call", false),
            // Mistral, Together, Fireworks, Zhipu, Cohere, Bedrock, Gemini, IBM, gateways.
            ("model_length", false),
            ("eos", false),
            ("eos_token", false),
            ("stop_sequence", false),
            ("end_turn", false),
            ("tool_use", false),
            ("sensitive", false),
            ("model_context_window_exceeded", false),
            ("malformed_model_output", false),
            ("MALFORMED_FUNCTION_CALL", false),
            ("COMPLETE", false),
            ("MAX_TOKENS", false),
            ("TOOL_CALL", false),
            ("ERROR_TOXIC", false),
            ("time_limit", false),
            ("load", false),
            ("unknown", false),
            ("one_day", false),
            ("error", true),
            ("ERROR", true),
            ("ERROR_LIMIT", true),
            ("insufficient_system_resource", true),
            ("network_error", true),
            ("abort", true),
            ("TIMEOUT", true),
            ("cancelled", true),
            ("CANCELED", true),
            ("USER_CANCEL", true),
            ("server_error", true),
            ("internal-error", true),
            ("upstream timeout", true),
            ("engine_overloaded", true),
            ("generation_failed", true),
        ] {
            assert!(is_reason(reason), "{reason}");
            assert_eq!(is_fault(reason), is_a_fault, "{reason}");
        }
        for none in [
            "",
            "null",
            "None",
            "NOT_FINISHED",
            "in_progress",
            "FINISH_REASON_UNSPECIFIED",
        ] {
            assert!(!is_reason(none) && !is_fault(none), "{none}");
        }
    }

    #[test]
    fn a_fault_has_its_name_and_the_status_that_stands_for_it() {
        for (reason, name, status) in [
            ("error", None, None),
            ("server_error", Some("server_error"), Some(500)),
            ("upstream_error", Some("upstream_error"), None),
            ("network_error", Some("network_error"), Some(502)),
            ("TIMEOUT", Some("timeout"), Some(504)),
            ("USER_CANCEL", Some("user_cancel"), Some(499)),
        ] {
            let problem = fault(reason).unwrap();
            assert_eq!(problem.name().as_deref(), name, "{reason}");
            assert_eq!(problem.status(), status, "{reason}");
        }
    }
}
