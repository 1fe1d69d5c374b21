//! From the kernel's events to lines in the log.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Reason, Share, Verdict};
use enforcer_core::{
    explain::Explanation,
    model::{Destination, Workload},
    pattern::host,
    pods::PodUid,
    registry::Registry,
};
use tokio::sync::mpsc;

use super::duplicates::Duplicates;
use crate::{
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::{Cause, Decision, Given, Subject, of_process},
    report::{
        flow::Flow,
        log::LogFormat,
        notice::Notice,
        rate_limit::RateLimit,
        untold::{Line, Untold},
    },
    turns::Shares,
};

/// What makes two refusals of a workload the same one for a reader.
type Refusal = (CgroupId, IpAddr, u16, Subject, u8);

/// How long the same refusal is not written again.
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
    pub(super) untold: Untold,
    /// Where what users of Kubernetes should know goes; None if there is no Kubernetes.
    notices: Option<mpsc::Sender<Notice>>,
}

impl Flows {
    pub(super) fn new(format: LogFormat, notices: Option<mpsc::Sender<Notice>>) -> Self {
        Self {
            format,
            start: Instant::now(),
            calls: RateLimit::new(PAUSE, SHARES),
            probes: RateLimit::new(PROBE_PAUSE, SHARES),
            duplicates: Duplicates::default(),
            untold: Untold::default(),
            notices,
        }
    }

    /// Writes of an event, unless the same was written of a moment ago or its workload has used up its share.
    pub(super) fn write(&mut self, decision: &Decision, ingest: &mut Ingest, reconciler: &Reconciler) {
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
        let quiet = if decision.is_datagram_connect() {
            &mut self.probes
        } else {
            &mut self.calls
        };
        let Some(again) = quiet.ask(decision.sharer(), refusal, self.start.elapsed()) else {
            return;
        };
        // Only for what is really said: whoever asks for many names and connects to many addresses is told of in few lines.
        let given = reconciler.given(cgroup, address);
        let capacity = reconciler.capacity();
        let workload = ingest.workload(cgroup);
        let name = workload.map(ToString::to_string);
        let mut flow = Flow::new(decision, name.unwrap_or_else(|| stranger(decision)));
        flow.namespace = workload.map(|workload| workload.namespace.to_string());
        flow.pod = workload
            .filter(|_| ingest.is_pod(cgroup))
            .map(|pod| pod.name.clone());
        flow.hosts = ingest.registry().names_of(address).into_iter().collect();
        if let Subject::Transport(transport) = subject
            && decision.cause == Cause::Known(Reason::NoRule)
        {
            let explanation = explain(ingest, cgroup, Destination::new(transport, address, port), &given);
            flow.reason = explanation.why.to_string();
            flow.object = explanation.why.object().map(ToString::to_string);
            flow.suggestion = explanation.suggestion;
            if explanation.verdict != Verdict::Allow && has_expired(ingest, decision, &given) {
                flow.reason = "the answer that gave it this address has expired".to_owned();
                flow.suggestion =
                    Some("have it ask for the name again, or raise dns.learn.minTtl".to_owned());
            }
            if let Some(advice) = capacity
                .advice_for_rules()
                .filter(|_| explanation.verdict == Verdict::Allow)
            {
                flow.reason = format!(
                    "the kernel's maps have no room for its rule ({})",
                    explanation.why
                );
                flow.suggestion = Some(advice);
            }
        }
        flow.name = given.name;
        if let Some(advice) = capacity.advice_for_workload(cgroup) {
            flow.reason = "the kernel's maps have no room for its workload".to_owned();
            flow.suggestion = Some(advice);
        }
        flow.write(self.format, again);
        self.notify(&flow, ingest.workload(cgroup));
    }

    /// Counts events that were left out.
    pub(super) fn add_untold(&mut self, left_out: BTreeMap<CgroupId, u64>, ingest: &Ingest) {
        for (of, count) in left_out {
            let name = match ingest.workload(of) {
                Some(workload) => workload.to_string(),
                None if of == Share::UNKNOWN => "unknown workloads".to_owned(),
                None => format!("cgroup {}", of.0),
            };
            self.untold.add(name, count);
        }
    }

    /// Says what was left out, in few lines.
    pub(super) fn say_untold(&mut self, ingest: &Ingest) {
        for unsaid in [self.calls.take_unsaid(), self.probes.take_unsaid()] {
            self.add_untold(unsaid, ingest);
        }
        for line in self.untold.lines(self.start.elapsed()) {
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

    /// Tells users of Kubernetes. What does not fit is only in the log.
    fn notify(&self, flow: &Flow, workload: Option<&Workload>) {
        let (Some(notices), Some(workload)) = (&self.notices, workload) else {
            return;
        };
        if let Some(notice) = Notice::refused(flow, workload)
            && notices.try_send(notice).is_err()
        {
            tracing::debug!("too many Kubernetes Events wait: one is not written");
        }
    }
}

/// Why the registry allows a destination or not, by the name that the workload asked for where that is known.
fn explain(ingest: &mut Ingest, cgroup: CgroupId, destination: Destination, given: &Given) -> Explanation {
    let registry = ingest.registry();
    match given.name.as_deref().and_then(host) {
        Some(name) => registry.explain_asked(cgroup, destination, (&name, &given.hosts)),
        None => registry.explain_given(cgroup, destination, &given.hosts),
    }
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

/// What can be said of a process that belongs to no known workload: its pod, as the path of its cgroup names it, or
/// the number of its cgroup.
fn stranger(decision: &Decision) -> String {
    let path = of_process(&decision.pid.to_string());
    match path.as_deref().and_then(PodUid::of_path) {
        Some(pod) => format!("unknown pod {pod}"),
        None => format!("cgroup {}", decision.cgroup.0),
    }
}
