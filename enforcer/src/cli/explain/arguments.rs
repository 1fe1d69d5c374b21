//! What was typed after `enforcer explain`.

use std::path::PathBuf;

use super::super::Output;

/// As typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The configuration file; default: /etc/enforcer/enforcer.yaml if it is there, unless --registry or --live is given
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    pub(super) config: Option<PathBuf>,
    /// Files and folders of Istio YAML in the place of a configuration, or - for standard input: matching declared, mode
    /// REGISTRY_ONLY
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "live")]
    pub(super) registry: Vec<PathBuf>,
    /// Ask the running enforcer for the kernel's verdict, and for the addresses that it holds
    #[arg(long, conflicts_with_all = ["labels", "resolve"])]
    pub(super) live: bool,
    /// With --live, the folder of the enforcer's state; default: that of --config, else /run/enforcer
    #[arg(long, value_name = "FOLDER", requires = "live", conflicts_with = "config")]
    pub(super) state: Option<PathBuf>,
    /// The workload's namespace, which need not be configured
    #[arg(long, value_name = "NS")]
    pub(super) namespace: String,
    /// A workload of the configuration, or a pod of the registry, by its name; default: the only one of the namespace, or
    /// one without labels if there is none
    #[arg(long, value_name = "NAME", visible_alias = "name", conflicts_with = "labels")]
    pub(super) workload: Option<String>,
    /// A workload of the namespace that need not exist, by its labels; empty for one without
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(super) labels: Option<String>,
    /// The addresses of a host, once or more often; then no resolver is asked, and other names have no addresses
    #[arg(long, value_name = "HOST=IP,…")]
    pub(super) resolve: Vec<String>,
    /// Over UDP, not TCP, where a destination does not say which
    #[arg(long)]
    pub(super) udp: bool,
    /// Also print a ServiceEntry for each destination that is refused; everything else is a comment
    #[arg(long)]
    pub(super) entry: bool,
    /// How it is printed: as text, or one JSON record a destination and line
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// Exit code 1 if a destination is refused, or would be without audit
    #[arg(long)]
    pub(super) exit_verdict: bool,
    /// HOST:PORT, IP:PORT or [IPv6]:PORT, each with /udp or /tcp after it if need be
    #[arg(value_name = "DESTINATION")]
    pub(super) destinations: Vec<String>,
}
