//! The node's network: a cable to the network namespace `world`, which plays everything outside of the cluster. What
//! has no address there is unreachable.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::kubernetes::certificates::NODE;

/// The node's address in the network between it and the outside, as in the certificates.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
/// Of the API server.
pub(super) const PORT: u16 = 6443;

const NODE_SIDE: &str = "
link set lo up
link add eth0 type veth peer name eth0 netns world
address add 172.31.0.2/24 dev eth0
link set eth0 up
route add default via 172.31.0.1
";

const WORLD_SIDE: &str = "
link set lo up
address add 172.31.0.1/24 dev eth0
link set eth0 up
route add 10.244.0.0/16 via 172.31.0.2
";

/// The address of the API server.
pub(super) fn server() -> String {
    format!("https://{ADDRESS}:{PORT}")
}

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// A Service's pod on the bridge answers a pod on the same bridge: that has to be translated back, too.
const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Makes it.
pub(super) fn make() -> Result<()> {
    nix::unistd::sethostname(NODE).context("naming the node")?;
    ip(&["netns", "add", "world"], "")?;
    ip(&["-batch", "-"], NODE_SIDE)?;
    ip(&["-n", "world", "-batch", "-"], WORLD_SIDE)?;
    fs::write(FORWARD, "1").context("forwarding packets")?;
    ip(&["netns", "exec", "world", "tee", FORWARD], "1")?;
    if Path::new(BRIDGED).exists() {
        fs::write(BRIDGED, "1").context("translating what is bridged")?;
    }
    Ok(())
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("telling ip")?;
    }
    let status = child.wait().context("waiting for ip")?;
    ensure!(status.success(), "ip {} failed ({status})", arguments.join(" "));
    Ok(())
}
