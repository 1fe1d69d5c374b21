//! The task under test, with a test at the other end of each of its channels.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use enforcer::names::{Ports, Settings, run};
use enforcer_core::{
    model::Host,
    names::{HostStatus, Pacing},
    registry::Update,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;

use crate::dnsmasq::PATIENCE;

/// A running task. Its log comes line by line.
pub(crate) struct Running {
    hosts: watch::Sender<BTreeSet<Host>>,
    updates: mpsc::Receiver<Update>,
    pub(crate) resolvers: watch::Receiver<Vec<SocketAddr>>,
    status: mpsc::Sender<oneshot::Sender<Vec<HostStatus>>>,
    log: mpsc::UnboundedReceiver<String>,
    cancel: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Quick enough for a test: nothing waits longer than it takes to see it.
pub(crate) fn quick(servers: &[SocketAddr]) -> Settings {
    Settings {
        servers: servers.to_vec(),
        timeout: Duration::from_millis(500),
        patience: Duration::from_millis(100),
        pacing: Pacing {
            floor: Duration::from_millis(100),
            grace: Duration::from_millis(400),
            first_retry: Duration::from_millis(50),
            last_retry: Duration::from_millis(200),
            ..Pacing::default()
        },
        ..Settings::default()
    }
}

pub(crate) fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

struct Lines(mpsc::UnboundedSender<String>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // After the test nobody reads the log any more.
        drop(self.0.send(String::from_utf8_lossy(line).into_owned()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Running {
    pub(crate) fn start(settings: Settings, names: &[&str]) -> Self {
        let (hosts, wanted) = watch::channel(names.iter().map(|name| Host::new(name)).collect());
        let (sender, updates) = mpsc::channel(16);
        let (told, resolvers) = watch::channel(Vec::new());
        let (status, requests) = mpsc::channel(1);
        let (lines, log) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let ports = Ports {
            hosts: wanted,
            updates: sender,
            resolvers: told,
            status: requests,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || Lines(lines.clone()))
            .finish();
        let task = tokio::spawn(run(settings, ports, cancel.clone()).with_subscriber(subscriber));
        Self {
            hosts,
            updates,
            resolvers,
            status,
            log,
            cancel,
            task,
        }
    }

    pub(crate) fn want(&self, names: &[&str]) {
        self.hosts
            .send_replace(names.iter().map(|name| Host::new(name)).collect());
    }

    pub(crate) async fn update(&mut self) -> (Host, BTreeSet<IpAddr>) {
        match timeout(PATIENCE, self.updates.recv()).await {
            Ok(Some(Update::Resolved { host, addresses })) => (host, addresses),
            other => panic!("no resolution came: {other:?}"),
        }
    }

    /// Waits until `host` has exactly these addresses.
    pub(crate) async fn resolved(&mut self, host: &str, list: &[&str]) {
        let expected = (Host::new(host), addresses(list));
        while self.update().await != expected {}
    }

    /// The next line of the log that holds `text`; lines before it are passed over.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        let mut passed = Vec::new();
        loop {
            match timeout(PATIENCE, self.log.recv()).await {
                Ok(Some(line)) if line.contains(text) => return line,
                Ok(Some(line)) => passed.push(line),
                other => panic!("never logged `{text}` ({other:?}), but {passed:?}"),
            }
        }
    }

    /// The lines of the log so far.
    pub(crate) fn log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.log.try_recv().ok()).collect()
    }

    pub(crate) async fn status(&self) -> Vec<HostStatus> {
        let (reply, status) = oneshot::channel();
        self.status.send(reply).await.unwrap();
        timeout(PATIENCE, status).await.unwrap().unwrap()
    }

    /// The status of the only host, once it has failed this often in a row.
    pub(crate) async fn failed(&self, times: u32) -> HostStatus {
        let wait = async {
            loop {
                let status = self.status().await.remove(0);
                if status
                    .failing
                    .as_ref()
                    .is_some_and(|failing| failing.count >= times)
                {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("it fails again and again")
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.cancel.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}
