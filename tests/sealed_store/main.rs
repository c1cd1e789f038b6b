//! Sealed records: readable to the holders of a key alone, for as long as any of them has it, and lost to none.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod opening;
mod rotation;
mod secrets;
#[path = "../store_support/mod.rs"]
mod store_support;
#[path = "../support/mod.rs"]
mod support;
#[path = "../watched/mod.rs"]
mod watched;

use std::sync::Arc;

use credpool::{Auth, OAuthTokens, Sealed, SealingKey, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The keys of a process, as its operator changes them.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Mutex<Vec<SealingKey>>>);

impl Keys {
    pub(crate) fn of<const N: usize>(bytes: [u8; N]) -> Self {
        let keys = Self(Arc::default());
        keys.set(bytes);
        keys
    }

    pub(crate) fn set<const N: usize>(&self, bytes: [u8; N]) {
        *self.0.lock() = bytes.map(key).into();
    }

    pub(crate) fn seal<S: Store>(&self, store: S) -> Sealed<S> {
        let keys = self.clone();
        Sealed::new(store, move || Ok(keys.0.lock().clone())).unwrap()
    }
}

pub(crate) fn key(byte: u8) -> SealingKey {
    SealingKey::from_bytes([byte; 32])
}

pub(crate) fn record(id: &str) -> Auth {
    let tokens = OAuthTokens::new("canary-access");
    let tokens = tokens.with_refresh_token(format!("canary-refresh-{id}"));
    Auth::oauth("p", tokens)
        .with_id(id)
        .with_label("mine")
        .with_attribute("api_key", "canary-key")
        .with_attribute("header:x-team", "canary-header")
        .with_attribute("base_url", "https://canary-host")
        .with_attribute("priority", "3")
        .with_metadata("odd", json!({"deep": ["canary-odd"]}))
        .with_proxy_url("http://user:canary-proxy@127.0.0.1:1")
}

pub(crate) fn text(auth: &Auth) -> Value {
    serde_json::to_value(auth).unwrap()
}

pub(crate) fn loaded(store: &dyn Store, id: &str) -> Auth {
    store.load(id).unwrap().unwrap()
}
