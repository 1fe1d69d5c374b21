//! Real Kubernetes for the tests: an API server, or a whole node whose pods run on this machine's kernel.
//!
//! ```text
//! build -> folder -> control_plane -> api
//!                                 `-> node -> supervisor -> init -> boot (mounts, network, components, images)
//! ```
//!
//! **Architecture Invariant:** nothing here stands for a part of Kubernetes. What the tests meet is what Kubernetes'
//! own source compiles to, with the two changes that [`source`] names.

mod api;
mod archive;
mod build;
mod certificates;
mod control_plane;
mod folder;
mod go;
mod lifetime;
mod node;
mod openapi;
mod packages;
mod running;
mod source;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

pub(crate) use build::build;
pub(crate) use folder::Folder;

/// What is to be had, or not.
const WHAT: &str = "Kubernetes";

/// What `kubernetes` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Build it from the distribution's source, which takes minutes once; nothing if all is there
    Build(build::Arguments),
    /// An API server with etcd on loopback
    #[command(subcommand)]
    Api(api::Action),
    /// A whole cluster of one node, whose pods run on this machine's kernel
    #[command(subcommand)]
    Node(node::Action),
    /// What containerd runs on the node in the place of runc
    #[command(hide = true)]
    OciRuntime {
        /// runc's arguments
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

/// Does it.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Build(arguments) => build::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Api(action) => api::run(&action).map(|()| ExitCode::SUCCESS),
        Command::Node(action) => node::run(&action),
        Command::OciRuntime { arguments } => node::run_oci_runtime(&arguments),
    }
}
