//! Twenty ways in which things go wrong, as users of such systems have met them: what each costs, and what it must not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cooldowns;
#[path = "../net_support/mod.rs"]
mod net;
mod program;
#[path = "../refresh_support/mod.rs"]
mod refresh_support;
#[path = "../store_support/mod.rs"]
mod store_support;
mod stores;
mod streams;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod together;
mod tokens;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
