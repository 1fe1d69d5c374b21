//! A process that judges the first packet of every connection, which the kernel queues for it: what the reference
//! implementation of ClusterNetworkPolicy does.

use std::{
    collections::HashSet,
    env,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};
use nfq::{Queue, Verdict};

use super::{ARGUMENT, QUEUE, filters, ours::others};
use crate::{fixture::tied, stream::TO};

/// Starts it in this thread's network, and has the kernel queue.
pub(super) fn start(cgroup: &Path, rules: u32) -> Result<Child> {
    let mut child = tied(env::current_exe()?)
        .args([ARGUMENT, QUEUE, &rules.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the judge")?;
    let output = child.stdout.take().context("a pipe was asked for")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.is_empty() {
        let output = child.wait_with_output()?;
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    filters::queue(cgroup)?;
    Ok(child)
}

/// The process's own main: `RULES`. It says when it judges.
pub(super) fn main(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let rules: u32 = arguments.next().context("how many rules?")?.parse()?;
    let allowed: HashSet<_> = others(rules).map(|address| address.octets()).collect();
    let mut queue = Queue::open().context("opening a queue")?;
    queue.bind(0).context("binding the queue")?;
    println!("ready");
    loop {
        let mut packet = queue.recv().context("receiving a packet")?;
        let to: Option<[u8; 4]> = packet.get_payload().get(16..20).and_then(|to| to.try_into().ok());
        let is_allowed = |to: [u8; 4]| Ipv4Addr::from(to) == TO.ip() || allowed.contains(&to);
        let verdict = if to.is_some_and(is_allowed) {
            Verdict::Accept
        } else {
            Verdict::Drop
        };
        packet.set_verdict(verdict);
        queue.verdict(packet).context("telling the verdict")?;
    }
}
