//! An upstream's answer as it was received, before secrets were cut from it: what the policy classifies.

use std::fmt;

use zeroize::Zeroizing;

use super::Error;

/// Message and body as they were received. The policy reads them, so that a verdict depends on what was said and not on the
/// credential; nothing prints or stores them.
pub(super) struct Received {
    message: Zeroizing<String>,
    body: Option<Zeroizing<String>>,
}

impl Error {
    /// The same error with what was received in its stead: `body`, else `message`.
    pub(crate) fn with_received(self, message: &str, body: Option<&str>) -> Self {
        let received = Received {
            message: message.to_owned().into(),
            body: body.map(|body| body.to_owned().into()),
        };
        self.change(|inner| inner.received = Some(received.into()))
    }

    /// Has the policy find what a vendor calls by a name of its own (the first of a pair) under the name that rules have for it.
    pub(crate) fn with_names(self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.change(|inner| inner.names = names)
    }

    /// The pairs of a vendor's own name and the common one, here or in an error below.
    pub(crate) fn names(&self) -> &'static [(&'static str, &'static str)] {
        let mut names = self.chain().map(|error| error.inner.names);
        names.find(|names| !names.is_empty()).unwrap_or_default()
    }

    pub(super) fn remembers(&self) -> bool {
        self.inner.received.is_some()
    }

    /// The message as it was received.
    pub(crate) fn received_message(&self) -> &str {
        let received = self.inner.received.as_ref();
        received.map_or(self.message(), |received| &received.message)
    }

    /// The body as it was received, here or in an error below.
    pub(crate) fn received_body(&self) -> Option<&str> {
        self.chain().find_map(|error| {
            let received = error.inner.received.as_ref();
            let received = received.and_then(|received| received.body.as_ref());
            received
                .map(|body| body.as_str())
                .or(error.inner.body.as_deref())
        })
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Received")
    }
}
