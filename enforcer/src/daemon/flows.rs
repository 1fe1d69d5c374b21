//! From the kernel's events to lines in the log.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use enforcer_common::{CgroupId, Event, Hook, Reason, Transport, Verdict};
use enforcer_core::{
    model::{Destination, Workload},
    pods::PodUid,
    registry::Registry,
};
use tokio::sync::mpsc;

use super::room::Room;
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
    twins: Twins,
    /// Where what users of Kubernetes should know goes; None if there is no Kubernetes.
    notices: Option<mpsc::Sender<Notice>>,
}

/// Calls on trial of which BPF LSM has told, by process: the cgroup programs tell of them a moment later, unless the
/// socket is from outside. What both tell of is one call.
#[derive(Default)]
struct Twins(HashMap<(u32, Subject), u64>);

impl Twins {
    /// Calls that are remembered at most.
    const MOST: usize = 1024;
    /// Nanoseconds between the two programs of one call.
    const APART: u64 = 10_000_000;

    /// Whether the same call was told of already.
    fn has(&mut self, event: &Event, subject: Subject) -> bool {
        if event.verdict != Verdict::Audit as u8 {
            return false;
        }
        let call = (event.pid, subject);
        if event.hook == Hook::LsmConnect as u8 || event.hook == Hook::LsmSendmsg as u8 {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            self.0.insert(call, event.time);
            return false;
        }
        let told = self.0.remove(&call);
        told.is_some_and(|told| event.time.saturating_sub(told) < Self::APART)
    }
}

impl Flows {
    pub(super) fn new(format: LogFormat, notices: Option<mpsc::Sender<Notice>>) -> Self {
        Self {
            format,
            start: Instant::now(),
            calls: Quiet::new(PAUSE),
            probes: Quiet::new(PROBE_PAUSE),
            twins: Twins::default(),
            notices,
        }
    }

    /// Writes of an event, unless the same was written of a moment ago.
    pub(super) fn write(&mut self, event: &Event, registry: &mut Registry, room: &Room) {
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
        if self.twins.has(event, subject) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use enforcer_common::{Address, COMM_LENGTH, PolicyId};

    use super::*;

    fn event(hook: Hook, verdict: Verdict, time: u64) -> Event {
        Event {
            time,
            cgroup: CgroupId(7),
            address: Address::from_v4([192, 0, 2, 1]),
            comm: [0; COMM_LENGTH],
            pid: 12,
            uid: 0,
            policy: PolicyId(1),
            port: [0, 80],
            transport: 6,
            hook: hook as u8,
            verdict: verdict as u8,
            reason: Reason::NoRule as u8,
            family: 2,
            kind: 1,
            pad: [0; 4],
        }
    }

    #[test]
    fn call_on_trial_that_two_programs_tell_of_is_one_call() {
        let mut twins = Twins::default();
        let mut has = |event: Event| {
            let subject = (
                event.cgroup,
                IpAddr::from(event.address),
                80,
                event.transport,
                event.verdict,
            );
            twins.has(&event, subject)
        };
        assert!(!has(event(Hook::LsmConnect, Verdict::Audit, 1_000)));
        assert!(has(event(Hook::Connect4, Verdict::Audit, 2_000)));
        assert!(
            !has(event(Hook::Connect4, Verdict::Audit, 3_000)),
            "another call, of which BPF LSM has not told"
        );
        assert!(
            !has(event(Hook::LsmConnect, Verdict::Audit, 4_000)),
            "a socket from outside"
        );
        let later = 4_000 + Twins::APART;
        assert!(
            !has(event(Hook::Connect4, Verdict::Audit, later)),
            "a later call of the same process"
        );
        assert!(!has(event(Hook::LsmConnect, Verdict::Deny, later)));
        assert!(
            !has(event(Hook::Connect4, Verdict::Deny, later + 1)),
            "what is refused is told of once"
        );
    }
}
