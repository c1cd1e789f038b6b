//!

pub(crate) mod call;
pub(crate) mod credential_header;
pub(crate) mod error_body;
pub(crate) mod event_stream;
pub(crate) mod exchange;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod patience;
pub(crate) mod payload;
pub(crate) mod sse;
pub(crate) mod url;
