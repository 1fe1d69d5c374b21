//! The nearest miss: what came closest to allowing a destination.

use super::{Asked, At, Question, Why};
use crate::{
    grant::is_reserved,
    istio::{Kind, ObjectId, ServicePort},
    model::{Host, Transport},
    offer::{HostState, Import, Offer},
    pattern::id,
    rule::To,
    settings::UdpPolicy,
    view::winners,
};

/// The distance of a miss; lower is nearer. A rule that matches but is not visible comes before a visible host
/// whose rules do not match, and that before a host that is neither visible nor matches.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Withheld(u8),
    Seen(u16),
    Unseen(u8),
}

/// One host, and what the view sees of it.
struct Seen<'a> {
    state: &'a HostState,
    imports: Vec<Import<'a>>,
}

impl Question<'_> {
    /// The best reason for a destination that no rule allows.
    pub(super) fn nearest_miss(&self, hosts: &[(&Host, &HostState)]) -> Why {
        let mut misses = Vec::new();
        for (host, state) in hosts {
            let is_related = self.is_related(host, state);
            let imports = self.view.imports(state);
            let seen = Seen { state, imports };
            for offer in &state.offers {
                let fits = offer.grants.iter().flat_map(|port| &port.grants);
                let fits = fits.into_iter().any(|grant| self.is_met(grant));
                if fits || is_related {
                    misses.push(self.miss(offer, fits, &seen));
                }
            }
        }
        let nearest = misses
            .into_iter()
            .min_by(|(a, _, x), (b, _, y)| (a, x).cmp(&(b, y)));
        match nearest {
            Some((Distance::Withheld(_) | Distance::Seen(_), why, _)) => why,
            // What is neither visible nor on this port says less than whose endpoint it is.
            nearest => self
                .endpoint(hosts)
                .or_else(|| self.hidden_endpoint(hosts))
                .or(nearest.map(|(_, why, _)| why))
                .unwrap_or_else(|| self.unregistered()),
        }
    }

    /// Whether the host has to do with the destination, on any port.
    fn is_related(&self, host: &Host, state: &HostState) -> bool {
        match self.asked.at {
            At::Address(address) => {
                let is_known = state.related.to.iter().any(|to| to.contains(address));
                is_known || self.given.contains(&id(host)) || self.is_given_for(state)
            }
            At::Name(name, _) => host.covers(name) || state.related.names.contains(name),
        }
    }

    fn unregistered(&self) -> Why {
        match self.asked.at {
            At::Address(_) => Why::Unregistered,
            At::Name(name, _) => Why::UnregisteredName { name: name.clone() },
        }
    }

    /// An object whose endpoint it is, on any port, and which the view does not have.
    fn hidden_endpoint(&self, hosts: &[(&Host, &HostState)]) -> Option<Why> {
        let address = self.asked.address()?;
        let is_behind = |state: &HostState| state.behind.binary_search(&address).is_ok();
        let mut offers = hosts.iter().filter(|(_, state)| is_behind(state));
        offers.find_map(|(_, state)| {
            let seen = Seen {
                state,
                imports: self.view.imports(state),
            };
            let offer = state.offers.first()?;
            match self.miss(offer, false, &seen) {
                (Distance::Seen(_), ..) => None,
                (_, why, _) => Some(why),
            }
        })
    }

    /// A visible object whose endpoint it is, on any port.
    fn endpoint(&self, hosts: &[(&Host, &HostState)]) -> Option<Why> {
        let address = self.asked.address()?;
        let is_behind = |state: &HostState| state.behind.binary_search(&address).is_ok();
        let mut hosts = hosts.iter().filter(|(_, state)| is_behind(state));
        hosts.find_map(|(host, state)| {
            let import = self.view.imports(state).into_iter().next()?;
            Some(Why::Endpoint {
                object: import.offer.owner.id(),
                host: (*host).clone(),
            })
        })
    }

    /// Whether the workload was given the address for a host that a rule of this one names.
    fn is_given_for(&self, state: &HostState) -> bool {
        let ports = state.offers.iter().flat_map(|offer| &offer.grants);
        let mut grants = ports.flat_map(|port| &port.grants);
        grants.any(|grant| matches!(&grant.rule.to, To::Host(id) if self.given.contains(id)))
    }

    fn miss(&self, offer: &Offer, fits: bool, seen: &Seen<'_>) -> (Distance, Why, ObjectId) {
        let object = offer.owner.id();
        let (rank, why) = if let Some(ignored) = offer.ignored {
            let object = object.clone();
            (3, Why::Ignored { object, ignored })
        } else if !self.view.sees(offer) {
            let (object, to) = (object.clone(), self.view.namespace.clone());
            (2, Why::NotExported { object, to })
        } else if let Some(withheld) = self.withheld(offer, seen) {
            withheld
        } else if self.leads_nowhere(offer, seen) {
            let (object, port) = (object.clone(), self.asked.port);
            (0, Why::NothingBehind { object, port })
        } else {
            let (off, why) = self.unfit(offer);
            return (Distance::Seen(off), why, object);
        };
        let distance = if fits {
            Distance::Withheld(rank)
        } else {
            Distance::Unseen(rank)
        };
        (distance, why, object)
    }

    /// Whether the port dialled is imported, and nothing is behind it.
    fn leads_nowhere(&self, offer: &Offer, seen: &Seen<'_>) -> bool {
        let imports = seen.imports.iter();
        let mut dialled = imports
            .filter(|import| std::ptr::eq(import.offer, offer))
            .filter(|import| self.is_dialled(&offer.owner.ports()[import.port]))
            .peekable();
        dialled.peek().is_some() && dialled.all(|import| !import.leads)
    }

    /// Why an offer that is exported to the view does not count for the port dialled.
    fn withheld(&self, offer: &Offer, seen: &Seen<'_>) -> Option<(u8, Why)> {
        let ports = offer.owner.ports();
        let (object, host) = (offer.owner.id(), offer.host.clone());
        let own = seen
            .imports
            .iter()
            .filter(|import| std::ptr::eq(import.offer, offer));
        let own: Vec<_> = own.map(|import| &ports[import.port]).collect();
        if own.is_empty()
            && let Some(by) = self.winner(seen)
            && by != object
        {
            return Some((1, Why::Displaced { object, host, by }));
        }
        let is_declared = ports.iter().any(|port| self.is_dialled(port));
        let is_imported = own.iter().any(|port| self.is_dialled(port));
        let is_left_out = if own.is_empty() {
            !ports.is_empty()
        } else {
            is_declared && !is_imported
        };
        let sidecar = self.view.sidecar.as_ref().filter(|_| is_left_out)?;
        let why = Why::NotImported {
            sidecar: ObjectId {
                kind: Kind::Sidecar,
                namespace: sidecar.meta.namespace.clone(),
                name: sidecar.meta.name.clone(),
            },
            object,
            host,
            port: (!own.is_empty()).then_some(self.asked.port),
        };
        Some((0, why))
    }

    /// The object that wins the host for the view, even if it has no ports.
    fn winner(&self, seen: &Seen<'_>) -> Option<ObjectId> {
        if let Some(import) = seen.imports.first() {
            return Some(import.offer.owner.id());
        }
        if self.view.is_trimmed() {
            return None;
        }
        let visible = seen.state.offers.iter().filter(|offer| self.view.sees(offer));
        let winners = winners(visible.collect(), &self.view.namespace);
        winners.first().map(|offer| offer.owner.id())
    }

    pub(super) fn is_dialled(&self, port: &ServicePort) -> bool {
        port.number == self.asked.port && port.protocol.transport() == self.asked.transport
    }

    /// Why an offer that counts does not match, and its distance.
    fn unfit(&self, offer: &Offer) -> (u16, Why) {
        let Asked { transport, port, at } = self.asked;
        let (object, host) = (offer.owner.id(), offer.host.clone());
        let ports = offer.owner.ports().iter();
        if ports.clone().any(|port| self.is_dialled(port)) {
            let udp = self.lookup.facts.settings.udp;
            if transport == Transport::Udp && udp == UdpPolicy::DnsOnly {
                return (0, Why::UdpNotAllowed { object });
            }
            let mut declared = ports.filter(|port| self.is_dialled(port));
            if declared.all(|port| is_reserved(port.number, port.protocol)) {
                return (0, Why::Reserved { object, port });
            }
            let why = match at {
                At::Address(_) => Why::OtherAddress { object, host },
                At::Name(..) if self.is_never_learned(offer) => Why::NotLearned { object, host },
                At::Name(..) => Why::OnlyDeclared { object, host },
            };
            return (0, why);
        }
        if ports.clone().any(|declared| declared.number == port) {
            let why = Why::OtherTransport {
                object,
                port,
                transport,
            };
            return (0, why);
        }
        let nearest = ports
            .filter(|declared| declared.protocol.transport() == transport)
            .map(|declared| declared.number)
            .min_by_key(|number| (number.abs_diff(port), *number));
        let off = nearest.map_or(u16::MAX, |nearest| nearest.abs_diff(port));
        let why = Why::PortNotDeclared {
            object,
            host,
            port,
            nearest,
        };
        (off, why)
    }
}
