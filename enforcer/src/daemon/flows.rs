//! From the kernel's events to lines in the log.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Event, Reason, Transport};
use enforcer_core::{
    model::{Destination, Workload},
    registry::Registry,
};
use tokio::sync::mpsc;

use crate::report::{flow::Flow, log::LogFormat, notice::Notice, quiet::Quiet};

/// What makes two refusals the same one for a reader.
type Subject = (CgroupId, IpAddr, u16, u8, u8);

/// How long the same refusal is not written again.
const PAUSE: Duration = Duration::from_secs(10);

/// The same for a datagram socket's `connect`, which sends nothing: resolver libraries use it to sort addresses.
const PROBE_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Flows {
    format: LogFormat,
    start: Instant,
    calls: Quiet<Subject>,
    probes: Quiet<Subject>,
    /// Where what users of Kubernetes should know goes; None if there is no Kubernetes.
    notices: Option<mpsc::Sender<Notice>>,
}

impl Flows {
    pub(super) fn new(format: LogFormat, notices: Option<mpsc::Sender<Notice>>) -> Self {
        Self {
            format,
            start: Instant::now(),
            calls: Quiet::new(PAUSE),
            probes: Quiet::new(PROBE_PAUSE),
            notices,
        }
    }

    /// Writes of an event, unless the same was written of a moment ago.
    pub(super) fn write(&mut self, event: &Event, registry: &mut Registry) {
        let address = IpAddr::from(event.address);
        let port = u16::from_be_bytes(event.port);
        let workload = registry.workload(event.cgroup).map(ToString::to_string);
        let workload = workload.unwrap_or_else(|| format!("cgroup {}", event.cgroup.0));
        let mut flow = Flow::new(event, workload);
        let quiet = if flow.is_datagram_connect {
            &mut self.probes
        } else {
            &mut self.calls
        };
        let subject = (event.cgroup, address, port, event.transport, event.verdict);
        let Some(again) = quiet.ask(subject, self.start.elapsed()) else {
            return;
        };
        flow.hosts = registry.names_of(address).into_iter().collect();
        let transport = match event.transport {
            6 => Some(Transport::Tcp),
            17 => Some(Transport::Udp),
            _ => None,
        };
        if let Some(transport) = transport
            && event.reason == Reason::NoRule as u8
        {
            let explanation = registry.explain(event.cgroup, Destination::new(transport, address, port));
            flow.reason = explanation.why.to_string();
            flow.suggestion = explanation.suggestion;
        }
        flow.write(self.format, again);
        self.notify(&flow, registry.workload(event.cgroup));
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
