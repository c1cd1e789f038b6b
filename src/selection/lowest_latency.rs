//! [`LowestLatency`]: the quicker of two random credentials (power of two choices, peak EWMA).

use std::time::Duration;

use parking_lot::Mutex;

use super::sample::Drawn;
use super::stats::Notes;
use super::{Candidate, Candidates, Selector};
use crate::clock::{Timestamp, until};
use crate::error::Error;
use crate::observe::Outcome;
use crate::request::Options;

/// The quicker of two random credentials: by the time to the first byte, times the requests in flight.
///
/// For each credential and model it keeps an average that a slow answer raises immediately and quick ones lower bit by bit
/// ("peak EWMA"). The average fades, so that a slow credential is tried again after a while: one that was five times as slow as the
/// others, after a hundred seconds. A credential that has not answered yet is selected first, one request at a time. Only answers
/// count: for failures there are cooldowns.
///
/// ```
/// use credpool::{LowestLatency, Manager};
///
/// let manager = Manager::builder().selector(LowestLatency::new()).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "power of two choices")]
#[doc(alias = "peak EWMA")]
#[derive(Debug)]
pub struct LowestLatency {
    fading: Duration,
    answers: Mutex<Notes<Answers>>,
}

/// How quick a credential's answers are.
#[derive(Debug, Default)]
struct Answers {
    seconds: f64,
    last: Option<Timestamp>,
}

impl LowestLatency {
    /// The selector, with an average that fades within a minute.
    pub fn new() -> Self {
        Self {
            fading: Duration::from_secs(60),
            answers: Mutex::default(),
        }
    }

    /// Sets in what time an average fades to a third, as answers that old weigh a third of a new one. Default one minute; at
    /// least a millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{LowestLatency, Manager};
    ///
    /// let selector = LowestLatency::new().with_fading(Duration::from_secs(300));
    /// let manager = Manager::builder().selector(selector).build()?;
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn with_fading(mut self, time: Duration) -> Self {
        self.fading = time.max(Duration::from_millis(1));
        self
    }
}

impl Default for LowestLatency {
    fn default() -> Self {
        Self::new()
    }
}

impl Selector for LowestLatency {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        let now = candidates.now();
        let mut drawn: Drawn = candidates.sample(2).collect();
        let best = {
            let answers = self.answers.lock();
            let of_asked = answers.page(candidates.provider(), candidates.model());
            drawn.least(|candidate| {
                let busy = candidate.in_flight();
                match answers.of(of_asked, candidates.provider(), candidate) {
                    Some(answers) => answers.faded(now, self.fading) * (f64::from(busy) + 1.0),
                    None if busy == 0 => 0.0,
                    // Its first answer is under way: how long it takes is unknown.
                    None => f64::INFINITY,
                }
            })
        };
        Ok(drawn.take(best))
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        if let (true, Some(first_byte), Some(at)) =
            (outcome.is_success(), outcome.first_byte, outcome.at)
        {
            self.answers
                .lock()
                .write(outcome.provider, outcome.model, outcome.auth_id)
                .add(first_byte.as_secs_f64(), at, self.fading);
        }
    }

    fn forget(&self, auth_id: &str) {
        self.answers.lock().forget(auth_id);
    }
}

impl Answers {
    fn add(&mut self, seconds: f64, at: Timestamp, fading: Duration) {
        self.seconds = if seconds > self.seconds {
            seconds
        } else {
            let kept = self.kept(at, fading);
            self.seconds * kept + seconds * (1.0 - kept)
        };
        self.last = Some(at);
    }

    fn faded(&self, now: Timestamp, fading: Duration) -> f64 {
        self.seconds * self.kept(now, fading)
    }

    /// What part of the average is still good.
    fn kept(&self, now: Timestamp, fading: Duration) -> f64 {
        let age = self.last.map_or(Duration::ZERO, |last| until(last, now));
        (-age.as_secs_f64() / fading.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const START: Timestamp = utc_datetime!(2025-06-01 12:00);
    const FADING: Duration = Duration::from_secs(60);

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_quick_ones_bit_by_bit() {
        let mut answers = Answers::default();
        answers.add(1.0, after(0), FADING);
        answers.add(9.0, after(1), FADING);
        assert!((answers.seconds - 9.0).abs() < 1e-9);
        answers.add(1.0, after(2), FADING);
        assert!((8.8..9.0).contains(&answers.seconds), "{answers:?}");
        for second in 3..400 {
            answers.add(1.0, after(second), FADING);
        }
        assert!((1.0..1.1).contains(&answers.seconds), "{answers:?}");
    }

    #[test]
    fn an_average_fades_and_a_clock_set_back_does_not_raise_it() {
        let mut answers = Answers::default();
        answers.add(5.0, after(100), FADING);
        assert!((4.999..5.001).contains(&answers.faded(after(100), FADING)));
        assert!(answers.faded(after(196), FADING) > 1.0);
        assert!(answers.faded(after(197), FADING) < 1.0);
        assert!((4.999..5.001).contains(&answers.faded(after(0), FADING)));
    }
}
