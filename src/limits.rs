//! [`RateLimits`]: the rate limits and quotas that an answer reports, as data.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::{Timestamp, serial};

/// What an upstream's answer says of its limits: in headers, and in the body of an error.
///
/// Only what was said and can be true is here: of a value that is negative, not a number or beyond what
/// [`from_headers`](Self::from_headers) admits, nothing is left. Hooks and selectors find it on
/// [`Outcome::rate_limits`](crate::Outcome), callers on [`Response::rate_limits`](crate::Response),
/// [`StreamChunk::rate_limits`](crate::StreamChunk) (a stream's first chunk) and
/// [`Error::rate_limits`](crate::Error::rate_limits).
///
/// ```
/// use credpool::{Exhausted, RateLimits};
/// use std::time::Duration;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-ratelimit-limit-requests", "5000".parse()?);
/// headers.insert("x-ratelimit-remaining-requests", "0".parse()?);
/// headers.insert("x-ratelimit-reset-requests", "6m0s".parse()?);
/// let body = r#"{"error":{"code":"rate_limit_exceeded","type":"requests"}}"#;
/// let now = time::macros::utc_datetime!(2025-06-01 12:00);
///
/// let limits = RateLimits::from_error(429, &headers, body.as_bytes(), now);
/// assert_eq!(limits.exhausted, Some(Exhausted::Rate));
/// assert_eq!(limits.retry_after, Some(Duration::from_secs(360)));
/// let requests = limits.window("requests").unwrap();
/// assert_eq!((requests.limit, requests.remaining), (Some(5000), Some(0)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[doc(alias = "rate limiting")]
#[doc(alias = "quota")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// The limits, by name.
    pub windows: Vec<LimitWindow>,
    /// How long to wait before the next request; zero when the moment has passed.
    pub retry_after: Option<Duration>,
    /// Where the wait was read.
    pub retry_after_source: Option<HintSource>,
    /// What the server said of whether trying again can help (`x-should-retry`).
    pub should_retry: Option<bool>,
    /// What is used up, where an error says so.
    pub exhausted: Option<Exhausted>,
}

/// One limit: so much in a time.
///
/// ```
/// use credpool::LimitWindow;
///
/// let window = LimitWindow::new("unified-5h").with_used_ratio(0.26).with_status("allowed");
/// assert_eq!(window.used_ratio(), Some(0.26));
/// assert!(!window.is_used_up());
/// assert!(LimitWindow::new("tokens").with_limit(10_000).with_remaining(0).is_used_up());
/// ```
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Clock, LimitWindow, SystemClock};
///
/// let window = LimitWindow::new("requests")
///     .with_limit(100)
///     .with_remaining(25)
///     .with_length(Duration::from_secs(60))
///     .with_resets_at(SystemClock.now() + Duration::from_secs(30));
/// assert_eq!(window.used_ratio(), Some(0.75));
/// assert!(!window.is_used_up());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitWindow {
    /// What is limited, in the vendor's word: `requests`, `input-tokens`, `unified-5h`, a quota's id.
    pub name: String,
    /// How much there is in all.
    pub limit: Option<u64>,
    /// How much is left.
    pub remaining: Option<u64>,
    /// When it is back at its limit.
    pub resets_at: Option<Timestamp>,
    /// How long the window is, as the vendor says or its name does: `req-minute`, `unified-5h`.
    pub length: Option<Duration>,
    /// The vendor's word for its state: `allowed`, `allowed_warning`, `rejected`.
    pub status: Option<String>,
    /// Millionths, so that windows can be compared.
    used: Option<u32>,
}

/// Where a wait was read.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{HintSource, RateLimits};
///
/// let limits = RateLimits::new()
///     .with_retry_after(Duration::from_secs(20), HintSource::Header)
///     .with_should_retry(true);
/// assert_eq!(limits.retry_after_source, Some(HintSource::Header));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HintSource {
    /// In `retry-after` or `retry-after-ms`.
    Header,
    /// It is the reset of a window that is used up.
    Window,
    /// In the body of an error.
    Body,
}

