//! Limits that an error body reports.

use std::time::Duration;

use crate::limits::{Exhausted, LimitWindow};

/// A wait, what is used up, and the windows that the body tells of.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    pub(crate) wait: Option<Duration>,
    pub(crate) exhausted: Option<Exhausted>,
    pub(crate) windows: Vec<LimitWindow>,
}
