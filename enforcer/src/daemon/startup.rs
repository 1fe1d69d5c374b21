//! From nothing to enforcement in force.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use enforcer_core::model::Host;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{inputs::Inputs, owner::Owner};
use crate::{
    control::AllowAny,
    datapath::Cgroup,
    names::{AskStatus, settled},
    proof::Canaries,
    report::{escape::Line, log::LogFormat},
};

/// How long names may take at the start. What does not resolve until then is refused until it does.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long another enforcer may have every root before this start gives up.
const TAKEOVER: Duration = Duration::from_secs(1);

/// How often it is looked whether it still has.
const GLANCE: Duration = Duration::from_millis(50);

impl Owner {
    /// Runs until `cancel`.
    ///
    /// The kernel's maps are changed only once every source has said what there is: a start finds the maps of an
    /// earlier one in force, and must not take away what it does not know of yet.
    ///
    /// # Errors
    /// If a source ends, or enforcement cannot be brought into force.
    pub(super) async fn run(
        mut self,
        mut inputs: Inputs,
        names: AskStatus,
        cancel: CancellationToken,
    ) -> Result<()> {
        tokio::select! {
            started = self.start(&mut inputs, &names) => started?,
            () = cancel.cancelled() => return Ok(()),
        }
        self.follow(&mut inputs, &cancel).await
    }

    async fn start(&mut self, inputs: &mut Inputs, names: &AskStatus) -> Result<()> {
        if let Some(changes) = &mut inputs.changes.pods {
            let changes = changes.recv().await.context("no cgroups of pods")?;
            self.take_pods(changes);
            self.admit_own_pod()?;
        }
        if let Some(admitted) = inputs.admitted.take() {
            // Nobody waits where no API server is followed.
            admitted.send(()).ok();
        }
        self.take_files(inputs.changes.files.recv().await.context("no files")?);
        self.take_cgroups(inputs.changes.cgroups.recv().await.context("no cgroups")?);
        self.take_lists(inputs).await?;
        let hosts = self.registry.hosts();
        self.hosts.send_replace((*hosts).clone());
        self.settle(inputs, names, &hosts).await?;
        self.applied = self.datapath.read_back()?;
        self.canaries = Canaries::left_in(&self.applied);
        self.reconcile()?;
        // What an enforcer had that was killed a moment ago goes after its process.
        let start = Instant::now();
        while self.check_roots().is_err() && start.elapsed() < TAKEOVER {
            sleep(GLANCE).await;
            self.reconcile()?;
        }
        self.check_roots()?;
        self.is_started = true;
        self.datapath.keep_pins();
        let unattached: Vec<_> = self.unattached.keys().copied().collect();
        self.datapath.remove_leftovers(&unattached)?;
        for closure in self.datapath.closures() {
            if closure.absent.is_some() {
                tracing::warn!("{closure}");
            }
        }
        self.announce();
        for root in self.places.roots().filter(|root| self.places.is_required(root)) {
            if !self.cgroups.values().any(|cgroup| cgroup.path == root) {
                tracing::warn!(
                    "the root {} is not there: nothing is enforced below it until somebody makes it",
                    root.display()
                );
            }
        }
        Ok(())
    }

    /// One root that fails keeps no other from being enforced; a start that enforces at none of them is none.
    fn check_roots(&self) -> Result<()> {
        let is_root = |cgroup: &&Cgroup| self.is_root(cgroup) && cgroup.is_there();
        let roots = self.cgroups.values().filter(is_root);
        let mut refused: Vec<_> = Vec::new();
        for root in roots {
            match self.outcome.refused.get(&root.id) {
                Some(why) => refused.push(why.as_str()),
                None => return Ok(()),
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        bail!("{}", refused.join("; "))
    }

    /// Takes addresses in until every host was answered for or has failed, or patience ends.
    async fn settle(&mut self, inputs: &mut Inputs, names: &AskStatus, hosts: &BTreeSet<Host>) -> Result<()> {
        let settled = tokio::time::timeout(PATIENCE, settled(names, hosts));
        tokio::pin!(settled);
        loop {
            tokio::select! {
                update = inputs.changes.names.recv() => self.apply(update.context("no names")?),
                control = inputs.controls.next() => self.answer(control?),
                in_time = &mut settled => {
                    if in_time.is_err() {
                        tracing::warn!(
                            "not every host of the registry has resolved within {PATIENCE:?}: connections to the others \
                             are refused until they resolve; `enforcer status` names those that fail"
                        );
                    }
                    break;
                }
            }
        }
        while let Ok(update) = inputs.changes.names.try_recv() {
            self.apply(update);
        }
        Ok(())
    }

    /// The line that scripts wait for.
    fn announce(&self) {
        let (workloads, policies) = (self.applied.workloads.len(), self.applied.policies.len());
        let rules: usize = self.applied.scopes.values().map(|rules| rules.len()).sum();
        let message = "enforcement is in force";
        let allow_any = self.allow_any();
        let line = match self.format {
            LogFormat::Human => {
                let but = if allow_any.is_empty() {
                    String::new()
                } else {
                    format!("; but {}", AllowAny(&allow_any))
                };
                let line =
                    format!("{message}: workloads {workloads}, policies {policies}, rules {rules}{but}");
                Line(line).to_string()
            }
            LogFormat::Json => {
                let counts =
                    serde_json::json!({ "workloads": workloads, "policies": policies, "rules": rules });
                let mut line = serde_json::json!({ "message": message, "counts": counts });
                if !allow_any.is_empty() {
                    line["allowAny"] = allow_any.into();
                }
                line.to_string()
            }
        };
        // Who reads it, or has stopped to, does not decide on what is enforced.
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            tracing::warn!(
                "{line}: this could not be written to standard output ({error}): enforcement is in force, and who waits \
                 for that line waits in vain"
            );
        }
        if self.applied.workloads.is_empty() {
            tracing::warn!("no configured workload has a cgroup yet; each is enforced from when it appears");
        }
    }
}
