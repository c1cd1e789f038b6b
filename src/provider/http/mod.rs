//! What every vendor's executor does over HTTP: credentials in headers, addresses, plain calls, streams that cannot lie, error bodies.
//! Knows no vendor's names.
//!
//! An executor for another vendor is a [`Vendor`]: its address, its headers, its paths, a [`ReplyReader`] for plain replies and a
//! [`StreamProtocol`] for streams. [`HttpExecutor`] does the rest.

pub(crate) mod amazon;
pub(crate) mod call;
pub(crate) mod call_numbers;
pub(crate) mod credential_header;
mod dialect;
pub(crate) mod error_body;
pub(crate) mod error_form;
pub(crate) mod event_stream;
mod events;
pub(crate) mod exchange;
mod executor;
mod framing;
pub(crate) mod headers;
pub(crate) mod json;
mod metered;
pub(crate) mod patience;
pub(crate) mod payload;
mod raw;
mod reply;
mod sending;
mod signer;
pub(crate) mod sse;
pub(crate) mod url;

pub use call::{Vendor, VendorCall};
pub use credential_header::{bearer_value, key_value, secret_of};
pub use dialect::Dialect;
pub use error_body::ReportedError;
pub use event_stream::{EventMeaning, StreamProtocol};
pub use exchange::upstream_error;
pub use executor::HttpExecutor;
pub use framing::Framing;
pub use headers::{bearer_headers, configured_headers};
pub use json::{function_call, number};
pub use payload::streaming_payload;
pub use reply::{Reply, ReplyReader};
pub use signer::Signer;
