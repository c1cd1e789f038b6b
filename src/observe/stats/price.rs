//! [`Prices`]: what attempts cost, as a function of the program says.

use std::fmt;
use std::sync::Arc;

use crate::observe::Outcome;
use crate::panic::guard;
use crate::request::Usage;

/// What the program's function says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Price {
    /// Nothing: there is no function, or no usage.
    None,
    /// The function knows no price.
    Unknown,
    Of(f64),
}

/// The program's function, where there is one.
#[derive(Clone, Default)]
pub(crate) struct Prices(Option<Arc<PriceOf>>);

/// The price of a usage of a provider's model.
pub(crate) type PriceOf = dyn Fn(&str, &str, &Usage) -> Option<f64> + Send + Sync;

impl Prices {
    pub(crate) fn by(price_of: Arc<PriceOf>) -> Self {
        Self(Some(price_of))
    }

    /// The price of an attempt. This runs code of the program: no lock may be held.
    pub(crate) fn of(&self, outcome: &Outcome<'_>) -> Price {
        let (Some(price_of), Some(usage)) = (&self.0, &outcome.usage) else {
            return Price::None;
        };
        let price = guard(
            || "the price function".to_owned(),
            || price_of(outcome.provider, outcome.model, usage),
        );
        match price {
            Ok(Some(price)) if price.is_finite() => Price::Of(price),
            _ => Price::Unknown,
        }
    }
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prices").field(&self.0.is_some()).finish()
    }
}
