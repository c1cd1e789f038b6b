//! A sliding window: the amount used in the last minute. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Timestamp, later};

/// Amounts by the second, for the present one and the sixty before it: whatever minute one looks at is covered.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Seconds since the epoch in which something was used, the earliest first.
    amounts: VecDeque<(i64, u64)>,
    /// The present second.
    second: i64,
    total: u64,
}

impl Window {
    /// Lets go of what is older than a minute.
    pub(super) fn advance(&mut self, second: i64) {
        self.second = self.second.max(second);
        while let Some((first, amount)) = self.amounts.front()
            && first.saturating_add(SECONDS) <= self.second
        {
            self.total = self.total.saturating_sub(*amount);
            self.amounts.pop_front();
        }
    }

    /// Adds an amount to a second that is not over for a minute; where it is, nothing.
    pub(super) fn add(&mut self, second: i64, amount: u64) {
        self.correct(second, 0, amount);
    }

    /// Of what was added in `second`, `reckoned` was really `used`.
    pub(super) fn correct(&mut self, second: i64, reckoned: u64, used: u64) {
        self.advance(second);
        if second.saturating_add(SECONDS) <= self.second {
            return;
        }
        let used = used.min(MOST);
        let place = match self
            .amounts
            .binary_search_by_key(&second, |(second, _)| *second)
        {
            Ok(place) => place,
            Err(_) if used == 0 => return,
            Err(place) => {
                self.amounts.insert(place, (second, 0));
                place
            }
        };
        let before = self.amounts[place].1;
        let after = before
            .saturating_sub(reckoned.min(MOST))
            .saturating_add(used);
        self.amounts[place].1 = after;
        self.total = self.total.saturating_sub(before).saturating_add(after);
    }

    /// When the total is below `most`, which is 1 at least; `None`: it is.
    pub(super) fn below_at(&self, most: u64) -> Option<Timestamp> {
        let most = most.max(1);
        let mut left = self.total;
        if left < most {
            return None;
        }
        for (second, amount) in &self.amounts {
            left = left.saturating_sub(*amount);
            if left < most {
                let second = Timestamp::from_unix_timestamp(*second).ok()?;
                return Some(later(second, Duration::from_secs(SECONDS.unsigned_abs())));
            }
        }
        None
    }

    /// Whether nothing was used in the last minute.
    pub(super) fn is_idle(&mut self, second: i64) -> bool {
        self.advance(second);
        self.total == 0
    }
}

const SECONDS: i64 = 61;

/// No request uses more, whatever an answer says of it: sums of such amounts are exact.
const MOST: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a list of all that was ever added says, whatever amounts are told.
        #[test]
        fn a_window_holds_the_last_minute(
            steps in prop::collection::vec((0..90_i64, 0..70_i64, any::<u64>(), prop_oneof![0..9_u64, any::<u64>()]), 1..60),
            most in prop_oneof![1..20_u64, any::<u64>()],
        ) {
            let (mut window, mut all) = (Window::default(), Vec::<(i64, u64)>::new());
            let mut now = 1_000_i64;
            for (passed, ago, reckoned, used) in steps {
                now += passed;
                window.add(now, used);
                all.push((now, used.min(MOST)));
                // An earlier one is settled.
                let second = now - ago;
                if let Some((_, amount)) = all.iter_mut().find(|(at, _)| *at == second) {
                    let settled = reckoned.min(*amount);
                    window.correct(second, settled, used);
                    *amount = *amount - settled + used.min(MOST);
                }
                let total_at = |at: i64| all.iter().filter(|(second, _)| second + SECONDS > at).map(|(_, amount)| amount).sum::<u64>();
                prop_assert_eq!(window.total, total_at(now));
                match window.below_at(most) {
                    None => prop_assert!(total_at(now) < most.max(1)),
                    Some(at) => {
                        let at = at.unix_timestamp();
                        prop_assert!(total_at(at) < most.max(1) && total_at(at - 1) >= most.max(1));
                    }
                }
            }
            prop_assert!(window.is_idle(now + SECONDS));
            prop_assert!(window.amounts.is_empty());
        }
    }
}
