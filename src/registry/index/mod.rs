//! The ready index: bitsets over ordered slots, one ready set for each model, weighted round-robin.
//!

pub(crate) mod bitset;
pub(crate) mod model_queue;
pub(crate) mod ordered_slots;
pub(crate) mod weighted;
