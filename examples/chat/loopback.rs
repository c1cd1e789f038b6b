//! What answers without an account: it repeats what it is told, and asks for the tool where that speaks of the time.

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use serde_json::json;

pub(crate) fn start() -> Upstream {
    Upstream::start(answer)
}

fn answer(request: &ReceivedRequest) -> Reply {
    let payload = request.json();
    let last = payload["messages"].as_array().and_then(|all| all.last());
    let content = last
        .and_then(|last| last["content"].as_str())
        .unwrap_or_default();
    let deltas = match last.map(|last| &last["role"]) {
        Some(role) if role == "tool" => vec![json!({"content": format!("It is {content}.")})],
        _ if content.contains("time") => {
            let function = json!({"name": "current_time", "arguments": r#"{"utc_offset": 9}"#});
            vec![
                json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}),
            ]
        }
        _ => format!("You said: {content}")
            .split_inclusive(' ')
            .map(|word| json!({"content": word}))
            .collect(),
    };
    let event = |delta, end| {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}).to_string()
    };
    let mut events: Vec<_> = deltas.into_iter().map(|delta| event(delta, None)).collect();
    events.extend([event(json!({}), Some("stop")), "[DONE]".to_owned()]);
    Reply::sse(events)
}
