//! [`Item`]: what the write-behind thread writes as one.

use std::fmt;
use std::sync::Arc;

/// Something that the store does not have as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Item {
    /// The record of this id.
    Record(Arc<str>),
    /// All entries with news, together.
    Entries,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(id) => f.write_str(id),
            Self::Entries => f.write_str("the owners of resources"),
        }
    }
}
