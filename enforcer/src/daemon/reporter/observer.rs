//! What workloads are seen to reach, and to be refused: a bounded table, and whoever watches.
//!
//! ```text
//! map SEEN -> Sighting -> Observation -> table -> file, `enforcer suggest`, `top`, `ui`
//!                               `-> Watched -> watchers            (what is allowed, counted)
//! ring buffer -> Flow --------------> Watched -> watchers          (what is refused or reported, call by call)
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Sight, Verdict};
use enforcer_core::{
    model::{Destination, Host},
    observed::{Observation, Observations, Seen},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, watch};

use super::explain::explain;
use crate::{
    config::Observe,
    control::{Observed, Watch, Watched},
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::{Given, Sighting},
    kept::Snapshot,
    report::flow::Flow,
};

/// How often it is looked what was seen: seldom, unless somebody watches.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_WATCHED: Duration = Duration::from_millis(200);
/// The same while there is more than one look takes.
const LOOK_BEHIND: Duration = Duration::from_millis(50);

/// Destinations that one look takes out of the map; the rest waits there.
const MOST: usize = 2_048;

/// For so long a look may say why something is allowed or not; what comes after that is told the next time.
const EXPLAINING: Duration = Duration::from_millis(10);

/// Calls that are remembered for who asks for the last ones.
const RECENT: usize = 1_000;

/// Calls that wait for a watcher who does not read; beyond that, the oldest are missed.
const WAITING: usize = 1_024;

/// How often the file is written, if there is something new.
const SAVE: Duration = Duration::from_secs(30);

/// See the module.
pub(in crate::daemon) struct Observer {
    table: Observations,
    watchers: broadcast::Sender<Arc<Watched>>,
    recent: VecDeque<Arc<Watched>>,
    /// Calls that the programs could not count, as last read; None before the first time.
    unseen: Option<BTreeMap<CgroupId, u64>>,
    /// Where snapshots for the file go.
    file: Option<watch::Sender<Snapshot>>,
    saved: Instant,
    is_news: bool,
    looked: Instant,
    /// The last look has not taken all that there was.
    is_behind: bool,
    /// Why the map could not be read, as last said.
    failed: Option<String>,
}

impl Observer {
    /// With what an earlier start has kept, and where snapshots for the file go.
    pub(in crate::daemon) fn new(
        config: &Observe,
        kept: Vec<Observation>,
        file: Option<watch::Sender<Snapshot>>,
    ) -> Self {
        let mut table = Observations::new(limit(config));
        let is_kept = !kept.is_empty();
        kept.into_iter().for_each(|observation| table.note(observation));
        Self {
            table,
            watchers: broadcast::Sender::new(WAITING),
            recent: VecDeque::new(),
            unseen: None,
            file,
            // What was kept is written again soon: the file may have been moved aside.
            saved: Instant::now().checked_sub(SAVE).unwrap_or_else(Instant::now),
            is_news: is_kept,
            looked: Instant::now(),
            is_behind: false,
            failed: None,
        }
    }

    /// Another configuration is in force.
    pub(in crate::daemon) fn configure(&mut self, config: &Observe) {
        self.table.set_limit(limit(config));
    }

    /// When to look again.
    pub(in crate::daemon) fn due(&self) -> Instant {
        self.looked + self.pause()
    }

    /// Why something is allowed or not may be another reason from now on.
    pub(in crate::daemon) fn outdate(&mut self) {
        self.table.outdate();
    }

    fn pause(&self) -> Duration {
        match self.is_watched() {
            _ if self.is_behind => LOOK_BEHIND,
            true => LOOK_WATCHED,
            false => LOOK,
        }
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.receiver_count() > 0
    }

    /// Takes what was seen since the last look.
    pub(in crate::daemon) fn look(&mut self, ingest: &mut Ingest, reconciler: &mut Reconciler) {
        self.looked = Instant::now();
        let seen = match reconciler.sightings(MOST) {
            Ok(seen) => seen,
            Err(error) => return self.say_failed(&error),
        };
        self.failed = None;
        self.is_behind = seen.len() >= MOST;
        let now = Timestamp::now();
        for sighting in &seen {
            if !reconciler.is_canary(sighting.workload) {
                self.note(sighting, now, (ingest, reconciler));
            }
        }
        if self.is_news && self.saved.elapsed() >= SAVE {
            self.save();
        }
    }

    /// Counts what the programs could not.
    pub(in crate::daemon) fn count_unseen(&mut self, reconciler: &Reconciler) {
        let now = match reconciler.unseen() {
            Ok(now) => now,
            Err(error) => return self.say_failed(&error),
        };
        if let Some(before) = self.unseen.replace(now) {
            for (workload, calls) in self.unseen.iter().flatten() {
                let known = before.get(workload).copied().unwrap_or_default();
                // An entry that was made anew has begun anew.
                let news = if *calls >= known { calls - known } else { *calls };
                self.table.drop_calls(news);
            }
        }
    }

