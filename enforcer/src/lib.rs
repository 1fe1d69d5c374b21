//! The daemon and its command line: everything with an effect.
//!
//! `config, sources, names -> daemon (registry, plan) -> datapath`, `datapath -> events -> report`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod abreast;
pub mod bundle;
pub mod cli;
pub mod control;
mod counts;
pub mod daemon;
pub mod datapath;
mod ending;
mod handover;
mod heap;
mod kept;
pub mod metrics;
pub mod names;
pub mod netlink;
mod node;
mod nodes;
pub mod privileges;
pub mod proof;
mod random;
pub mod report;
pub mod revoke;
pub mod sandbox;
pub mod sources;
mod stamp;
mod state;
pub mod systemd;
mod top;
mod turns;
mod typing;
mod ui;
mod web;

pub use enforcer_config as config;
