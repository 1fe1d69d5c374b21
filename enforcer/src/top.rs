//! The busiest and the most refused destinations, as `enforcer top` shows them.
//!
//! ```text
//! Observed, a moment -> State (rates, order, selection) -> view -> a frame of the terminal
//! key ---------------------^                            `-> plain -> text, for scripts
//! ```
//!
//! Nothing here asks, waits or writes: the terminal, the clock and the enforcer are `cli/top.rs`'s. All text of others is
//! escaped where it becomes a cell.

mod arrange;
mod column;
mod group;
mod keys;
mod plain;
mod rate;
mod row;
mod select;
mod state;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use column::Column;
pub(crate) use keys::Next;
pub(crate) use plain::text;
pub(crate) use state::{Moment, State};
pub(crate) use view::draw;
