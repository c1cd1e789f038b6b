//! The manager's side of its store: one handle for all calls of it, one lock per record, write-behind of states, and the store's health.
//! Knows nothing of selection and executors.

mod backlog;
mod entries;
mod handle;
mod health;
mod item;
mod monitor;
mod record_locks;
mod write_behind;
mod writers;

pub(crate) use handle::{Committed, StoreHandle};
pub use health::StoreHealth;
pub(crate) use record_locks::Turn;
pub(crate) use write_behind::start as start_writer;
