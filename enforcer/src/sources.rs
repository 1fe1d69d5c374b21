//! Where the registry and the workloads come from.

pub mod cgroups;
pub mod files;
pub mod pods;
