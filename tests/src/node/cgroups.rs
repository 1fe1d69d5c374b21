//! What a kubelet of this age leaves to be done where cgroup v2 has no controllers: it finds the cgroups of pods by
//! their controllers, and does not find these. A pod that is being deleted would wait for its empty cgroup for ever.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer::datapath::CgroupMount;

use super::Node;
use crate::fixture;

/// How often it is looked whether the processes of a pod that is being deleted have ended.
const GLANCE: Duration = Duration::from_millis(50);

/// Below the kubelet's cgroup of pods, where it puts those of each class.
const CLASSES: [&str; 3] = ["", "besteffort", "burstable"];

/// Removes the empty cgroups of pods that are being deleted, for as long as it lives.
#[derive(Debug)]
pub(super) struct Sweeper {
    watch: Child,
    threads: Vec<JoinHandle<()>>,
}

impl Sweeper {
    pub(super) fn start(node: &Node) -> Result<Self> {
        let pods = node.cgroup()?.join("kubepods");
        let columns = "custom-columns=UID:.metadata.uid,GOING:.metadata.deletionTimestamp";
        let arguments = ["get", "pods", "-A", "--watch", "--no-headers", "-o", columns];
        let mut watch = node
            .command("kubectl", &arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("watching pods")?;
        let lines = BufReader::new(watch.stdout.take().context("a pipe was asked for")?);
        let (sink, going) = mpsc::channel();
        let threads = vec![
            thread::spawn(move || read(lines, &sink)),
            thread::spawn(move || sweep(&pods, &going)),
        ];
        Ok(Self { watch, threads })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Err(error) = self.watch.kill().and_then(|()| self.watch.wait().map(drop)) {
            eprintln!("the watch of pods is still there: {error}");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("the cgroups of pods were not swept to the end");
            }
        }
    }
}

/// Tells of pods that are being deleted, until the watch ends.
fn read(lines: BufReader<ChildStdout>, sink: &mpsc::Sender<String>) {
    for line in lines.lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        if let (Some(uid), Some(time)) = (words.next(), words.next())
            && time != "<none>"
            && sink.send(uid.to_owned()).is_err()
        {
            return;
        }
    }
}

fn sweep(pods: &Path, going: &mpsc::Receiver<String>) {
    let mut waiting: Vec<PathBuf> = Vec::new();
    loop {
        match going.recv_timeout(GLANCE) {
            Ok(uid) => waiting.extend(CLASSES.map(|class| pods.join(class).join(format!("pod{uid}")))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|folder| match fs::read_to_string(folder.join("cgroup.events")) {
            Ok(events) if events.contains("populated 0") => fixture::remove(folder).is_err(),
            Ok(_) => true,
            // It is gone, or is another class's.
            Err(_) => false,
        });
    }
}

impl Node {
    /// The node's own cgroup, as this machine sees it.
    pub(super) fn cgroup(&self) -> Result<PathBuf> {
        let pid =
            fs::read_to_string(self.folder.path().join("node/pid")).context("reading the node's pid")?;
        let pid = pid.split(' ').next().context("a pid stands first")?;
        let cgroups =
            fs::read_to_string(format!("/proc/{pid}/cgroup")).context("reading the node's cgroup")?;
        let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
        let init = Path::new(unified.context("the node is in cgroup v2")?);
        let node = init.parent().context("it lies below the node's cgroup")?;
        Ok(CgroupMount::find()?.folder(node))
    }
}
