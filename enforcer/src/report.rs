//! What operators read: one line for each verdict that is worth one, and the log.

pub mod escape;
pub mod flow;
pub mod log;
pub mod notice;
pub mod once;
pub mod quiet;
pub mod untold;
