//! What Prometheus scrapes.
//!
//! ```text
//! owner -> ledger (who is bound) -.
//! map VERDICTS ------------------- verdicts -.
//! control's Status, counts, the programs' costs - told -> families -> text -> serve
//! catalog (names, labels, meanings) -> families, document (docs/metrics.md)
//! ```
//!
//! **Architecture Invariant:** nothing here changes what is enforced, and nobody who asks keeps the owner busy: the text
//! is made when it is asked for, and shown again for half a second. No label has the address or the name of a
//! destination, and every label has a bounded number of values.

mod catalog;
mod document;
mod families;
mod kept;
mod ledger;
mod serve;
mod task;
mod told;
mod verdicts;

pub use document::document;
pub(crate) use ledger::{Ledger, Owner, Who};
pub(crate) use serve::follow;
pub(crate) use task::Metrics;
