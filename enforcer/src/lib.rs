//! The daemon and its command line: everything with an effect.
//!
//! `config, sources, names -> daemon (registry, plan) -> datapath`, `datapath -> events -> report`.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod names;
pub mod report;
pub mod revoke;
pub mod sources;
