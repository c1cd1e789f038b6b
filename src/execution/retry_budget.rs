//! The retry budget: a token bucket for each provider that caps retries at a share of traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::observe::BudgetStats;
use crate::policy::RetryBudget;

/// What was taken out of each provider's bucket.
#[derive(Debug)]
pub(super) struct Budgets {
    settings: Option<RetryBudget>,
    spent: Mutex<HashMap<Arc<str>, u32>>,
    /// Whether anything was spent: successes need not look otherwise.
    any_spent: AtomicBool,
}

/// What an attempt costs: it goes back to its provider's bucket unless the attempt is made.
#[derive(Debug)]
pub(super) struct Payment<'b>(Option<(&'b Budgets, &'b Arc<str>, u32)>);

impl Budgets {
    pub(super) fn new(settings: Option<RetryBudget>) -> Self {
        Self {
            settings,
            spent: Mutex::default(),
            any_spent: AtomicBool::new(false),
        }
    }

    /// An attempt with a provider; one that `owes` is another one after a fault of the provider itself. `None`: it is not to be had.
    pub(super) fn retry<'b>(&'b self, provider: &'b Arc<str>, owes: bool) -> Option<Payment<'b>> {
        let settings = self.settings.filter(|_| owes);
        let Some(settings) = settings else {
            return Some(Payment(None));
        };
        self.withdraw(provider, settings.retry, settings.capacity)
            .then(|| Payment(Some((self, provider, settings.retry))))
    }

    /// A call was served at an attempt: the first one fills the bucket.
    pub(super) fn served(&self, provider: &str, attempt: u32) {
        let Some(settings) = self.settings else {
            return;
        };
        if attempt == 1 && self.any_spent.load(Ordering::Relaxed) {
            self.deposit(provider, settings.success);
        }
    }

    /// What is left for a provider. `None`: there is no budget.
    pub(super) fn left(&self, provider: &Arc<str>) -> Option<BudgetStats> {
        let settings = self.settings?;
        let spent = self.spent.lock().get(provider).copied().unwrap_or_default();
        let left = settings.capacity.saturating_sub(spent);
        Some(BudgetStats {
            provider: Arc::clone(provider),
            left,
            capacity: settings.capacity,
            retries_left: left.checked_div(settings.retry).unwrap_or(u32::MAX),
        })
    }

    fn deposit(&self, provider: &str, amount: u32) {
        let mut spent = self.spent.lock();
        if let Some(so_far) = spent.get_mut(provider) {
            *so_far = so_far.saturating_sub(amount);
            if *so_far == 0 {
                spent.remove(provider);
            }
        }
        self.any_spent.store(!spent.is_empty(), Ordering::Relaxed);
    }

    fn withdraw(&self, provider: &Arc<str>, cost: u32, capacity: u32) -> bool {
        let mut spent = self.spent.lock();
        let so_far = spent.get(provider).copied().unwrap_or_default();
        let after = so_far.saturating_add(cost);
        let granted = after <= capacity;
        if granted && after > 0 {
            spent.insert(Arc::clone(provider), after);
            self.any_spent.store(true, Ordering::Relaxed);
        }
        granted
    }
}

impl Payment<'_> {
    /// The attempt is made.
    pub(super) fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Payment<'_> {
    fn drop(&mut self) {
        if let Some((budgets, provider, amount)) = self.0.take() {
            budgets.deposit(provider, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(budgets: &Budgets, provider: &Arc<str>) -> bool {
        budgets.retry(provider, true).map(Payment::spend).is_some()
    }

    #[test]
    fn what_is_spent_comes_back_with_successes() {
        let budgets = Budgets::new(Some(RetryBudget::new(28)));
        let (p, q): (Arc<str>, Arc<str>) = ("p".into(), "q".into());
        assert!(retry(&budgets, &p) && retry(&budgets, &p));
        assert!(!retry(&budgets, &p));
        assert!(
            budgets.retry(&p, false).is_some(),
            "a first attempt is free"
        );
        assert!(retry(&budgets, &q), "each provider has its own");
        for _ in 0..13 {
            budgets.served("p", 1);
            budgets.served("p", 2);
        }
        assert!(!retry(&budgets, &p));
        budgets.served("p", 1);
        assert!(retry(&budgets, &p));
        for _ in 0..100 {
            budgets.served("p", 1);
            budgets.served("q", 1);
        }
        assert!(budgets.spent.lock().is_empty());
        assert!(!budgets.any_spent.load(Ordering::Relaxed));
    }

    #[test]
    fn an_attempt_that_is_not_made_costs_nothing() {
        let budgets = Budgets::new(Some(RetryBudget::new(28)));
        let p: Arc<str> = "p".into();
        for _ in 0..10 {
            assert!(budgets.retry(&p, true).is_some());
        }
        assert!(budgets.spent.lock().is_empty());
    }

    #[test]
    fn without_a_budget_there_is_no_end() {
        let budgets = Budgets::new(None);
        let p: Arc<str> = "p".into();
        assert!((0..10_000).all(|_| retry(&budgets, &p)));
        budgets.served("p", 1);
    }
}