    fn note(&mut self, sighting: &Sighting, now: Timestamp, by: (&mut Ingest, &Reconciler)) {
        let (ingest, reconciler) = by;
        let Some(workload) = ingest.workload(sighting.workload) else {
            // Its cgroup is gone, and with it the name.
            self.table.drop_calls(sighting.count);
            return;
        };
        let name = workload.to_string();
        let (namespace, workload) = (workload.namespace.to_string(), workload.name.clone());
        let given = reconciler.given(sighting.workload, sighting.address);
        let named = |registry: &mut enforcer_core::registry::Registry| {
            let names = registry.names_of(sighting.address);
            let mut names = names.into_iter().filter(|name| !name.is_wildcard());
            names.next().as_ref().map(Host::to_string)
        };
        // A refused address may be somebody else's host: who has asked for no name has dialled an address.
        let is_allowed = sighting.sight == Sight::Allowed;
        let of_address = || is_allowed.then(|| named(ingest.registry())).flatten();
        let host = given.name.clone().or_else(of_address);
        let age = SignedDuration::try_from(sighting.age).unwrap_or(SignedDuration::MAX);
        let last = now.checked_sub(age).unwrap_or(now);
        let mut observation = Observation {
            namespace,
            workload,
            host,
            addresses: vec![sighting.address],
            port: sighting.port,
            transport: sighting.transport.into(),
            verdict: seen(sighting.sight),
            probe: sighting.is_probe,
            object: None,
            reason: None,
            suggestion: None,
            first: last,
            last,
            count: sighting.count,
        };
        match self.table.explained(&observation) {
            Some(known) => {
                observation.object.clone_from(&known.object);
                observation.reason.clone_from(&known.reason);
                observation.suggestion.clone_from(&known.suggestion);
            }
            None if self.looked.elapsed() < EXPLAINING => {
                say_why(&mut observation, sighting, (ingest, reconciler, &given));
            }
            None => {}
        }
        // The others are told call by call, with their process.
        if sighting.sight == Sight::Allowed {
            self.tell(Watched::of_observation(&observation, name));
        }
        self.is_news = true;
        self.table.note(observation);
    }

    /// Tells watchers of a call that the programs have reported.
    pub(super) fn tell_flow(&mut self, flow: &Flow) {
        self.tell(Watched::of_flow(flow));
    }

    fn tell(&mut self, watched: Watched) {
        let watched = Arc::new(watched);
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&watched));
        // Nobody may watch.
        self.watchers.send(watched).ok();
    }

    /// What was told last, and what is told from now on.
    pub(in crate::daemon) fn watch(&self) -> Watch {
        Watch {
            recent: self.recent.iter().cloned().collect(),
            live: self.watchers.subscribe(),
        }
    }

    /// All that is known.
    pub(in crate::daemon) fn observed(&self) -> Observed {
        Observed {
            observations: self.sorted(),
            dropped: self.table.dropped(),
        }
    }

    fn sorted(&self) -> Vec<Observation> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        all.into_iter().cloned().collect()
    }

    /// Has the file written.
    pub(in crate::daemon) fn save(&mut self) {
        if let Some(file) = &self.file {
            file.send_replace(Arc::new(self.sorted()));
        }
        self.saved = Instant::now();
        self.is_news = false;
    }

    fn say_failed(&mut self, error: &anyhow::Error) {
        let error = format!("{error:#}");
        if self.failed.as_ref() != Some(&error) {
            tracing::error!(
                "cannot take from the kernel what workloads were seen to reach; enforcement is not affected: {error}"
            );
            self.failed = Some(error);
        }
    }
}

/// By workload, then by destination.
fn order(of: &Observation) -> impl Ord {
    let workload = (&of.namespace, &of.workload);
    (
        workload,
        &of.host,
        of.addresses.last(),
        of.port,
        of.transport,
        of.verdict,
        of.probe,
    )
}

fn limit(config: &Observe) -> usize {
    usize::try_from(config.entries).unwrap_or(usize::MAX)
}

fn seen(sight: Sight) -> Seen {
    match sight {
        Sight::Allowed => Seen::Allow,
        Sight::Denied => Seen::Deny,
        Sight::Audited => Seen::Audit,
        Sight::Unregistered => Seen::Unregistered,
    }
}

/// Says why, unless the registry has changed since.
fn say_why(observation: &mut Observation, of: &Sighting, by: (&mut Ingest, &Reconciler, &Given)) {
    let (ingest, reconciler, given) = by;
    let destination = Destination::new(of.transport, of.address, of.port);
    let explanation = explain(ingest, of.workload, destination, given)
        .as_held(reconciler.applied(), (of.workload, destination, &given.hosts));
    if explanation.why.is_permission() == (of.sight == Sight::Allowed) {
        observation.object = explanation.why.object().map(ToString::to_string);
        observation.reason = Some(explanation.why.to_string());
        observation.suggestion = explanation.suggestion;
    }
}

impl Watched {
    fn of_observation(observation: &Observation, workload: String) -> Self {
        Self {
            time: observation.last,
            verdict: observation.verdict,
            workload,
            namespace: Some(observation.namespace.clone()),
            process: None,
            pid: None,
            uid: None,
            protocol: observation.transport.to_string(),
            address: observation
                .addresses
                .last()
                .map(ToString::to_string)
                .unwrap_or_default(),
            port: observation.port,
            host: observation.host.clone(),
            object: observation.object.clone(),
            reason: observation.reason.clone(),
            suggestion: observation.suggestion.clone(),
            count: observation.count,
        }
    }

    fn of_flow(flow: &Flow) -> Self {
        Self {
            time: Timestamp::now(),
            verdict: match flow.verdict {
                Verdict::Allow => Seen::Unregistered,
                Verdict::Deny => Seen::Deny,
                Verdict::Audit => Seen::Audit,
            },
            workload: flow.workload.clone(),
            namespace: flow.namespace.clone(),
            process: Some(flow.process.clone()),
            pid: Some(flow.pid),
            uid: Some(flow.uid),
            protocol: flow.protocol.clone(),
            address: flow.destination.ip().to_string(),
            port: flow.destination.port(),
            host: flow.host().map(ToOwned::to_owned),
            object: flow.object.clone(),
            reason: Some(flow.reason.clone()),
            suggestion: flow.suggestion.clone(),
            count: 1,
        }
    }
}
