//! The daemon and its command line: everything with an effect.
//!
//! `config, sources, names -> daemon (registry, plan) -> datapath`, `datapath -> events -> report`.

pub mod config;
pub mod datapath;
pub mod sources;
