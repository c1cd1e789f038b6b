//! Which credential serves: selectors, one algorithm per file, and the keys of conversations.

pub mod conversation;
