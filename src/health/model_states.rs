//! The states of a record's models, bounded in number.

use crate::auth::{Auth, ModelState, Status};

/// The state of a model; a new one is active.
pub(crate) fn state_of<'a>(auth: &'a mut Auth, model: &str) -> &'a mut ModelState {
    if !auth.model_states.contains_key(model) {
        forget_one(auth);
        auth.model_states.insert(
            model.to_owned(),
            ModelState {
                status: Status::Active,
                ..ModelState::default()
            },
        );
    }
    auth.model_states.entry(model.to_owned()).or_default()
}

/// Makes room for one more.
fn forget_one(auth: &mut Auth) {
    if auth.model_states.len() >= MOST_MODELS {
        forget_oldest(auth, MOST_MODELS - 1);
    }
}

/// Keeps so many states: of those that block nothing, the ones untouched for longest go first. Callers may invent model names; memory is
/// finite. The models of those that went.
pub(crate) fn forget_oldest(auth: &mut Auth, most: usize) -> Vec<String> {
    let mut gone = Vec::new();
    while auth.model_states.len() > most {
        let blocks = |state: &ModelState| state.unavailable || state.status == Status::Disabled;
        let states = auth.model_states.iter();
        let oldest = states.min_by_key(|(_, state)| (blocks(state), state.updated_at));
        let Some(model) = oldest.map(|(model, _)| model.clone()) else {
            break;
        };
        auth.model_states.remove(&model);
        gone.push(model);
    }
    gone
}

/// States of models that a record ever has.
const MOST_MODELS: usize = 256;
/// As many as it keeps: after each change there is room for another one.
pub(crate) const KEPT_MODELS: usize = MOST_MODELS - 1;
