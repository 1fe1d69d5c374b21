//! The name of the node that this process runs on.

/// As the configuration says, else as the pod's manifest hands it over (`NODE_NAME`), else as the kubelet has it unless
/// it is told otherwise: the host's, in lower case.
pub(crate) fn name(configured: Option<&str>) -> String {
    let from_manifest = || std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
    configured
        .map(str::to_owned)
        .or_else(from_manifest)
        .unwrap_or_else(|| {
            let name = nix::unistd::gethostname().unwrap_or_default();
            name.to_string_lossy().to_lowercase()
        })
}
