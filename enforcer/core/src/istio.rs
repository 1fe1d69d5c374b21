//! Istio's and Kubernetes' objects as documents, and what they say once they are valid.

mod object;

pub use object::*;
