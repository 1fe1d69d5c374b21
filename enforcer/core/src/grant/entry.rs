//! The rules of one host and port of a ServiceEntry.
//!
//! The comments refer to rows D1-D17 of the decision table in ARCHITECTURE.md. The port of a rule is always
//! `number`: `targetPort` and the ports of endpoints only say where a proxy would connect to, and never widen
//! what a client may dial.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Facts, Grant, Port, PortGrants, Related, Served, Source, at_name};
use crate::{
    istio::{EndpointAddress, Resolution, ServiceEntry},
    model::{Host, Protocol},
    objects::Selected,
    rule::{Rule, To},
    settings::Matching,
};

/// What one port of one host of `entry` grants.
pub(super) fn grants(entry: &ServiceEntry, served: Served<'_>, port: Port, facts: &Facts<'_>) -> PortGrants {
    let row = Row {
        entry,
        host: served.host,
        port,
        selected: selected(entry, facts),
        facts,
    };
    let mut out = match facts.settings.matching {
        Matching::Declared => row.declared(),
        // Rules of this matching name no hosts. The hosts are still resolved, for messages.
        Matching::Istio => PortGrants {
            grants: row.istio(),
            names: row.declared().names,
        },
    };
    if is_passed_on(entry) && has_no_address(entry) && !port.protocol.is_http() {
        // D15: a listener for each endpoint of the host, whichever entry it is from.
        out.add_pooled(served, port);
    }
    out.sort();
    out
}

/// Whether the port is allowed with any address because nothing in the entry narrows it: D9 and D13.
pub(crate) fn is_port_only(entry: &ServiceEntry, protocol: Protocol) -> bool {
    entry.resolution == Resolution::None
        && entry.selector.is_none()
        && !protocol.is_http()
        && !protocol.is_tls()
        && has_no_address(entry)
}

/// The addresses and names of a host of `entry`, for either matching: for near misses, and to know what has to
/// be recomputed when a name resolves.
pub(super) fn related(entry: &ServiceEntry, host: &Host, facts: &Facts<'_>) -> Related {
    let selected = selected(entry, facts);
    let names = entry
        .endpoints
        .iter()
        .filter_map(|endpoint| name(&endpoint.address));
    let names: BTreeSet<Host> = names.cloned().chain(selected.names).collect();
    let resolved = names.iter().chain([host]);
    let resolved = resolved.flat_map(|name| facts.objects.addresses_of(name));
    let to = resolved
        .chain(allocated(entry, host))
        .chain(endpoint_addresses(entry))
        .chain(selected.addresses)
        .map(To::Address)
        .chain(real_addresses(entry))
        .collect();
    Related { to, names }
}

/// Whether it has a workload selector that selects nothing.
pub(crate) fn selects_nothing(entry: &ServiceEntry, facts: &Facts<'_>) -> bool {
    let Selected { addresses, names, .. } = selected(entry, facts);
    entry.selector.is_some() && addresses.is_empty() && names.is_empty()
}

/// Where its service is known to be: its endpoints, what it selects, and what its names resolve to.
pub(crate) fn known_addresses(entry: &ServiceEntry, facts: &Facts<'_>) -> BTreeSet<IpAddr> {
    let Selected { addresses, names, .. } = selected(entry, facts);
    let of_endpoints = entry
        .endpoints
        .iter()
        .filter_map(|endpoint| name(&endpoint.address));
    let names = names.iter().chain(of_endpoints).chain(&entry.hosts);
    let resolved = names.flat_map(|name| facts.objects.addresses_of(name));
    resolved
        .chain(addresses)
        .chain(endpoint_addresses(entry))
        .collect()
}

struct Row<'a> {
    entry: &'a ServiceEntry,
    host: &'a Host,
    port: Port,
    selected: Selected,
    facts: &'a Facts<'a>,
}

