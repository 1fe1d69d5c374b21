//! What istiod tells Envoy of a Service's endpoints: it follows the API server, and waits for a moment in which nothing
//! changes (istio `pilot/pkg/bootstrap/discovery.go`, `PILOT_DEBOUNCE_AFTER`).

use std::{
    fs,
    io::BufReader,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{ChildStdout, Stdio},
    sync::mpsc::{self, RecvTimeoutError, TryRecvError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Deserializer, Value, json};

use super::bootstrap::assignment;
use crate::cluster::Cluster;

/// How long nothing must change.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Writes a Service's endpoints into a file for Envoy. All of them are in one slice.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Of the Service.
    pub namespace: String,
    /// Of the Service; Envoy's cluster and the file are called so, too.
    pub name: String,
    /// Where the file is written.
    pub folder: PathBuf,
}

impl Follower {
    /// Writes what there is now, and says what that is.
    ///
    /// # Errors
    /// If the API server does not say it.
    pub fn write_once(&self, cluster: &dyn Cluster) -> Result<Vec<SocketAddr>> {
        let label = self.label();
        let list: Value = serde_json::from_str(&cluster.kubectl(&self.arguments(&label))?)?;
        let ready = ready(&list["items"][0])?;
        self.write(&ready)?;
        Ok(ready)
    }

    /// Writes each change until nobody holds the other end of `is_over` any more, and says how many there were.
    ///
    /// # Errors
    /// If the API server cannot be followed.
    pub fn follow(&self, cluster: &dyn Cluster, is_over: &mpsc::Receiver<()>) -> Result<usize> {
        let label = self.label();
        let mut watch = cluster
            .lasting(&[self.arguments(&label).as_slice(), &["--watch"]].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("watching endpoints")?;
        let output = watch.stdout.take().context("a pipe was asked for")?;
        let (sink, slices) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || read(output, &sink));
            let written = self.write_each(&slices, is_over);
            watch.kill().and_then(|()| watch.wait())?;
            written
        })
    }

    fn write_each(&self, slices: &mpsc::Receiver<Value>, is_over: &mpsc::Receiver<()>) -> Result<usize> {
        let (mut latest, mut written) = (None, 0);
        while is_over.try_recv() != Err(TryRecvError::Disconnected) {
            match slices.recv_timeout(DEBOUNCE) {
                Ok(slice) => latest = Some(slice),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(slice) = latest.take() {
                        self.write(&ready(&slice)?)?;
                        written += 1;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the watch of endpoints has ended"),
            }
        }
        Ok(written)
    }

    fn label(&self) -> String {
        format!("kubernetes.io/service-name={}", self.name)
    }

    fn arguments<'a>(&'a self, label: &'a str) -> [&'a str; 8] {
        [
            "-n",
            &self.namespace,
            "get",
            "endpointslices",
            "-o",
            "json",
            "-l",
            label,
        ]
    }

    fn write(&self, endpoints: &[SocketAddr]) -> Result<()> {
        let mut assignment = assignment(&self.name, endpoints);
        assignment["@type"] = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment".into();
        let text = json!({ "resources": [assignment] }).to_string();
        replace(&self.folder, &format!("{}.json", self.name), &text)
    }
}

/// Passes on each slice that the watch tells of.
fn read(output: ChildStdout, sink: &mpsc::Sender<Value>) {
    let slices = Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
    for slice in slices.map_while(Result::ok) {
        if sink.send(slice).is_err() {
            return;
        }
    }
}

/// Where a slice's endpoints are that are ready, with each of its ports.
fn ready(slice: &Value) -> Result<Vec<SocketAddr>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut ready = Vec::new();
    for endpoint in list(&slice["endpoints"]) {
        if endpoint["conditions"]["ready"] == false {
            continue;
        }
        for address in list(&endpoint["addresses"]) {
            let address: IpAddr = address.as_str().context("an address is text")?.parse()?;
            for port in list(&slice["ports"]) {
                let port = port["port"].as_u64().context("a port is a number")?;
                ready.push(SocketAddr::new(address, u16::try_from(port)?));
            }
        }
    }
    Ok(ready)
}

/// Replaces a file as a whole, as Envoy wants it.
pub(super) fn replace(folder: &Path, file: &str, text: &str) -> Result<()> {
    let new = folder.join(format!(".{file}"));
    fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, folder.join(file)).with_context(|| format!("replacing {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_those_that_are_ready_on_the_ports_of_the_slice() {
        let endpoint =
            |address, is_ready| json!({ "addresses": [address], "conditions": { "ready": is_ready } });
        let slice = json!({
            "endpoints": [endpoint("10.244.0.7", true), endpoint("10.244.0.8", false)],
            "ports": [{ "port": 8080 }],
        });
        assert_eq!(ready(&slice).unwrap(), ["10.244.0.7:8080".parse().unwrap()]);
        assert_eq!(ready(&json!({ "endpoints": null, "ports": null })).unwrap(), []);
    }
}
