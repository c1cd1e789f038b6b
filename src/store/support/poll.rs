//! Polling for a lock that other processes hold, at growing intervals.

use std::time::Duration;

use crate::clock::{Clock, SystemClock, deadline};

/// Asks until there is an answer or `wait` is over: immediately, then at growing intervals. What it waits for is done by other
/// processes, in real time.
pub(crate) fn poll<T, E>(
    wait: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let clock = SystemClock;
    let end = deadline(clock.monotonic(), wait);
    let mut pause = FIRST;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        let left = end.saturating_duration_since(clock.monotonic());
        if left.is_zero() {
            return Ok(None);
        }
        let _ = clock.after(pause.min(left)).recv();
        pause = pause.saturating_mul(2).min(LONGEST);
    }
}

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_at_once_and_gives_up() {
        let mut asked = 0;
        let mut ask = |answer_at| {
            poll(Duration::from_millis(5), || {
                asked += 1;
                Ok::<_, ()>((asked == answer_at).then_some(asked))
            })
        };
        assert_eq!(ask(1), Ok(Some(1)));
        assert_eq!(ask(3), Ok(Some(3)));
        assert_eq!(ask(0), Ok(None));
        assert_eq!(poll(Duration::ZERO, || Err::<Option<()>, _>(7)), Err(7));
    }
}