impl Row<'_> {
    /// Only what is declared or resolved.
    fn declared(&self) -> PortGrants {
        let mut out = PortGrants::default();
        if is_unix(self.entry) {
            // D17: the upstream is a Unix socket; nothing goes over the network, not even to the entry's own
            // addresses. If one endpoint has an address, the row of the protocol applies instead.
            return out;
        }
        out.grants.extend(self.addresses());
        let protocol = self.port.protocol;
        let resolution = self.entry.resolution;
        if protocol.is_http() && resolution != Resolution::None {
            // D2, D3, D4: applications dial what the host resolves to, and the proxy ignored the address.
            self.names_and_endpoints(&mut out);
        } else if has_no_address(self.entry) {
            match resolution {
                // D15: the addresses are those of the selected workloads; if there are none, nothing is added.
                Resolution::None if self.entry.selector.is_some() && !protocol.is_http() => {
                    out.grants.extend(self.selected());
                }
                // D1, D5. D15 is for other protocols: of an HTTP port that is not resolved, the selected workloads are
                // neither declared nor resolved addresses, and Istio itself warns of such a selector (W4).
                Resolution::None if protocol.is_http() || protocol.is_tls() => {
                    self.resolve(self.host, &mut out);
                }
                // D9, D13.
                Resolution::None => out.grants.push(self.grant(To::Any, Source::AnyAddress)),
                // D6, D10, D13, D15b.
                _ => self.names_and_endpoints(&mut out),
            }
        }
        out
    }

    /// Whatever Envoy could accept.
    fn istio(&self) -> Vec<Grant> {
        let any = || self.grant(To::Any, Source::AnyAddress);
        let protocol = self.port.protocol;
        if protocol.is_http() {
            // D1-D4: the Host header decides, which is not known at connect().
            return vec![any()];
        }
        let mut out = self.addresses();
        let is_network = |grant: &Grant| matches!(grant.rule.to, To::Network(_));
        if protocol == Protocol::Auto && out.iter().any(is_network) {
            // D14: HTTP to any address is accepted in addition to the network.
            out.push(any());
        }
        if has_no_address(self.entry) {
            if is_passed_on(self.entry) {
                out.extend(self.selected());
            } else {
                out.push(any());
            }
        }
        out
    }

    /// D7, D8, D11, D12, D14: what the entry declares, and what istiod has allocated to the host.
    fn addresses(&self) -> Vec<Grant> {
        let declared = real_addresses(self.entry).map(|to| self.grant(to, Source::Declared));
        let allocated = allocated(self.entry, self.host);
        let allocated = allocated.map(|address| self.grant(To::Address(address), Source::Allocated));
        declared.chain(allocated).collect()
    }

    fn names_and_endpoints(&self, out: &mut PortGrants) {
        self.resolve(self.host, out);
        for endpoint in &self.entry.endpoints {
            if let Some(name) = name(&endpoint.address) {
                self.resolve(name, out);
            }
        }
        out.grants
            .extend(endpoint_addresses(self.entry).map(|ip| self.grant(To::Address(ip), Source::Endpoint)));
        out.grants.extend(self.selected());
        // WorkloadEntries at a name count only where names are resolved.
        if self.entry.resolution.is_dns() {
            for name in &self.selected.names {
                self.resolve(name, out);
            }
        }
    }

    fn selected(&self) -> impl Iterator<Item = Grant> + '_ {
        let addresses = self.selected.addresses.iter();
        addresses.map(|address| self.grant(To::Address(*address), Source::Selected))
    }

    fn resolve(&self, name: &Host, out: &mut PortGrants) {
        let port = (self.port.protocol.transport(), self.port.number);
        let of_name = at_name(name, port, self.facts);
        out.names.extend(of_name.names);
        out.grants.extend(of_name.grants);
    }

    fn grant(&self, to: To, source: Source) -> Grant {
        let rule = Rule {
            transport: self.port.protocol.transport(),
            port: self.port.number,
            to,
        };
        Grant { rule, source }
    }
}

/// Whether the proxy connects to where the client dialled, if a selected workload is there.
pub(super) fn is_passed_on(entry: &ServiceEntry) -> bool {
    entry.resolution == Resolution::None && entry.selector.is_some()
}

/// `status.addresses`, where istiod allocates any (`shouldV2AutoAllocateIPFromPieces`): elsewhere they are left over.
fn allocated<'a>(entry: &'a ServiceEntry, host: &Host) -> impl Iterator<Item = IpAddr> + use<'a> {
    let counts = entry.resolution != Resolution::None && entry.addresses.is_empty() && !entry.opts_out;
    let allocated = entry.allocated.get(host).filter(|_| counts);
    allocated.into_iter().flatten().map(IpAddr::to_canonical)
}

/// Whether there is an endpoint behind the host's ports (`convertServiceEntryToInstances`): without a selector and
/// endpoints, the host's own name is one where names are resolved.
pub(crate) fn has_endpoint(entry: &ServiceEntry, facts: &Facts<'_>) -> bool {
    if entry.selector.is_none() {
        return !entry.endpoints.is_empty() || entry.resolution.is_dns();
    }
    let selected = selected(entry, facts);
    !selected.addresses.is_empty()
        || selected.is_elsewhere
        || (entry.resolution.is_dns() && (selected.has_socket || !selected.names.is_empty()))
}

/// The addresses of the endpoints behind its ports.
pub(crate) fn own_endpoints(entry: &ServiceEntry, facts: &Facts<'_>) -> BTreeSet<IpAddr> {
    let selected = selected(entry, facts);
    endpoint_addresses(entry).chain(selected.addresses).collect()
}

fn selected(entry: &ServiceEntry, facts: &Facts<'_>) -> Selected {
    entry
        .selector
        .as_ref()
        .map_or_else(Selected::default, |selector| {
            facts
                .objects
                .selected(&entry.meta.namespace, selector, &facts.settings.revision)
        })
}

/// Whether Istio creates a service without an address from the entry: it declares none, or an unspecified one.
pub(super) fn has_no_address(entry: &ServiceEntry) -> bool {
    entry.addresses.is_empty() || entry.addresses.iter().any(is_unspecified)
}

fn real_addresses(entry: &ServiceEntry) -> impl Iterator<Item = To> + '_ {
    let networks = entry.addresses.iter();
    networks
        .filter(|network| !is_unspecified(network))
        .flat_map(|network| To::networks(*network))
}

fn is_unspecified(network: &IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len() && network.addr().to_canonical().is_unspecified()
}

/// Whether all of its endpoints are Unix sockets: D17.
pub(crate) fn is_unix(entry: &ServiceEntry) -> bool {
    let is_unix = |endpoint: &crate::istio::Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
    !entry.endpoints.is_empty() && entry.endpoints.iter().all(is_unix)
}

fn name(address: &EndpointAddress) -> Option<&Host> {
    match address {
        EndpointAddress::Host(name) => Some(name),
        EndpointAddress::Ip(_) | EndpointAddress::Unix(_) | EndpointAddress::Unset => None,
    }
}

fn endpoint_addresses(entry: &ServiceEntry) -> impl Iterator<Item = IpAddr> + '_ {
    entry
        .endpoints
        .iter()
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Ip(address) => Some(address.to_canonical()),
            EndpointAddress::Host(_) | EndpointAddress::Unix(_) | EndpointAddress::Unset => None,
        })
}
