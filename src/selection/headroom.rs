//! [`Headroom`]: the credential with the most quota left until its reset.

use std::time::Duration;

use parking_lot::Mutex;

use super::sample::Drawn;
use super::stats::Notes;
use super::{Candidate, Candidates, Selector};
use crate::clock::{Timestamp, until};
use crate::error::Error;
use crate::limits::LimitWindow;
use crate::observe::Outcome;
use crate::request::Options;

/// The credential with the most of its quota left for the time until it is filled up again, shared among the requests in flight:
/// what would expire is spent, what is scarce is spared.
///
/// It learns from the limits that answers carry ([`Outcome::rate_limits`]). Of each window of a credential and model it knows
/// what part is left, and what part of the window's time is still to come; the first divided by the second is the window's
/// pace, and the tightest window counts. So a subscription with half of its week's quota left an hour before it is filled up goes before
/// one with nine tenths left for six days. A credential without known limits is treated as exactly on pace.
///
/// Of more than 16 candidates it compares 16 random ones, drawn for each call.
///
/// ```
/// use credpool::{Headroom, Manager};
///
/// let manager = Manager::builder().selector(Headroom::new()).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Headroom {
    quotas: Mutex<Notes<Quotas>>,
}

/// The rate-limit windows of a credential's answers.
#[derive(Debug, Default)]
struct Quotas(Vec<Quota>);

#[derive(Debug)]
struct Quota {
    name: Box<str>,
    /// What part is left: 1 for all.
    left: f64,
    /// The most that was ever left, for windows that do not tell their limit.
    most_left: u64,
    filled_up_at: Option<Timestamp>,
    /// How long the window is, as far as is known.
    length: Duration,
}

impl Headroom {
    /// The selector.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Selector for Headroom {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        let now = candidates.now();
        let mut drawn: Drawn = candidates.sample(MOST_COMPARED).collect();
        let best = {
            let quotas = self.quotas.lock();
            let of_asked = quotas.page(candidates.provider(), candidates.model());
            drawn.least(|candidate| {
                let quotas = quotas.of(of_asked, candidates.provider(), candidate);
                let pace = quotas.map_or(ON_TIME, |quotas| quotas.pace(now));
                -pace / (f64::from(candidate.in_flight()) + 1.0)
            })
        };
        Ok(drawn.take(best))
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        let windows = outcome
            .rate_limits
            .map_or(&[][..], |limits| &limits.windows);
        if let (false, Some(at)) = (windows.is_empty(), outcome.at) {
            let mut quotas = self.quotas.lock();
            let quotas = quotas.write(outcome.provider, outcome.model, outcome.auth_id);
            for window in windows {
                quotas.note(window, at);
            }
        }
    }

    fn forget(&self, auth_id: &str) {
        self.quotas.lock().forget(auth_id);
    }
}

impl Quotas {
    fn note(&mut self, window: &LimitWindow, at: Timestamp) {
        let place = self.0.iter().position(|quota| *quota.name == *window.name);
        let place = match place {
            Some(place) => place,
            None if self.0.len() < MOST_WINDOWS => {
                self.0.push(Quota {
                    name: window.name.as_str().into(),
                    left: 1.0,
                    most_left: 0,
                    filled_up_at: None,
                    length: length_in(&window.name).unwrap_or_default(),
                });
                self.0.len() - 1
            }
            None => return,
        };
        let quota = &mut self.0[place];
        quota.most_left = quota.most_left.max(window.remaining.unwrap_or(0));
        quota.left = if window.is_used_up() {
            0.0
        } else {
            let ratio = window.used_ratio().map(|used| 1.0 - used);
            let ratio = ratio.or_else(|| Some(part(window.remaining?, quota.most_left)));
            ratio.unwrap_or(1.0).clamp(0.0, 1.0)
        };
        quota.filled_up_at = window.resets_at;
        let to_come = quota.filled_up_at.map(|reset| until(at, reset));
        quota.length = quota.length.max(to_come.unwrap_or_default());
    }