/// What is used up.
///
/// ```
/// use credpool::{Exhausted, RateLimits};
///
/// let limits = RateLimits::new().with_exhausted(Exhausted::Quota);
/// assert_eq!(limits.exhausted, Some(Exhausted::Quota));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// Requests or tokens of a short window: it resets within minutes.
    Rate,
    /// The quota of a longer window or of a plan: it resets when its period ends.
    Quota,
    /// The money: it is restored when the account is paid.
    Billing,
    /// The provider: it has too much to do, and the credential is not to blame.
    Overloaded,
}

impl RateLimits {
    /// Nothing said.
    ///
    /// ```
    /// assert!(credpool::RateLimits::new().is_empty());
    /// ```
    pub const fn new() -> Self {
        Self {
            windows: Vec::new(),
            retry_after: None,
            retry_after_source: None,
            should_retry: None,
            exhausted: None,
        }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::new()
    }

    /// Whether one of the limits that are used up is of so long a time.
    pub(crate) fn has_used_up(&self, length: Duration) -> bool {
        let is_long = |window: &LimitWindow| window.length.is_some_and(|of| of >= length);
        self.windows
            .iter()
            .any(|window| window.is_used_up() && is_long(window))
    }

    /// When there is something left again of all that is used up, as far as the server says.
    pub(crate) fn used_up_until(&self) -> Option<Timestamp> {
        let used_up = self.windows.iter().filter(|window| window.is_used_up());
        used_up.filter_map(|window| window.resets_at).max()
    }

    /// Whether the answer shows limits, and none of them is used up.
    ///
    /// ```
    /// use credpool::{LimitWindow, RateLimits};
    ///
    /// let left = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(1));
    /// assert!(left.is_healthy());
    /// assert!(!left.with_window(LimitWindow::new("tokens").with_remaining(0)).is_healthy());
    /// assert!(!RateLimits::new().is_healthy());
    /// ```
    pub fn is_healthy(&self) -> bool {
        !self.windows.is_empty()
            && self.exhausted.is_none()
            && !self.windows.iter().any(LimitWindow::is_used_up)
    }

    /// The window with this name.
    pub fn window(&self, name: &str) -> Option<&LimitWindow> {
        self.windows.iter().find(|window| window.name == name)
    }

    /// Adds a window.
    ///
    /// ```
    /// use credpool::{LimitWindow, RateLimits};
    ///
    /// let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_limit(50));
    /// assert_eq!(limits.window("requests").and_then(|window| window.limit), Some(50));
    /// ```
    pub fn with_window(mut self, window: LimitWindow) -> Self {
        self.windows.push(window);
        self
    }

    /// Sets how long to wait, and where that was read.
    pub fn with_retry_after(mut self, wait: Duration, source: HintSource) -> Self {
        self.retry_after = Some(wait);
        self.retry_after_source = Some(source);
        self
    }

    /// Sets whether trying again can help.
    pub fn with_should_retry(mut self, should_retry: bool) -> Self {
        self.should_retry = Some(should_retry);
        self
    }

    /// Sets what is used up.
    pub fn with_exhausted(mut self, exhausted: Exhausted) -> Self {
        self.exhausted = Some(exhausted);
        self
    }
}

impl LimitWindow {
    /// A window of which nothing is known but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Sets how much there is in all.
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets how much is left.
    pub fn with_remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// Sets when it is back at its limit.
    pub fn with_resets_at(mut self, at: Timestamp) -> Self {
        self.resets_at = Some(at);
        self
    }

    /// Sets how long the window is.
    pub fn with_length(mut self, length: Duration) -> Self {
        self.length = Some(length);
        self
    }

    /// Sets the vendor's word for its state.
    pub fn with_status(mut self, status: impl Into<String>) -> Self {
        self.status = Some(status.into());
        self
    }

