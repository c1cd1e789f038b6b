//! A pick as a call does it, for benches.

use crate::manager::Manager;
use crate::request::Options;

/// Picks a credential as a call does, and releases it immediately: for benches. False when there is none.
///
/// ```
/// use credpool::testing::pick;
/// use credpool::{Auth, Manager, Options};
///
/// let manager = Manager::builder().build()?;
/// assert!(!pick(&manager, "openai", "gpt-5", &Options::new()));
/// manager.register(Auth::api_key("openai", "sk-1"))?;
/// assert!(pick(&manager, "openai", "gpt-5", &Options::new()));
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn pick(manager: &Manager, provider: &str, model: &str, options: &Options) -> bool {
    manager.engine().picks(provider, model, options)
}
