//! From the kernel's events to lines in the log.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Reason, Share, Verdict};
use enforcer_core::{
    explain::Why,
    model::{Destination, Workload},
    pods::{PodName, PodUid},
    registry::Registry,
};
use tokio::sync::mpsc;

use super::{duplicates::Duplicates, explain::explain, observer::Observer};
use crate::{
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::{Cause, Decision, Given, Subject, of_process},
    metrics::Ledger,
    report::{
        flow::Flow,
        log::LogFormat,
        notice::Notice,
        rate_limit::RateLimit,
        suppressed::{Line, Suppressed},
    },
    turns::Shares,
};

/// The key by which two refusals of a workload are the same for a reader.
type Refusal = (CgroupId, IpAddr, u16, Subject, u8);

/// For this long, the same refusal is not logged again.
const PAUSE: Duration = Duration::from_secs(10);

/// The same for a datagram socket's `connect`, which sends nothing: resolver libraries use it to sort addresses.
const PROBE_PAUSE: Duration = Duration::from_secs(60);

/// Subjects that are written of in a pause: some MB of memory, and of one workload 20 lines a second.
const SHARES: Shares = Shares {
    all: 16_384,
    one: 200,
};

pub(super) struct Flows {
    format: LogFormat,
    start: Instant,
    calls: RateLimit<CgroupId, Refusal>,
    probes: RateLimit<CgroupId, Refusal>,
    duplicates: Duplicates<Refusal>,
    /// What was left out, by workload.
    pub(super) suppressed: Suppressed,
    /// The same, by what owns them.
    ledger: Arc<Ledger>,
    /// Where Kubernetes Events are queued; None without an API server.
    notices: Option<mpsc::Sender<Notice>>,
}

impl Flows {
    pub(super) fn new(format: LogFormat, notices: Option<mpsc::Sender<Notice>>, ledger: Arc<Ledger>) -> Self {
        Self {
            format,
            start: Instant::now(),
            calls: RateLimit::new(PAUSE, SHARES),
            probes: RateLimit::new(PROBE_PAUSE, SHARES),
            duplicates: Duplicates::default(),
            suppressed: Suppressed::default(),
            ledger,
            notices,
        }
    }

    /// Logs an event, unless the same one was logged recently or its workload has used up its share; who watches is told
    /// of every one.
    pub(super) fn write(
        &mut self,
        decision: &Decision,
        by: (&mut Ingest, &Reconciler),
        observer: &mut Observer,
    ) {
        let (ingest, reconciler) = by;
        let Decision {
            cgroup,
            address,
            port,
            subject,
            verdict,
            ..
        } = *decision;
        let refusal = (cgroup, address, port, subject, verdict as u8);
        if self.duplicates.has(decision, refusal) {
            return;
        }
        let limit = if decision.is_datagram_connect() {
            &mut self.probes
        } else {
            &mut self.calls
        };
        let again = limit.ask(decision.sharer(), refusal, self.start.elapsed());
        // Only what is really said is looked up: whoever asks for many names and connects to many addresses is told of in
        // few lines.
        if again.is_none() && !observer.is_watched() {
            return;
        }
        let flow = flow_of(decision, ingest, reconciler);
        observer.tell_flow(&flow);
        if let Some(again) = again {
            flow.write(self.format, again);
            self.notify(&flow, ingest.workload(cgroup));
        }
    }

    /// Counts events that were left out.
    pub(super) fn add_suppressed(&mut self, left_out: BTreeMap<CgroupId, u64>, ingest: &Ingest) {
        for (of, count) in left_out {
            self.ledger.suppress(of, count);
            let name = match ingest.workload(of) {
                Some(workload) => workload.to_string(),
                None if of == Share::UNKNOWN => "unknown workloads".to_owned(),
                None => format!("cgroup {}", of.0),
            };
            self.suppressed.add(name, count);
        }
    }

    /// Logs how much was suppressed, in few lines.
    pub(super) fn say_suppressed(&mut self, ingest: &Ingest) {
        for suppressed in [self.calls.take_suppressed(), self.probes.take_suppressed()] {
            self.add_suppressed(suppressed, ingest);
        }
        for line in self.suppressed.lines(self.start.elapsed()) {
            match line {
                Line::Of(name, events) => {
                    tracing::warn!("{name}: {events} events were not logged, beyond its share of the log");
                }
                Line::Others(names, events) => tracing::warn!(
                    "{events} events of {names} other workloads were not logged, beyond their shares of the log"
                ),
            }
        }
    }

