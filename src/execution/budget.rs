//! How much providers that fail may be asked beyond what callers ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::policy::RetryBudget;

/// What was taken out of each provider's bucket.
#[derive(Debug)]
pub(super) struct Budgets {
    settings: Option<RetryBudget>,
    spent: Mutex<HashMap<Arc<str>, u32>>,
    /// Whether anything was spent: successes need not look otherwise.
    any_spent: AtomicBool,
}

impl Budgets {
    pub(super) fn new(settings: Option<RetryBudget>) -> Self {
        Self {
            settings,
            spent: Mutex::default(),
            any_spent: AtomicBool::new(false),
        }
    }

    /// Another attempt with a provider, after its own fault. False when it is not to be had.
    pub(super) fn retry(&self, provider: &Arc<str>) -> bool {
        self.settings
            .is_none_or(|settings| self.withdraw(provider, settings.retry, settings.capacity))
    }

    /// Another attempt with a provider, after a credential's fault. False when it is not to be had.
    pub(super) fn failover(&self, provider: &Arc<str>) -> bool {
        self.settings
            .is_none_or(|settings| self.withdraw(provider, settings.failover, settings.capacity))
    }

    /// A call was served at its first attempt.
    pub(super) fn served(&self, provider: &str) {
        let Some(settings) = self.settings else {
            return;
        };
        if !self.any_spent.load(Ordering::Relaxed) {
            return;
        }
        let mut spent = self.spent.lock();
        if let Some(amount) = spent.get_mut(provider) {
            *amount = amount.saturating_sub(settings.success);
            if *amount == 0 {
                spent.remove(provider);
            }
        }
        self.any_spent.store(!spent.is_empty(), Ordering::Relaxed);
    }

    fn withdraw(&self, provider: &Arc<str>, cost: u32, capacity: u32) -> bool {
        let mut spent = self.spent.lock();
        let amount = spent.entry(Arc::clone(provider)).or_default();
        let after = amount.saturating_add(cost);
        let granted = after <= capacity;
        if granted {
            *amount = after;
        }
        self.any_spent.store(true, Ordering::Relaxed);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_with_successes() {
        let budgets = Budgets::new(Some(RetryBudget::new(28)));
        let (p, q): (Arc<str>, Arc<str>) = ("p".into(), "q".into());
        assert!(budgets.retry(&p) && budgets.retry(&p));
        assert!(!budgets.retry(&p) && !budgets.failover(&p));
        assert!(budgets.retry(&q), "each provider has its own");
        for _ in 0..4 {
            budgets.served("p");
        }
        assert!(!budgets.failover(&p));
        budgets.served("p");
        assert!(budgets.failover(&p));
        for _ in 0..100 {
            budgets.served("p");
            budgets.served("q");
        }
        assert!(budgets.spent.lock().is_empty());
        assert!(!budgets.any_spent.load(Ordering::Relaxed));
    }

    #[test]
    fn without_a_budget_there_is_no_end() {
        let budgets = Budgets::new(None);
        let p: Arc<str> = "p".into();
        assert!((0..10_000).all(|_| budgets.retry(&p)));
        budgets.served("p");
    }
}
