//! What comes out of a run, and what it has to be.

use std::fmt;
use std::time::Duration;

use super::callers::Call;

/// The figures of one side of a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Calls that ended in the time that counts.
    pub calls: usize,
    pub served: usize,
    /// Requests that came in that time.
    pub requests: usize,
    /// Calls served, as a part of what limits and demand allow.
    pub share: f64,
    /// How much longer than their answer took calls that were served took, for half of them, and for all but a hundredth.
    pub waits: (Duration, Duration),
    /// Calls that failed although a key would have served which nobody was told to leave alone, and which had attempts left.
    pub failed_beside_ready: usize,
    /// Of an outage: requests for a call that began in it.
    pub load: f64,
    /// From the end of an outage, or of a quota, to the first call that was served.
    pub back: Option<Duration>,
    /// Calls that failed of those that began a second after its end, or later.
    pub failed_after: usize,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// At most this part of the calls fails.
    Errors(f64),
    /// At least so many calls are made.
    Calls(usize),
    /// At most so many requests a call.
    Requests(f64),
    /// At least this part of what the keys allow.
    Share(f64),
    /// In an outage, at most so many times the callers' load.
    Load(f64),
    /// Service so soon after the end of the outage or the quota.
    Back(Duration),
    /// No call fails that begins later than a second after the end of the outage.
    NoneAfter,
    /// No call fails in a moment at which a key is ready.
    NoneBesideReady,
}

/// How many attempts a call may make at once: beyond them it may fail beside a ready key.
const AT_ONCE: u32 = 8;

/// The time that counts, and the trouble that ends in it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: Duration,
    pub until: Duration,
    pub trouble: Option<(Duration, Duration)>,
}

impl Figures {
    /// `allowed`: how many calls a second.
    pub fn of(calls: &[Call], requests: &[Duration], span: Span, allowed: f64) -> Self {
        let counted = |at: Duration| (span.from..span.until).contains(&at);
        let ended: Vec<&Call> = calls.iter().filter(|call| counted(call.ended)).collect();
        let served: Vec<&&Call> = ended.iter().filter(|call| call.served).collect();
        let mut waits: Vec<Duration> = served
            .iter()
            .map(|call| call.ended.saturating_sub(call.began + call.took))
            .collect();
        waits.sort_unstable();
        let wait = |part: usize| {
            let place = waits.len().saturating_sub(1) * part / 100;
            waits.get(place).copied().unwrap_or_default()
        };
        let passed = span.until.saturating_sub(span.from).as_secs_f64();
        let lacks = |call: &&&Call| call.failed_beside_ready && call.attempts < AT_ONCE;
        let mut figures = Self {
            calls: ended.len(),
            served: served.len(),
            requests: requests.iter().filter(|at| counted(**at)).count(),
            share: served.len() as f64 / (allowed * passed),
            waits: (wait(50), wait(99)),
            failed_beside_ready: ended.iter().filter(lacks).count(),
            ..Self::default()
        };
        if let Some((begin, end)) = span.trouble {
            let during = |at: Duration| (begin..end).contains(&at);
            let began = calls.iter().filter(|call| during(call.began)).count();
            let asked = requests.iter().filter(|at| during(**at)).count();
            figures.load = asked as f64 / began as f64;
            let first = calls.iter().find(|call| call.served && call.ended >= end);
            figures.back = first.map(|call| call.ended.saturating_sub(end));
            let late = end + Duration::from_secs(1);
            let failed = |call: &&Call| call.began >= late && !call.served;
            figures.failed_after = calls.iter().filter(failed).count();
        }
        figures
    }

    pub fn errors(&self) -> f64 {
        (self.calls - self.served) as f64 / self.calls.max(1) as f64
    }

    pub fn per_call(&self) -> f64 {
        self.requests as f64 / self.calls.max(1) as f64
    }

    /// What a bar says, where it does not hold.
    pub fn misses(&self, bar: Bar) -> Option<String> {
        let (holds, told) = match bar {
            Bar::Errors(most) => {
                let told = format!(
                    "errors {:.2} %, at most {:.2} %",
                    percent(self.errors()),
                    percent(most)
                );
                (self.errors() <= most, told)
            }
            Bar::Calls(least) => (
                self.calls >= least,
                format!("calls {}, at least {least}", self.calls),
            ),
            Bar::Requests(most) => {
                let told = format!("requests a call {:.2}, at most {most}", self.per_call());
                (self.per_call() <= most, told)
            }
            Bar::Share(least) => (
                self.share >= least,
                format!("share {:.3}, at least {least}", self.share),
            ),
            Bar::Load(most) => (
                self.load <= most,
                format!("load {:.2}, at most {most}", self.load),
            ),
            Bar::Back(most) => (
                self.back.is_some_and(|back| back <= most),
                format!("back after {:?}, at most {most:?}", self.back),
            ),
            Bar::NoneAfter => (
                self.failed_after == 0,
                format!("{} failed after it", self.failed_after),
            ),
            Bar::NoneBesideReady => (
                self.failed_beside_ready == 0,
                format!("{} failed beside a ready key", self.failed_beside_ready),
            ),
        };
        (!holds).then_some(told)
    }
}

pub fn percent(part: f64) -> f64 {
    100.0 * part
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} {:>6.2} {:>6.2} ",
            self.calls,
            percent(self.errors()),
            self.per_call(),
        )?;
        if self.share > 0.0 {
            write!(f, "{:>6.3}", self.share)?;
        } else {
            write!(f, "{:>6}", "-")?;
        }
        let (half, most) = (self.waits.0.as_secs_f64(), self.waits.1.as_secs_f64());
        write!(f, " {half:>6.2} {most:>6.2}")
    }
}
