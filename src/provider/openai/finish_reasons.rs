//! The ends of the choices of chat completions.

use serde_json::Value;

use crate::provider::finish_reasons;
use crate::provider::http::error_body::ReportedError;
use crate::provider::http::json::is_filled;

/// The reason that a choice gives for its end.
pub(super) fn reason(choice: &Value) -> Option<&str> {
    let reason = choice.get("finish_reason")?.as_str()?;
    Some(reason).filter(|reason| finish_reasons::is_reason(reason))
}

/// Whether a choice has ended, for whatever reason.
pub(super) fn is_finished(choice: &Value) -> bool {
    match choice.get("finish_reason") {
        Some(Value::String(_)) => reason(choice).is_some(),
        Some(other) => is_filled(other),
        None => false,
    }
}

/// Why a choice failed, if it did: gateways put an error beside what a reply has come to
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>), or it is the reason of the end.
pub(super) fn failure(choice: &Value) -> Option<ReportedError> {
    let error = choice.get("error").filter(|error| is_filled(error));
    let fault = reason(choice).and_then(finish_reasons::fault);
    if error.is_none() && fault.is_none() {
        return None;
    }
    let said = ReportedError::find(choice).filter(|problem| *problem != ReportedError::default());
    said.or(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_choice_ends_by_its_reason_or_fails() {
        for (reason, fails) in [("stop", false), ("one_day", false), ("abort", true)] {
            let choice = json!({"index": 0, "finish_reason": reason});
            assert!(is_finished(&choice), "{reason}");
            assert_eq!(failure(&choice).is_some(), fails, "{reason}");
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
