//! [`ErrorForm`]: how a vendor writes an error, for the clients of a gateway.

use serde_json::Value;

/// An error as a client may see it.
#[derive(Debug)]
pub(crate) struct ClientError<'a> {
    /// 400 to 599.
    pub(crate) status: u16,
    pub(crate) message: String,
    /// Whole seconds to wait.
    pub(crate) wait: Option<u64>,
    /// The id under which the upstream knows the request.
    pub(crate) request_id: Option<&'a str>,
    /// An upstream has answered so.
    pub(crate) is_answer: bool,
}

/// How a vendor writes an error.
pub(crate) trait ErrorForm {
    /// The header that has the request's id.
    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    /// Whether an upstream's body is an error in this form.
    fn is_own(&self, body: &Value) -> bool;

    /// The body of an answer.
    fn body(&self, error: &ClientError<'_>) -> Value;

    /// The event of a stream with the error of `body`, an error in this form.
    fn event(&self, body: Value) -> String;
}

/// An event without a name that has the error alone.
pub(crate) fn unnamed_event(mut body: Value) -> String {
    let error = body["error"].take();
    format!("data: {}\n\n", serde_json::json!({ "error": error }))
}
