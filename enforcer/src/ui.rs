//! The page: what workloads reach and are refused, and how the node stands, in a browser.
//!
//! ```text
//! browser -> gate (host, token) -> answer -> shared (once a second) -> control socket
//!                                    |-> page (HTML, style and script in one)
//!                                    `-> entry (the ServiceEntry that would allow a destination)
//! ```
//!
//! **Architecture Invariant:** it asks what whoever is root may ask at the control socket, at most once a second however
//! many browsers look, and changes nothing. Nothing that it does or fails at affects enforcement.

mod answer;
mod entry;
mod follow;
mod gate;
mod page;
mod serve;
mod shared;
mod token;

pub(crate) use follow::follow;
pub(crate) use serve::Server;
pub(crate) use token::Token;
