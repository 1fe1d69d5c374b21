//! Output for operators: one line for each verdict that is worth reporting, and the log.

pub mod dedup;
pub mod escape;
pub mod flow;
pub mod journal;
pub mod log;
pub mod notice;
pub mod rate_limit;
pub mod recent;
pub mod suppressed;
