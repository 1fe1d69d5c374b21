//! What Istio's registry means for one workload.
//!
//! ```text
//! YAML, API objects -> istio -> objects -> grant, export -> offer -> view -> registry -> policy -> plan -> changes
//!                                                                              |-> explain -> reasons
//!                                                    observations, registry -> suggest -> ServiceEntries
//! ```
//!
//! **Architecture Invariant:** no async, clock, randomness, file, socket, aya or kube client in this crate.
//! Callers pass the time as an argument. The same input gives the same output, in whatever order it arrives.

pub mod capacity;
pub mod documents;
pub mod draft;
pub mod explain;
mod export;
mod grant;
pub mod istio;
pub mod model;
pub mod names;
mod objects;
pub mod observed;
mod offer;
pub mod pattern;
pub mod plan;
pub mod pods;
pub mod policy;
pub mod registry;
pub mod rule;
pub mod settings;
pub mod suggest;
#[cfg(test)]
mod test_support;
pub mod typed;
mod view;
pub mod yaml;