    /// Sets how much of it is used: 1 for all of it. What is no number from 0 to 100 is left out.
    pub fn with_used_ratio(mut self, ratio: f64) -> Self {
        self.used = millionths(ratio);
        self
    }

    /// How much of it is used, to the millionth: 1 for all of it, more where the vendor lets it run over. As the vendor
    /// says, else from [`limit`](Self::limit) and [`remaining`](Self::remaining).
    pub fn used_ratio(&self) -> Option<f64> {
        if let Some(used) = self.used {
            return Some(f64::from(used) / MILLION);
        }
        let (limit, remaining) = (self.limit?, self.remaining?);
        let used = u128::from(limit.saturating_sub(remaining)) * 1_000_000;
        let used = used.checked_div(u128::from(limit))?;
        Some(f64::from(u32::try_from(used).ok()?) / MILLION)
    }

    /// Whether nothing of it is left: the vendor rejects for it, or says so in numbers.
    pub fn is_used_up(&self) -> bool {
        match &self.status {
            Some(status) => status == "rejected",
            None => match self.remaining {
                Some(remaining) => remaining == 0,
                None => self.used.is_some_and(|used| f64::from(used) >= MILLION),
            },
        }
    }

    /// As [`with_used_ratio`](Self::with_used_ratio), unless it is known.
    pub(crate) fn note_used_ratio(&mut self, ratio: f64) {
        self.used = self.used.or_else(|| millionths(ratio));
    }
}

/// As an object with the fields that are known, `length` in seconds, and `used_ratio`.
///
/// ```
/// use credpool::LimitWindow;
///
/// let window = LimitWindow::new("requests").with_limit(100).with_remaining(25);
/// let json = serde_json::to_string(&window)?;
/// assert_eq!(json, r#"{"name":"requests","limit":100,"remaining":25,"used_ratio":0.75}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
impl Serialize for LimitWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            remaining: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            used_ratio: Option<f64>,
            #[serde(
                skip_serializing_if = "Option::is_none",
                serialize_with = "serial::optional_time"
            )]
            resets_at: Option<Timestamp>,
            #[serde(
                skip_serializing_if = "Option::is_none",
                serialize_with = "serial::optional_seconds"
            )]
            length: Option<Duration>,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<&'a str>,
        }
        Form {
            name: &self.name,
            limit: self.limit,
            remaining: self.remaining,
            used_ratio: self.used_ratio(),
            resets_at: self.resets_at,
            length: self.length,
            status: self.status.as_deref(),
        }
        .serialize(serializer)
    }
}

fn millionths(ratio: f64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    let whole = |ratio: f64| (ratio * MILLION).round() as u32;
    (0.0..=100.0).contains(&ratio).then(|| whole(ratio))
}

const MILLION: f64 = 1_000_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_number_in_range() {
        let ratio = |ratio| LimitWindow::new("w").with_used_ratio(ratio).used_ratio();
        for good in [0.0, 0.634, 1.0, 1.02, 100.0] {
            assert_eq!(ratio(good), Some(good));
        }
        for odd in [-0.1, 100.1, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(ratio(odd), None);
        }
    }

    #[test]
    fn a_ratio_follows_from_the_numbers() {
        let ratio = |limit, remaining| {
            let window = LimitWindow::new("w").with_limit(limit);
            window.with_remaining(remaining).used_ratio()
        };
        assert_eq!(ratio(200, 150), Some(0.25));
        assert_eq!(ratio(u64::MAX, 0), Some(1.0));
        assert_eq!(ratio(5, 6), Some(0.0));
        assert_eq!(ratio(0, 0), None);
    }

    #[test]
    fn the_vendor_has_the_last_word_on_what_is_used_up() {
        let empty = LimitWindow::new("w").with_remaining(0);
        assert!(empty.is_used_up());
        assert!(!empty.with_status("allowed").is_used_up());
        assert!(LimitWindow::new("w").with_status("rejected").is_used_up());
    }
}
