//! Why a workload may, or may not, reach a destination.
//!
//! ```text
//! Destination -> AddressIndex (hosts that have to do with the address) -> View -> grants -> Why, Matched
//! Named -> hosts that cover the name ------------------------------------^    \-> miss -> Why, suggestion
//! ```
//!
//! It reads the same views and the same grants that the policies are compiled from. A law holds that its verdict is that
//! of the maps that hold these policies. Maps may hold less (`capacities`): where it is known what they hold,
//! [`Explanation::as_held`] has their verdict count. It must never change what is allowed.

mod held;
mod miss;
mod named;
mod suggest;
mod target;
#[cfg(test)]
mod tests;
mod why;

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_common::{Address, HostId, is_loopback, refuse};

pub use named::Named;
pub use suggest::service_entry;
pub use target::Target;
pub use why::{Matched, Why};

use crate::{
    grant::{Facts, Grant, Source},
    istio::Bind,
    model::{CgroupId, Destination, Host, Mode, Reason, Transport, Verdict, Workload},
    offer::{HostState, Import},
    registry::{Lookup, Registry},
    rule::{Rule, To},
    settings::UdpPolicy,
    view::View,
};

/// The name of the node's resolvers in messages.
const NODE_DNS: &str = "node DNS";

/// The verdict on one destination for one workload, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The kernel's verdict.
    pub verdict: Verdict,
    /// The mode of the workload's policy; None if there is no such workload.
    pub mode: Option<Mode>,
    /// The object and the rule that decided, or the nearest miss.
    pub why: Why,
    /// Everything that allows it, the narrowest rule first.
    pub matched: Vec<Matched>,
    /// One line that says what would allow it.
    pub suggestion: Option<String>,
}

impl Explanation {
    fn allowed(mode: Mode, why: Why, matched: Vec<Matched>) -> Self {
        Self {
            verdict: Verdict::Allow,
            mode: Some(mode),
            why,
            matched,
            suggestion: None,
        }
    }
}

/// `allowed by …`, `allowed as an endpoint …`, `denied: …`, `would be denied: …` or, under ALLOW_ANY, `allowed by ALLOW_ANY: …`.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.why.is_permission() {
            let how = if matches!(self.why, Why::Behind { .. }) {
                "as"
            } else {
                "by"
            };
            return write!(f, "allowed {how} {}", self.why);
        }
        match self.verdict {
            Verdict::Allow => write!(f, "allowed by ALLOW_ANY: {}", self.why),
            Verdict::Deny => write!(f, "denied: {}", self.why),
            Verdict::Audit => write!(f, "would be denied: {}", self.why),
        }
    }
}

impl Registry {
    /// Why the workload of `cgroup` may, or may not, reach `destination`. A cgroup without a workload is denied, as
    /// unknown ones are by default.
    pub fn explain(&mut self, cgroup: CgroupId, destination: Destination) -> Explanation {
        self.explain_given(cgroup, destination, &BTreeSet::new())
    }

    /// The same for a workload that was given the address for the hosts of `given`.
    pub fn explain_given(
        &mut self,
        cgroup: CgroupId,
        destination: Destination,
        given: &BTreeSet<HostId>,
    ) -> Explanation {
        match self.workload(cgroup).cloned() {
            Some(workload) => self.explain_for(&workload, destination, given),
            None => Explanation {
                verdict: Verdict::Deny,
                mode: None,
                why: Why::UnknownWorkload,
                matched: Vec::new(),
                suggestion: None,
            },
        }
    }

    /// The same for a workload that has asked for `name` and was given the address for it, so that this is the name to
    /// register.
    pub fn explain_asked(
        &mut self,
        cgroup: CgroupId,
        destination: Destination,
        (name, given): (&Host, &BTreeSet<HostId>),
    ) -> Explanation {
        let mut explanation = self.explain_given(cgroup, destination, given);
        if let (Some(_), Some(workload)) = (&explanation.suggestion, self.workload(cgroup)) {
            let asked = Asked::from(destination);
            let line = suggest::line(&explanation.why, &workload.namespace, Some(name), asked);
            explanation.suggestion = Some(line);
        }
        explanation
    }

    /// The same for a workload that need not exist.
    pub fn explain_for(
        &mut self,
        workload: &Workload,
        destination: Destination,
        given: &BTreeSet<HostId>,
    ) -> Explanation {
        self.explain_what(workload, Asked::from(destination), given)
    }

