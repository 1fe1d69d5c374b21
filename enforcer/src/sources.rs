//! Where the registry and the workloads come from.

pub mod files;
