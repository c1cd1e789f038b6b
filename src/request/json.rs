//! Requests from JSON: of any type that serializes, and of a document that names its model.

use serde::Serialize;
use serde_json::Value;

use super::Request;
use crate::error::{Error, ErrorCode};

impl Request {
    /// A request for one model whose payload is `payload` as JSON.
    ///
    /// The payload's own `model` member is not looked at: set both where the API wants it in the payload.
    ///
    /// # Errors
    /// Code `config` where `payload` does not serialize: a map whose keys are no strings, for example.
    ///
    /// ```
    /// use credpool::Request;
    /// use serde_json::json;
    ///
    /// let request = Request::json("gemini-2.5-flash", &json!({"contents": [{"parts": [{"text": "Hello"}]}]}))?;
    /// assert_eq!(&request.payload[..], br#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn json<T: Serialize + ?Sized>(
        model: impl Into<String>,
        payload: &T,
    ) -> Result<Self, Error> {
        let payload = serde_json::to_vec(payload).map_err(|error| {
            let what = format!("the payload does not serialize: {error}");
            Error::new(ErrorCode::Config, what)
        })?;
        Ok(Self::new(model, payload))
    }
}

/// The document is the payload, and its member `model` the model: empty (not tied to a model) where it names none.
///
/// ```
/// use credpool::Request;
/// use serde_json::json;
///
/// let request = Request::from(json!({"model": "gpt-5", "messages": []}));
/// assert_eq!(request.model, "gpt-5");
/// ```
impl From<Value> for Request {
    fn from(payload: Value) -> Self {
        let model = payload.get("model").and_then(Value::as_str);
        Self::new(model.unwrap_or_default(), payload.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_that_does_not_serialize_is_refused() {
        let error = Request::json("m", &BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Config);
    }

    #[test]
    fn the_model_is_that_of_the_document() {
        for (document, model) in [
            (json!({"model": "gpt-5", "messages": []}), "gpt-5"),
            (json!({"model": 5}), ""),
            (json!({"contents": []}), ""),
            (json!(["model"]), ""),
        ] {
            let request = Request::from(document.clone());
            assert_eq!(request.model, model, "{document}");
            let payload: Value = serde_json::from_slice(&request.payload).unwrap();
            assert_eq!(payload, document);
        }
    }
}
