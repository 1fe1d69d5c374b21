//! Istio's and Kubernetes' objects as documents, and as types once they are valid.
//!
//! ```text
//! serde_json::Value -> reading -> one module for each kind -> Object, or Invalid: what is wrong and where
//! ```
//!
//! An object is valid if both Istio's webhook and the API server would accept it: their rules are repeated here, for
//! documents that have passed neither. Rules have the numbers E1-E38 (errors) and W1-W6 (warnings), in the order of
//! `pkg/config/validation/validation.go`, `ValidateServiceEntry`.
//!
//! **Architecture Invariant:** whatever the value, reading neither panics nor refuses a field that it does not know.

mod address;
mod endpoint;
mod endpoint_slice;
mod export_to;
mod label_selector;
mod machine;
mod mesh_config;
mod meta;
mod name;
mod namespace;
mod node;
mod object;
mod pod;
mod port;
mod problem;
mod reading;
mod schema;
mod selector;
mod service;
mod service_entry;
mod sidecar;
#[cfg(test)]
mod testing;
mod unknown;
mod virtual_service;
mod workload_entry;

pub use object::*;
pub use problem::*;
pub use reading::*;
pub(crate) use unknown::unknown;