    /// Queues a Kubernetes Event. If the queue is full, the event is only in the log.
    fn notify(&self, flow: &Flow, workload: Option<&Workload>) {
        if let Some(notice) = workload.and_then(|workload| Notice::refused(flow, workload)) {
            self.queue(notice);
        }
    }

    /// Queues a Kubernetes Event, if an API server is followed.
    pub(super) fn queue(&self, notice: Notice) {
        if let Some(notices) = &self.notices
            && notices.try_send(notice).is_err()
        {
            tracing::debug!("too many Kubernetes Events wait: one is not written");
        }
    }
}

/// Everything that is known of a decision.
fn flow_of(decision: &Decision, ingest: &mut Ingest, reconciler: &Reconciler) -> Flow {
    let Decision {
        cgroup,
        address,
        port,
        subject,
        ..
    } = *decision;
    let given = reconciler.given(cgroup, address);
    let capacity = reconciler.capacity();
    let workload = ingest.workload(cgroup);
    let name = workload.map(ToString::to_string);
    let mut flow = Flow::new(
        decision,
        name.unwrap_or_else(|| unknown_workload(decision, ingest)),
    );
    flow.namespace = workload.map(|workload| workload.namespace.to_string());
    flow.pod = workload.filter(|_| ingest.is_pod(cgroup)).map(PodName::of);
    flow.hosts = ingest.registry().names_of(address).into_iter().collect();
    if let Subject::Transport(transport) = subject
        && decision.cause == Cause::Known(Reason::NoRule)
    {
        let destination = Destination::new(transport, address, port);
        let explanation = explain(ingest, cgroup, destination, &given)
            .as_held(reconciler.applied(), (cgroup, destination, &given.hosts));
        flow.reason = explanation.why.to_string();
        flow.object = explanation.why.object().map(ToString::to_string);
        flow.suggestion = explanation.suggestion;
        if explanation.verdict != Verdict::Allow && has_expired(ingest, decision, &given) {
            flow.reason = "the answer that gave it this address has expired".to_owned();
            flow.suggestion = Some("have it ask for the name again, or raise dns.learn.minTtl".to_owned());
        }
        if let (Why::NotHeld(why), Some(advice)) = (&explanation.why, capacity.advice_for_rules()) {
            flow.reason = format!("the kernel's maps have no room for its rule ({why})");
            flow.suggestion = Some(advice);
        }
    }
    flow.name = given.name;
    if let Some(advice) = capacity.advice_for_workload(cgroup) {
        flow.reason = "the kernel's maps have no room for its workload".to_owned();
        flow.suggestion = Some(advice);
    }
    flow
}

/// Whether it would be allowed if what the workload was given had not expired.
fn has_expired(ingest: &mut Ingest, decision: &Decision, given: &Given) -> bool {
    let Subject::Transport(transport) = decision.subject else {
        return false;
    };
    let destination = Destination::new(transport, decision.address, decision.port);
    let explain =
        |registry: &mut Registry| registry.explain_given(decision.cgroup, destination, &given.expired);
    !given.expired.is_empty() && explain(ingest.registry()).why.is_permission()
}

/// The name of an unknown workload: the pod or unit in the path of the process's cgroup, or that path. If the process
/// has ended, its cgroup is looked for.
fn unknown_workload(decision: &Decision, ingest: &Ingest) -> String {
    let find = || {
        let followed = ingest
            .cgroups()
            .get(&decision.cgroup)
            .map(|cgroup| cgroup.path.clone());
        let found = followed.or_else(|| ingest.roots().find_map(|root| root.find_below(decision.cgroup)));
        found.map(|path| path.display().to_string())
    };
    match of_process(&decision.pid.to_string()).or_else(find) {
        Some(path) => unknown_at(&path),
        None => "a cgroup that is gone".to_owned(),
    }
}

fn unknown_at(path: &str) -> String {
    if let Some(pod) = PodUid::of_path(path) {
        return format!("unknown pod {pod}");
    }
    let mut parts = path.split('/');
    let is_unit = |part: &&str| [".service", ".scope"].iter().any(|suffix| part.ends_with(suffix));
    match parts.find(is_unit) {
        Some(unit) => format!("unit {unit}"),
        None => format!("cgroup {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_workload_is_named_by_its_unit_or_path() {
        for (path, name) in [
            ("/system.slice/cron.service", "unit cron.service"),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "unit session-3.scope",
            ),
            ("/machine.slice/libpod-1.scope/container", "unit libpod-1.scope"),
            ("/build/job", "cgroup /build/job"),
        ] {
            assert_eq!(unknown_at(path), name);
        }
    }
}
