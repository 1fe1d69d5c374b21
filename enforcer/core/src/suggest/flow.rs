//! What was seen and the registry does not allow now: one flow for each address of an observation.

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_common::HostId;

use super::{Note, Options};
use crate::{
    explain::{Explanation, Why},
    istio::Kind,
    model::{CgroupId, Destination, Host, Labels, Transport, Workload},
    observed::{Carrier, Observation, Seen},
    pattern,
    registry::{Registry, Update},
    settings::UdpPolicy,
};

/// One address of an observation that no rule allows.
#[derive(Clone, Debug)]
pub(super) struct Flow<'a> {
    pub(super) seen: &'a Observation,
    pub(super) cgroup: CgroupId,
    pub(super) host: Option<Host>,
    pub(super) to: Destination,
    /// The hosts for which the workload was given the address.
    pub(super) given: BTreeSet<HostId>,
    /// Why no rule allows it.
    pub(super) why: Why,
}

impl Flow<'_> {
    pub(super) fn port(&self) -> (u16, Transport) {
        (self.to.port, self.to.transport)
    }

    /// The same as it is refused now; None if it is allowed.
    pub(super) fn now(self, registry: &mut Registry) -> Option<Self> {
        let why = self.explain(registry).why;
        (!why.is_permission()).then_some(Self { why, ..self })
    }

    /// Whether the change that would allow it is none of a ServiceEntry's.
    pub(super) fn is_for_somebody_else(&self) -> bool {
        match &self.why {
            Why::NotImported { .. }
            | Why::Ignored { .. }
            | Why::UdpNotAllowed { .. }
            | Why::UnknownWorkload
            | Why::WorkloadNotHeld
            | Why::NotHeld(_) => true,
            why => why.object().is_some_and(|object| object.kind == Kind::Service),
        }
    }

    pub(super) fn explain(&self, registry: &mut Registry) -> Explanation {
        registry.explain_given(self.cgroup, self.to, &self.given)
    }
}

/// The flows of the chosen observations that are not allowed. What can never be is noted.
pub(super) fn refused<'a>(
    registry: &mut Registry,
    observations: &'a [Observation],
    options: &Options,
    notes: &mut Vec<Note>,
) -> Vec<Flow<'a>> {
    let mut flows = Vec::new();
    for seen in observations.iter().filter(|seen| options.choose(seen)) {
        if is_echo(seen, observations) {
            continue;
        }
        if seen.addresses.is_empty() || seen.port == 0 {
            notes.push(Note::new(seen, "nothing says where it went"));
            continue;
        }
        let of_seen = all(registry, seen);
        let refused = of_seen.into_iter().filter_map(|flow| flow.now(registry));
        let refused: Vec<_> = refused.collect();
        let is_udp = seen.transport == Carrier::Udp;
        if is_udp && !refused.is_empty() && registry.settings().udp == UdpPolicy::DnsOnly {
            notes.push(Note::new(
                seen,
                "the configuration refuses UDP whatever is registered (udp: dns-only); `udp: registry` has entries count",
            ));
            continue;
        }
        flows.extend(refused);
    }
    flows
}

/// One flow for each address of an observation.
fn all<'a>(registry: &mut Registry, seen: &'a Observation) -> Vec<Flow<'a>> {
    let cgroup = workload(registry, seen);
    let host = seen.host().filter(|host| !host.is_wildcard());
    // Without learning, a name stands for what it resolves to, as the daemon has seen it do.
    if let Some(host) = host.as_ref().filter(|_| !registry.settings().learns) {
        let mut addresses = registry.resolved_of(host);
        addresses.extend(seen.addresses.iter().map(IpAddr::to_canonical));
        registry.apply(Update::Resolved {
            host: host.clone(),
            addresses,
        });
    }
    let flow = |address: &IpAddr| Flow {
        seen,
        cgroup,
        to: Destination::new(seen.transport.into(), *address, seen.port),
        given: given(registry, host.as_ref(), *address),
        host: host.clone(),
        why: Why::Unregistered,
    };
    seen.addresses.iter().map(flow).collect()
}

/// Whether it is a probe of a destination that the workload reaches by TCP: libraries that resolve names connect a
/// datagram socket, which sends nothing, to find out which address is nearest.
fn is_echo(seen: &Observation, all: &[Observation]) -> bool {
    let is_meant = |other: &Observation| {
        other.transport == Carrier::Tcp
            && (&other.namespace, &other.workload, other.port) == (&seen.namespace, &seen.workload, seen.port)
            && match (&seen.host, &other.host) {
                (Some(a), Some(b)) => Host::new(a) == Host::new(b),
                _ => other
                    .addresses
                    .iter()
                    .any(|address| seen.addresses.contains(address)),
            }
    };
    seen.probe && seen.transport == Carrier::Udp && all.iter().any(is_meant)
}

/// The registry's workload of that name, else one that has only its namespace and its name.
fn workload(registry: &mut Registry, seen: &Observation) -> CgroupId {
    let namespace = seen.namespace();
    let mut present = registry.workloads();
    let found = present.find(|(_, it)| it.namespace == namespace && it.name == seen.workload);
    if let Some((cgroup, _)) = found {
        return cgroup;
    }
    drop(present);
    // Far from those of cgroups, which count from 1, and from those that callers make up at the very end.
    let mut free = (1..=u64::MAX / 2).rev().map(CgroupId);
    let cgroup = free
        .find(|cgroup| registry.workload(*cgroup).is_none())
        .expect("there are more numbers than workloads");
    let workload = Workload::new(namespace, &seen.workload, Labels::new());
    registry.apply(Update::Workload(cgroup, workload));
    cgroup
}

/// Every host that stands for an address which was given for a name.
fn given(registry: &mut Registry, host: Option<&Host>, address: IpAddr) -> BTreeSet<HostId> {
    let host = host.filter(|_| registry.settings().learns);
    let host = host.filter(|_| !registry.is_protected(address.to_canonical()));
    host.map(pattern::ids_over).unwrap_or_default()
}

impl Options {
    fn choose(&self, seen: &Observation) -> bool {
        seen.verdict != Seen::Allow
            && self
                .namespace
                .as_ref()
                .is_none_or(|it| it.as_str() == seen.namespace)
            && self.workload.as_ref().is_none_or(|it| *it == seen.workload)
            && self.since.is_none_or(|since| seen.last >= since)
    }
}
