//! Which model an error is about: [`Error::model`].

use super::Error;

impl Error {
    /// The model that the attempt was about, as its request named it to the vendor: not the alias, and not the chain of models that the call
    /// asked for.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Auth, Error, Manager, Options, Request};
    ///
    /// let executor = ScriptedExecutor::new("p");
    /// executor.on_execute(|_| Err(Error::upstream(400, "too long")));
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(executor);
    /// manager.register(Auth::api_key("p", "key").with_model_alias("fast", "gpt-5-mini"))?;
    /// let error = manager.execute(["p"], &Request::new("fast", "{}"), &Options::new()).unwrap_err();
    /// assert_eq!(error.model(), Some("gpt-5-mini"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn model(&self) -> Option<&str> {
        self.chain().find_map(|error| error.inner.model.as_deref())
    }

    /// Names the model that was asked for, as the vendor calls it.
    pub(crate) fn with_model(self, model: &str) -> Self {
        if model.is_empty() {
            return self;
        }
        self.change(|inner| inner.model = Some(model.into()))
    }
}
