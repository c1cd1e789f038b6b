//! An audit of what a manager derives from its records.

use crate::manager::Manager;

/// Where the index from which calls pick disagrees with the records, the limits and the probes at this moment: nowhere, unless this crate
/// is at fault.
///
/// ```
/// use credpool::testing::audit;
/// use credpool::{Auth, Manager};
///
/// let manager = Manager::builder().build()?;
/// manager.register(Auth::api_key("openai", "sk-1"))?;
/// assert_eq!(audit(&manager), Vec::<String>::new());
/// # Ok::<(), credpool::Error>(())
/// ```
pub fn audit(manager: &Manager) -> Vec<String> {
    manager.engine().audit()
}
