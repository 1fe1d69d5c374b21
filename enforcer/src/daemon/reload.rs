//! Takes up a changed configuration at SIGHUP, while the enforcer runs.
//!
//! ```text
//! SIGHUP -> read, checked -> new tasks follow what it names -> owner: first lists complete -> one plan -> in force
//! ```
//!
//! **Architecture Invariant:** what was in force stays so until the new configuration is; one that is wrong, or that would
//! need a start, changes nothing.

use anyhow::{Context as _, Result, bail};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    followers::{Followers, Place},
    input::Generation,
    tasks::Spawner,
};
use crate::{
    config::Config,
    control::{Live, Taken},
    systemd::notify,
};

/// What takes up a configuration.
pub(super) struct Reloader {
    /// The configuration that is in force.
    pub(super) config: Config,
    pub(super) place: Place,
    /// Ends the tasks of that configuration.
    pub(super) token: CancellationToken,
    /// Closed once these have ended.
    pub(super) ended: mpsc::Receiver<()>,
    pub(super) spawner: Spawner,
    pub(super) owner: mpsc::Sender<Generation>,
    pub(super) live: watch::Sender<Live>,
    pub(super) taken: watch::Sender<Taken>,
}

impl Reloader {
    /// Reads the configuration again at each signal, until `cancel`.
    ///
    /// # Errors
    /// If the owner is gone.
    pub(super) async fn run(mut self, mut signal: Signal, cancel: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = signal.recv() => {}
            }
            notify::reloading();
            let refused = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                refused = self.reload(&cancel) => refused?,
            };
            for why in refused.iter().flat_map(|why| why.lines()) {
                tracing::error!("the changed configuration is not taken up, and nothing is changed: {why}");
            }
            self.taken.send_modify(|taken| {
                taken.attempts += 1;
                taken.refused = refused;
            });
            notify::reloaded();
        }
    }

    /// Why the configuration is not taken up; None if it is.
    async fn reload(&mut self, cancel: &CancellationToken) -> Result<Option<String>> {
        let file = self.taken.borrow().file.clone();
        let (mut config, text) = match Config::load_with_text(&file) {
            Ok(read) => read,
            Err(errors) => return Ok(Some(errors.to_string())),
        };
        if let Err(why) = can_be_changed(&self.config, &config) {
            return Ok(Some(format!("{}: {why:#}", file.display())));
        }
        // It may have been given up at the start.
        config.revoke = self.config.revoke;
        let token = cancel.child_token();
        let followers = match Followers::new(&config, &self.place, &token) {
            Ok(followers) => followers,
            Err(error) => return Ok(Some(format!("{error:#}"))),
        };
        let Followers {
            tasks,
            ended,
            sources,
            hosts,
            servers,
            live,
        } = followers;
        let ((swapped, is_swapped), (done, is_done)) = (oneshot::channel(), oneshot::channel());
        let generation = Generation {
            config: config.clone(),
            sources,
            hosts,
            servers,
            names: live.names.clone(),
            swapped,
            done,
        };
        self.owner
            .send(generation)
            .await
            .ok()
            .context("the owner is gone")?;
        is_swapped.await.context("the owner is gone")?;
        self.live.send_replace(live);
        // The former tasks write files that these read.
        std::mem::replace(&mut self.token, token).cancel();
        let mut former = std::mem::replace(&mut self.ended, ended);
        while former.recv().await.is_some() {}
        for task in tasks {
            self.spawner
                .send(task)
                .await
                .ok()
                .context("the tasks are ended")?;
        }
        is_done.await.context("the owner is gone")?;
        self.config = config;
        self.taken.send_modify(|taken| taken.text = text);
        tracing::info!("the changed configuration {} is in force", file.display());
        Ok(None)
    }
}

/// What a running enforcer cannot change.
fn can_be_changed(now: &Config, new: &Config) -> Result<()> {
    let needs_start = [
        (
            "registry.kubernetes",
            now.kubernetes.is_some() || new.kubernetes.is_some(),
        ),
        ("pods", now.pods.is_some() || new.pods.is_some()),
        ("revoke", new.revoke != now.revoke && now.revoke),
        ("bpffs", now.bpffs != new.bpffs),
        ("state", now.state != new.state),
        ("observe.file", now.observe.file != new.observe.file),
        ("cgroupMount", now.cgroup_mount != new.cgroup_mount),
        ("capacities", now.capacities != new.capacities),
        ("ui", now.ui != new.ui),
        ("metrics", now.metrics != new.metrics),
    ];
    let keys: Vec<_> = needs_start
        .iter()
        .filter(|(_, needs_start)| *needs_start)
        .map(|(key, _)| *key)
        .collect();
    if !keys.is_empty() {
        bail!(
            "with another {}, the enforcer has to be started again, which keeps enforcement in force meanwhile: \
             `systemctl restart enforcer`",
            keys.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_needs_a_start_is_named() {
        let config = |text| Config::parse(text, Path::new("f")).unwrap();
        let refused = |new| {
            let now = config("workloads: [{namespace: a, cgroup: /a}]");
            can_be_changed(&now, &config(new))
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(
            refused("mode: audit\nudp: allow\nworkloads: [{namespace: b, unit: b.service}]"),
            None
        );
        let why = refused("state: /x\ncapacities: {exact: 5}").unwrap();
        assert!(
            why.starts_with("with another state, capacities, the enforcer has to be started"),
            "{why}"
        );
        assert!(refused("ui: {}").unwrap().contains("another ui"));
        assert!(
            refused("metrics: {listen: 127.0.0.1:1}")
                .unwrap()
                .contains("another metrics")
        );
        assert!(refused("pods: {}").unwrap().contains("another pods"));
        assert!(refused("revoke: false").unwrap().contains("another revoke"));
    }
}
