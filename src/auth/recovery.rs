//! When a credential and its models recovered, kept beside the state for processes of a former version, which order events by it and keep
//! no [`Version`](super::Version)s.

use serde_json::{Map, Value};

use super::expiry::from_calendar;
use super::{Auth, OrderedBy};
use crate::clock::{Timestamp, time_text};

/// By model; of the credential as a whole, by the empty one.
pub(crate) fn recoveries_to_json(auth: &Auth) -> Map<String, Value> {
    let whole = [("", auth.recovered_at)];
    let models = auth
        .model_states
        .iter()
        .map(|(model, state)| (model.as_str(), state.recovered_at));
    whole
        .into_iter()
        .chain(models)
        .filter_map(|(model, at)| Some((model.to_owned(), time_text(at?).into())))
        .collect()
}

/// Puts what was kept beside a state into its record. A writer that keeps nothing of the kind leaves it unknown.
pub(crate) fn add_recoveries(auth: &mut Auth, kept: Option<&Value>) {
    let Some(Value::Object(kept)) = kept else {
        return;
    };
    auth.ordered_by = OrderedBy::Change;
    let of = |model: &str| -> Option<Timestamp> { from_calendar(kept.get(model)?.as_str()?) };
    auth.recovered_at = of("");
    for (model, state) in &mut auth.model_states {
        state.recovered_at = of(model);
    }
}
