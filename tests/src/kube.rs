//! API servers for tests: a real one with its etcd, and one that does as it is told.
//!
//! `server` starts the real one in a network of its own, once for all tests of a binary; `api` speaks to it as an
//! administrator; `helm` finds Helm; `fake` plays a server that does what a real one cannot be made to do at a chosen moment.

mod api;
mod fake;
mod helm;
mod server;

pub use api::Api;
pub use fake::{Fake, Reply, Then};
pub use helm::helm;
pub(crate) use server::missing;
pub use server::{Server, built, is_there, with_server};
