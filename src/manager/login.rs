//! Logins: a record gets the tokens of a person.

use std::sync::Arc;

use super::Manager;
use crate::auth::Auth;
use crate::clock::deadline;
use crate::error::Error;
use crate::executor::Attempt;
use crate::login::{Login, LoginPrompt};

impl Manager {
    /// Has a person log in, and gives the tokens to a registered credential: one that waits for its first login ([`Auth::pending`]), or one
    /// whose login is over. Blocks until that is done; `prompt` tells the person what to do, on this thread.
    ///
    /// The tokens are in the store before anything uses them. Of the record, the tokens change, and attributes `token_url`, `client_id`,
    /// `client_secret` and `client_auth`, with which they are refreshed from then on; id, label, other attributes and other metadata stay. A login
    /// that fails or is cancelled leaves the record as it was. No browser is opened, unless `prompt` does.
    ///
    /// # Errors
    /// `auth_not_found`; `needs_login` where the person or the server declined, a code has expired, the browser came back from another
    /// server, or the server needs its person again: begin anew. `deadline_exceeded` after [`Login::with_timeout`], for a browser that was closed
    /// for example; `cancelled`; `shut_down`; `config` for a client or endpoints that cannot be used, a redirect port that is taken, a record with an API
    /// key; `transport` and `refresh_failed` as for a refresh; what the store says, and what [`update`](Self::update) says.
    ///
    /// ```no_run
    /// use credpool::{Auth, Login, Manager};
    ///
    /// # fn main() -> Result<(), credpool::Error> {
    /// let manager = Manager::builder().build()?;
    /// manager.register(Auth::pending("my-llm").with_id("ada"))?;
    ///
    /// let login = Login::by_device("my-app").with_issuer("https://login.example.org").with_scope("offline_access");
    /// let auth = manager.log_in("ada", &login, |prompt| println!("{prompt}"))?;
    /// assert!(auth.generation() > 0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "OAuth")]
    pub fn log_in(
        &self,
        id: &str,
        login: &Login,
        prompt: impl FnOnce(&LoginPrompt),
    ) -> Result<Arc<Auth>, Error> {
        let services = &self.inner()?.services;
        services.pool.check_open()?;
        let record = self.known(id)?;
        let cancel = login.cancel().child();
        // A manager that ends saves no login any more.
        let _with_the_manager = services.pool.closing().on_cancel({
            let cancel = cancel.clone();
            move || cancel.cancel()
        });
        let attempt = Attempt {
            number: 1,
            deadline: Some(deadline(services.clock.monotonic(), login.timeout())),
            cancel,
            over_new_connection: false,
            tools: Arc::clone(&services.tools),
        };
        let granted = login.run(&attempt, &record, prompt).map_err(|error| {
            let is_open = services.pool.check_open();
            is_open.err().unwrap_or(error)
        })?;
        // The record may have changed meanwhile.
        let saved = self
            .known(id)
            .and_then(|current| self.update(granted.put_into(&current, services.clock.now())));
        granted.show(&saved);
        if saved.is_ok() {
            log::info!("credential {id}: a login is complete");
        }
        saved
    }
}
