//! What the replays share: reading cases, comparing as the traces mean it, reporting.

pub(crate) mod cases;
pub(crate) mod compare;
mod manager;

pub(crate) use cases::replay;
