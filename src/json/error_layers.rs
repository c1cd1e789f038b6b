//! Where in the body of an error its description stands: vendors, gateways and frameworks each wrap it in their own way.

use serde_json::Value;

use super::bounded;
use super::input::{parse_lenient, without_mark};

/// An error's body as a value: JSON, the first object in other text (an event of a stream, or a program's words before it), or else the text.
/// Null where it is a page.
pub(crate) fn error_body(bytes: &[u8]) -> Value {
    if let Ok(json) = parse_lenient(bytes) {
        return json;
    }
    let text = String::from_utf8_lossy(without_mark(bytes));
    let text = text.trim();
    let first_object = || {
        let start = text.find('{')?;
        bounded::parse_first(&text.as_bytes()[start..]).ok()
    };
    match text.as_bytes().first() {
        None | Some(b'<') => Value::Null,
        _ => first_object().unwrap_or_else(|| text.into()),
    }
}

/// Shows `each` the objects and texts that may say what is wrong, from the outside in: the error itself, what it wraps by any of the names
/// in use, the first of several, and JSON inside a text.
///
/// ```text
/// {"error":{"message":"{\"error\":{\"code\":\"insufficient_quota\"}}","code":429}}
/// {"errors":[{"code":"rate_limit_exceeded","message":"…"}]}
/// {"detail":{"error":"…"}}
/// ```
pub(crate) fn error_layers(body: &Value, each: &mut dyn FnMut(&Value)) {
    layers(body, DEEPEST, each);
}

fn layers(value: &Value, depth: usize, each: &mut dyn FnMut(&Value)) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Array(items) => {
            if let Some(first) = items.first() {
                layers(first, depth, each);
            }
        }
        Value::Object(_) => {
            each(value);
            let inner = WRAPPERS.iter().filter_map(|path| value.pointer(path));
            inner.for_each(|inner| layers(inner, depth, each));
        }
        Value::String(text) => match embedded(text) {
            Some(inner) => layers(&inner, depth, each),
            None => each(value),
        },
        _ => {}
    }
}

/// The JSON that a text is as a whole.
pub(crate) fn embedded(text: &str) -> Option<Value> {
    let text = text.trim();
    let is_document = text.starts_with(['{', '[']) && text.ends_with(['}', ']']);
    is_document.then(|| parse_lenient(text.as_bytes()).ok())?
}

/// Where an error is held, or its text.
///
/// | path | of |
/// |---|---|
/// | `error`, `message` | OpenAI, and most others |
/// | `Message` | services of AWS |
/// | `errors` | Cloudflare, watsonx, GraphQL |
/// | `response/error` | the Responses API, of a response that failed |
/// | `detail`, `title` | FastAPI, [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) |
/// | `innererror`, `extensions` | [Azure](https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md), GraphQL |
/// | `error_description` | OAuth |
/// | `error_msg`, `msg`, `base_resp/status_msg` | Huawei and Baidu, Chinese gateways, MiniMax |
const WRAPPERS: [&str; 13] = [
    "/error",
    "/errors",
    "/response/error",
    "/message",
    "/Message",
    "/error_description",
    "/detail",
    "/title",
    "/innererror",
    "/extensions",
    "/error_msg",
    "/msg",
    "/base_resp/status_msg",
];

/// Errors in errors go no deeper than this, each in an object or a text.
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(body: &Value) -> Vec<String> {
        let mut codes = Vec::new();
        error_layers(body, &mut |layer| {
            codes.extend(layer.get("code").map(Value::to_string));
        });
        codes
    }

    #[test]
    fn errors_are_found_however_they_are_wrapped() {
        let error = json!({"error": {"code": 7, "message": "m"}});
        let text = error.to_string();
        for body in [
            error.clone(),
            json!([error]),
            json!({"errors": [{"code": 7}, {"code": 8}]}),
            json!({"errors": [{"message": "m", "extensions": {"code": 7}}]}),
            json!({"error": [{"code": 7}]}),
            json!({"error": error}),
            json!({"error": text}),
            json!({"error": {"message": text}}),
            json!({"error": {"message": json!({"error": {"message": text}}).to_string()}}),
            json!({"error": {"innererror": {"code": 7}}}),
            json!({"detail": error}),
            json!({"detail": text}),
            json!({"detail": [{"code": 7}]}),
            json!({"type": "response.failed", "response": error}),
            json!({"message": text}),
            json!(text),
            json!({"code": 7}),
        ] {
            assert_eq!(codes(&body), ["7"], "{body}");
        }
        for body in [json!(null), json!(7), json!([]), json!({"data": error})] {
            assert_eq!(codes(&body), [""; 0], "{body}");
        }
    }

    #[test]
    fn what_is_wrapped_without_end_is_read_to_a_depth() {
        let mut body = json!({"code": 7});
        for _ in 0..100 {
            body = json!({"error": body, "code": 1});
        }
        assert_eq!(codes(&body).len(), DEEPEST);
        let mut text = body.to_string();
        for _ in 0..3 {
            text = json!({"error": text}).to_string();
        }
        assert_eq!(codes(&text.into()).len(), DEEPEST - 8 + 1);
    }

    #[test]
    fn a_body_is_json_or_holds_it_or_is_text() {
        let error = json!({"error": {"code": 7}});
        for body in [
            format!("{error}"),
            format!("\u{feff}{error}"),
            format!("{error}\n{error}\n"),
            format!("Error: {error}"),
            format!("event: error\ndata: {error}\n\n"),
            format!("data: {error}\n\ndata: [DONE]\n\n"),
            format!("{error}[DONE]"),
        ] {
            assert_eq!(error_body(body.as_bytes()), error, "{body}");
        }
        for (body, value) in [
            ("slow down, {now}", json!("slow down, {now}")),
            (" too many\n", json!("too many")),
            ("{\"a\":", json!("{\"a\":")),
            ("", Value::Null),
            (" \n", Value::Null),
            ("<html>{\"a\":1}</html>", Value::Null),
        ] {
            assert_eq!(error_body(body.as_bytes()), value, "{body}");
        }
    }
}
