//! Token-endpoint back-off: a Retry-After applies to every credential with the same endpoint and client id.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::admission::Client;
use crate::auth::Auth;

/// Until when nothing is sent, for each client of a token endpoint.
#[derive(Debug, Default)]
pub(super) struct EndpointBackoff(Mutex<HashMap<Client, Instant>>);

impl EndpointBackoff {
    pub(super) fn set(&self, client: Client, end: Instant) {
        self.0.lock().insert(client, end);
    }

    /// How long nothing is to be sent yet.
    pub(super) fn left(&self, client: &Client, now: Instant) -> Option<Duration> {
        let mut ends = self.0.lock();
        ends.retain(|_, end| *end > now);
        Some(*ends.get(client)? - now)
    }
}

/// The token endpoint and the client that a credential is refreshed with; where the record does not say, its provider.
pub(super) fn client(auth: &Auth) -> Client {
    let client = auth.setting("client_id").unwrap_or_default();
    match auth
        .setting("token_url")
        .or_else(|| auth.setting("token_uri"))
    {
        Some(endpoint) => format!("{endpoint} {client}").into(),
        None => format!("{} {client}", auth.provider).into(),
    }
}
