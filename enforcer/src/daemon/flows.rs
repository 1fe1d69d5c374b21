//! From the kernel's events to lines in the log.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Event, Reason, Transport, Verdict};
use enforcer_core::{model::Destination, registry::Registry};

use super::room::Room;
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
    pub(super) fn write(&mut self, event: &Event, registry: &mut Registry, room: &Room) {
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
            if let Some(advice) = room
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
        if let Some(advice) = room.advice_for_workload(event.cgroup) {
            flow.reason = "the kernel's maps have no room for its workload".to_owned();
            flow.suggestion = Some(advice);
        }
        flow.write(self.format, again);
    }
}
