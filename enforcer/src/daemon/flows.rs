//! From the kernel's events to lines in the log.

use std::{
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Event, Reason, Transport};
use enforcer_core::{model::Destination, pods::PodUid, registry::Registry};

use crate::report::{flow::Flow, log::LogFormat, quiet::Quiet};

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
}

impl Flows {
    pub(super) fn new(format: LogFormat) -> Self {
        Self {
            format,
            start: Instant::now(),
            calls: Quiet::new(PAUSE),
            probes: Quiet::new(PROBE_PAUSE),
        }
    }

    /// Writes of an event, unless the same was written of a moment ago.
    pub(super) fn write(&mut self, event: &Event, registry: &mut Registry) {
        let address = IpAddr::from(event.address);
        let port = u16::from_be_bytes(event.port);
        let workload = registry.workload(event.cgroup).map(ToString::to_string);
        let workload = workload.unwrap_or_else(|| stranger(event));
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
    }
}

/// What can be said of a process that belongs to no known workload: its pod, as the path of its cgroup names it, or
/// the number of its cgroup.
fn stranger(event: &Event) -> String {
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", event.pid)).unwrap_or_default();
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    match unified.and_then(PodUid::of_path) {
        Some(pod) => format!("unknown pod {pod}"),
        None => format!("cgroup {}", event.cgroup.0),
    }
}
