//!

pub(crate) mod bitset;
pub(crate) mod model_queue;
pub(crate) mod ordered_slots;
pub(crate) mod weighted;