    fn explain_what(
        &mut self,
        workload: &Workload,
        asked: Asked<'_>,
        given: &BTreeSet<HostId>,
    ) -> Explanation {
        let lookup = self.lookup();
        let view = View::new(workload, lookup.facts.objects, lookup.facts.settings);
        let question = Question {
            view: &view,
            asked,
            given,
            lookup,
        };
        if let Some(why) = question.always() {
            return Explanation::allowed(view.mode, why, Vec::new());
        }
        let hosts = question.hosts();
        match question.matches(&hosts) {
            (Some(why), matched) => Explanation::allowed(view.mode, why, matched),
            (None, _) if asked.address().is_some_and(|it| workload.own.contains(it)) => {
                Explanation::allowed(view.mode, Why::Own, Vec::new())
            }
            (None, _) => {
                let why = question.nearest_miss(&hosts);
                let name = question.name();
                Explanation {
                    verdict: refuse(view.mode as u32, Reason::NoRule).verdict,
                    mode: Some(view.mode),
                    suggestion: Some(suggest::line(&why, &view.namespace, name.as_ref(), asked)),
                    why,
                    matched: Vec::new(),
                }
            }
        }
    }
}

/// Where a workload wants to go.
#[derive(Clone, Copy)]
struct Asked<'a> {
    transport: Transport,
    port: u16,
    at: At<'a>,
}

#[derive(Clone, Copy)]
enum At<'a> {
    /// Not IPv4-mapped.
    Address(IpAddr),
    /// Wherever a trusted resolver says that the name is, which is not known; and whether the enforcer asks for it.
    Name(&'a Host, bool),
}

impl From<Destination> for Asked<'_> {
    fn from(destination: Destination) -> Self {
        let Destination {
            transport,
            address,
            port,
        } = destination;
        let at = At::Address(address.to_canonical());
        Self { transport, port, at }
    }
}

impl Asked<'_> {
    fn address(&self) -> Option<IpAddr> {
        match self.at {
            At::Address(address) => Some(address),
            At::Name(..) => None,
        }
    }
}

/// The question whether a view may reach a destination.
struct Question<'a> {
    view: &'a View,
    asked: Asked<'a>,
    /// The hosts for which the workload was given the address.
    given: &'a BTreeSet<HostId>,
    lookup: Lookup<'a>,
}

impl<'a> Question<'a> {
    /// What every workload of the mode is allowed, whatever is registered.
    fn always(&self) -> Option<Why> {
        let Facts { objects, settings } = self.lookup.facts;
        let Asked { transport, port, .. } = self.asked;
        let address = self.asked.address();
        let is_at = |is_so: &dyn Fn(IpAddr) -> bool| address.is_some_and(is_so);
        if is_at(&|address| is_loopback(&Address::from(address))) {
            Some(Why::Loopback)
        } else if self.view.mode == Mode::Off {
            Some(Why::Off)
        } else if transport == Transport::Udp && settings.udp == UdpPolicy::Allow {
            Some(Why::AllUdp)
        } else if is_at(&|address| settings.is_resolver(address, port)) {
            Some(Why::Resolver)
        } else if self.view.asks_node && is_at(&|address| settings.is_of_node(address, port)) {
            Some(Why::BuiltIn(NODE_DNS))
        } else {
            let destination = Destination::new(transport, address?, port);
            settings.allowing(objects, &destination).map(Why::BuiltIn)
        }
    }

    /// The hosts that may be related to it: those related to the address, or that cover the name, and those that allow
    /// any address on this port.
    fn hosts(&self) -> Vec<(&'a Host, &'a HostState)> {
        let port = self.asked.port;
        // A proxy may dial another port than the application.
        let is_any = self.view.has_proxy;
        let is_listener = |sidecar: &crate::istio::Sidecar| {
            let mut listeners = sidecar.egress.iter();
            listeners.any(|listener| {
                let is_bound = matches!(listener.bind, Bind::Anywhere | Bind::At(_));
                is_bound || listener.port.is_some_and(|(number, _)| is_any || number == port)
            })
        };
        let states = self.lookup.states;
        if self
            .view
            .sidecar
            .as_ref()
            .is_some_and(|sidecar| is_listener(sidecar))
        {
            // The listener's protocol or address can allow any host.
            return states.iter().collect();
        }
        let index = self.lookup.by_address;
        let given = self.given.iter().flat_map(|id| index.naming(*id));
        let mut hosts: BTreeSet<&Host> = index.anywhere(port).chain(given).collect();
        let mut found = Vec::new();
        match self.asked.at {
            At::Address(address) => hosts.extend(index.hosts(address).chain(index.in_front_of(address))),
            At::Name(name, _) => {
                let covering = name.covering().into_iter();
                found.extend(covering.filter_map(|host| states.get_key_value(&host)));
                found.retain(|(host, _)| !hosts.contains(host));
            }
        }
        let hosts = hosts.into_iter();
        found.extend(hosts.filter_map(|host| states.get_key_value(host)));
        found.sort_unstable_by_key(|(host, _)| *host);
        found
    }