    /// What is left for each part of the time to come, in the tightest window.
    fn pace(&self, now: Timestamp) -> f64 {
        let paces = self.0.iter().map(|quota| quota.pace(now));
        paces.reduce(f64::min).unwrap_or(ON_TIME)
    }
}

impl Quota {
    fn pace(&self, now: Timestamp) -> f64 {
        let Some(reset) = self.filled_up_at else {
            return self.left;
        };
        let to_come = until(now, reset);
        if to_come.is_zero() {
            return ON_TIME;
        }
        let part = to_come.as_secs_f64() / self.length.max(to_come).as_secs_f64();
        self.left / part.max(LEAST_PART)
    }
}

/// The length of a window that has it in its name: `unified-5h`, `7d`.
fn length_in(name: &str) -> Option<Duration> {
    let last = name.rsplit(['-', '_']).next()?;
    let unit = last.chars().next_back()?;
    let number: u64 = last[..last.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[expect(clippy::cast_precision_loss, reason = "a part need not be exact")]
fn part(left: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        left as f64 / of as f64
    }
}

/// All is left for all of the time, and half for half of it.
const ON_TIME: f64 = 1.0;

/// The least part of a window's time that counts as still to come: with less, a window is nearly filled up.
const LEAST_PART: f64 = 0.01;

const MOST_COMPARED: usize = 16;

const MOST_WINDOWS: usize = 16;

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const NOW: Timestamp = utc_datetime!(2025-06-01 12:00);
    const HOUR: Duration = Duration::from_secs(3600);

    fn window(name: &str, used: f64, resets_in: Duration) -> LimitWindow {
        LimitWindow::new(name)
            .with_used_ratio(used)
            .with_resets_at(NOW + resets_in)
    }

    fn pace(windows: &[LimitWindow], now: Timestamp) -> f64 {
        let mut quotas = Quotas::default();
        for window in windows {
            quotas.note(window, NOW);
        }
        quotas.pace(now)
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn what_expires_soon_goes_before_what_must_last() {
        let soon = pace(&[window("unified-7d", 0.5, HOUR)], NOW);
        let later = pace(&[window("unified-7d", 0.1, 6 * 24 * HOUR)], NOW);
        assert!(
            close(soon, 50.0) && close(later, 0.9 * 7.0 / 6.0),
            "{soon} {later}"
        );
    }

    #[test]
    fn the_tightest_window_counts_until_it_is_filled_up() {
        let windows = [
            window("unified-5h", 0.8, 2 * HOUR),
            window("unified-7d", 0.0, 84 * HOUR),
        ];
        assert!(close(pace(&windows, NOW), 0.2 * 5.0 / 2.0));
        assert!(close(pace(&windows, NOW + HOUR), 0.2 * 5.0));
        assert!(close(pace(&windows, NOW + 2 * HOUR), ON_TIME));
        assert!(close(pace(&[], NOW), ON_TIME));
        let used_up = [window("unified-5h", 1.0, HOUR).with_status("rejected")];
        assert!(close(pace(&used_up, NOW), 0.0));
    }

    #[test]
    fn a_window_without_a_limit_or_a_reset_is_measured_by_itself() {
        let mut quotas = Quotas::default();
        for (left, expected) in [(100, 1.0), (25, 0.25), (200, 1.0), (50, 0.25), (0, 0.0)] {
            quotas.note(&LimitWindow::new("tokens").with_remaining(left), NOW);
            assert!(close(quotas.pace(NOW), expected), "{left}: {quotas:?}");
        }
    }

    #[test]
    fn lengths_are_read_from_names() {
        let hours = |hours: u32| Some(hours * HOUR);
        for (name, length) in [
            ("unified-5h", hours(5)),
            ("7d", hours(168)),
            ("tokens_60m", hours(1)),
            ("requests", None),
            ("unified-7d_sonnet", None),
            ("é", None),
            ("", None),
            ("99999999999999999999h", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(length_in(name), length, "{name}");
        }
    }
}
