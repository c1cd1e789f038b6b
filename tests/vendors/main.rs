//! What vendors really send: replies, streams and errors by vendor, each with the page or the SDK that names it, and what the
//! pool makes of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(unreachable_pub, dead_code, reason = "each module uses its own part")]
#![allow(
    clippy::too_many_lines,
    clippy::type_complexity,
    clippy::needless_pass_by_value,
    reason = "tables of many rows, and helpers that put JSON together"
)]

mod compatible;
mod errors;
mod parts;
mod replay;
mod reports;
mod sequences;
mod tool_calls;
mod verdicts;
mod waits;
mod wrapped;