    /// The narrowest rule that allows it, and everything that has such a rule.
    fn matches(&self, hosts: &[(&Host, &HostState)]) -> (Option<Why>, Vec<Matched>) {
        let mut found = Vec::new();
        for (_, state) in hosts {
            let imports = if self.view.has_proxy {
                self.view.served(state)
            } else {
                self.view.imports(state)
            };
            for import in &imports {
                let of_port = import.grants(&self.lookup.facts);
                let mut grants = of_port.grants.iter();
                if let Some(grant) = grants.find(|grant| self.is_met(grant)) {
                    let source = Some(grant.source.clone());
                    found.push((breadth(&grant.rule.to), matched(import), source));
                } else if let Some(name) = self.resolved_for(import, &of_port) {
                    found.push((1, matched(import), Some(Source::Resolved(name.clone()))));
                } else if self.view.has_proxy {
                    let behind = import.behind(&self.lookup.facts).grants;
                    if behind.iter().any(|grant| self.is_met(grant)) {
                        found.push((u8::MAX, matched(import), None));
                    }
                }
            }
            if self.view.has_proxy {
                for (import, behind) in state.pooled(&imports, &self.lookup.facts) {
                    if behind.grants.iter().any(|grant| self.is_met(grant)) {
                        found.push((u8::MAX, matched(&import), None));
                    }
                }
            }
        }
        found.sort();
        let why = found
            .first()
            .map(|(_, matched, source)| self.permission(matched, source.as_ref()));
        let why = why.or_else(|| self.infrastructure());
        let mut all = Vec::new();
        for (_, matched, _) in found {
            if !all.contains(&matched) {
                all.push(matched);
            }
        }
        (why, all)
    }

    /// Whether the mesh's configuration tells proxies to dial it.
    fn infrastructure(&self) -> Option<Why> {
        let Lookup {
            states,
            infrastructure,
            facts,
            ..
        } = &self.lookup;
        if !self.view.has_proxy {
            return None;
        }
        let nothing = HostState::default();
        let mut hosts = infrastructure.hosts();
        let host = hosts.find(|host| {
            let state = states.get(*host).unwrap_or(&nothing);
            let mut ports = infrastructure.grants(host, state, facts).into_iter();
            ports.any(|of_port| of_port.grants.iter().any(|grant| self.is_met(grant)))
        });
        let Asked { transport, port, .. } = self.asked;
        let is_there = |to: &To| self.asked.address().is_some_and(|address| to.contains(address));
        let is_meant = |rule: &Rule| rule.transport == transport && rule.port == port && is_there(&rule.to);
        if host.is_none() && !infrastructure.rules().iter().any(is_meant) {
            return None;
        }
        Some(Why::Infrastructure { host: host.cloned() })
    }

    fn is_met(&self, grant: &Grant) -> bool {
        let Asked { transport, port, .. } = self.asked;
        let is_meant = match grant.rule.to {
            To::Any => true,
            To::Host(id) => self.given.contains(&id),
            to => self.asked.address().is_some_and(|address| to.contains(address)),
        };
        grant.rule.transport == transport && grant.rule.port == port && is_meant
    }

    /// A name for the address: a registered host, or else a name that resolves to it.
    fn name(&self) -> Option<Host> {
        let address = match self.asked.at {
            At::Address(address) => address,
            At::Name(name, _) => return Some(name.clone()),
        };
        let hosts = self
            .lookup
            .by_address
            .hosts(address)
            .filter(|host| !host.is_wildcard());
        let resolved = &self.lookup.facts.objects.resolved;
        hosts.min().cloned().or_else(|| {
            let mut resolved = resolved.iter();
            resolved
                .find(|(_, addresses)| addresses.contains(&address))
                .map(|(name, _)| name.clone())
        })
    }
}

/// Narrower rules come first, because they are more informative.
fn breadth(to: &To) -> u8 {
    match to {
        To::Address(_) => 0,
        To::Host(_) => 1,
        To::Network(network) => 1 + (network.max_prefix_len() - network.prefix_len()),
        To::Any => u8::MAX,
    }
}

fn matched(import: &Import<'_>) -> Matched {
    let port = &import.offer.owner.ports()[import.port];
    Matched {
        object: import.offer.owner.id(),
        host: import.offer.host.clone(),
        port: import.number,
        port_name: port.name.clone(),
        protocol: import.protocol,
    }
}
