//! Errors without the secrets that they quote. Each error of an executor goes through this in `execution::retry_loop`.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::Error;

/// What another type's error said, where its own words could not stay.
#[derive(Debug)]
struct Said(String);

impl Error {
    /// The same error with its texts cleaned, and those of its sources. What they were is kept for the policy alone.
    pub(crate) fn scrubbed(self, clean: &dyn Fn(&str) -> String) -> Self {
        let message = clean(self.message());
        let body = self.inner.body.as_deref().map(clean);
        let source = self.source().and_then(|source| cleaned(source, clean));
        let head = self.inner.head.as_deref().cloned();
        let head = head.map(|head| head.cleaned(|text| Cow::Owned(clean(text))));
        let is_clean = message == self.inner.message
            && head.as_ref() == self.inner.head.as_deref()
            && body.as_deref() == self.inner.body.as_deref()
            && source.is_none();
        if is_clean {
            return self;
        }
        let error = if self.remembers() {
            self
        } else {
            let (message, body) = (self.message().to_owned(), self.inner.body.clone());
            self.with_received(&message, body.as_deref())
        };
        error.change(|inner| {
            inner.message = message;
            inner.body = body.map(Into::into);
            inner.head = head.map(Arc::new);
            inner.source = source.or(inner.source.take());
        })
    }
}

/// What takes the place of a source that quotes something; nothing where it does not.
fn cleaned(
    source: &(dyn StdError + 'static),
    clean: &dyn Fn(&str) -> String,
) -> Option<Arc<dyn StdError + Send + Sync>> {
    if let Some(error) = source.downcast_ref::<Error>() {
        let scrubbed = error.clone().scrubbed(clean);
        let is_clean = Arc::ptr_eq(&error.inner, &scrubbed.inner);
        return (!is_clean).then(|| Arc::new(scrubbed) as _);
    }
    let quotes = |text: String| clean(&text) != text;
    let is_clean =
        chain(source).all(|error| !quotes(error.to_string()) && !quotes(format!("{error:?}")));
    if is_clean {
        return None;
    }
    let said: Vec<String> = chain(source)
        .map(|error| clean(&error.to_string()))
        .collect();
    Some(Arc::new(Said(said.join(": "))))
}

fn chain<'a>(
    source: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(source), |error| StdError::source(*error))
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        text.replace("canary", "***")
    }

    fn shown(error: &Error) -> String {
        let texts: Vec<String> = chain(error)
            .map(|error| format!("{error} {error:?}"))
            .collect();
        texts.join(" / ")
    }

    #[test]
    fn sources_quote_nothing_however_deep() {
        let parse = serde_json::from_str::<u32>("\"canary\"").unwrap_err();
        let deep = Error::other(parse).context("reading").context("calling");
        assert!(shown(&deep).contains("canary"));
        let scrubbed = deep.scrubbed(&clean);
        assert!(!shown(&scrubbed).contains("canary"), "{}", shown(&scrubbed));
        assert!(
            shown(&scrubbed).contains("expected u32"),
            "{}",
            shown(&scrubbed)
        );
    }

    #[test]
    fn what_quotes_nothing_stays_as_it_is() {
        let parse = serde_json::from_str::<u32>("true").unwrap_err();
        let error = Error::other(parse).context("reading").scrubbed(&clean);
        let mut source = error.source().unwrap();
        while let Some(below) = source.source() {
            source = below;
        }
        assert!(source.is::<serde_json::Error>());
    }
}
