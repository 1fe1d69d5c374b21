//! Hosts below one domain, as one wildcard.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{Group, PortId};
use crate::model::{Host, Namespace, Transport};

/// How many hosts a domain must have.
const FEWEST: usize = 3;

/// A group by itself, or groups that one wildcard can stand for.
pub(super) enum Fold<'a> {
    Single(Group<'a>),
    Below(Group<'a>, Vec<Group<'a>>),
}

/// Puts groups together whose hosts are below one domain, and that the same namespaces use on the same ports.
///
/// Only on the ports of HTTP and TLS: a wildcard has no addresses, so that a TCP port of it would be that port of every
/// address (D9).
pub(super) fn folded(groups: Vec<Group<'_>>) -> Vec<Fold<'_>> {
    let mut below: BTreeMap<(Host, BTreeSet<Namespace>, BTreeSet<PortId>), Vec<Group<'_>>> = BTreeMap::new();
    let mut folds = Vec::new();
    for group in groups {
        let ports = group.ports();
        let has_names = ports
            .iter()
            .all(|port| matches!(port, (80 | 443, Transport::Tcp)));
        match group.host.as_ref().and_then(above).filter(|_| has_names) {
            Some(wildcard) => below
                .entry((wildcard, group.namespaces(), ports))
                .or_default()
                .push(group),
            None => folds.push(Fold::Single(group)),
        }
    }
    for ((wildcard, ..), groups) in below {
        if groups.len() < FEWEST {
            folds.extend(groups.into_iter().map(Fold::Single));
            continue;
        }
        let flows = groups.iter().flat_map(|group| &group.flows).cloned().collect();
        let whole = Group {
            host: Some(wildcard),
            flows,
        };
        folds.push(Fold::Below(whole, groups));
    }
    folds
}

/// The wildcard one label above a host. None if anybody can have a name below it.
fn above(host: &Host) -> Option<Host> {
    let (_, domain) = host.as_str().split_once('.')?;
    let is_public = psl::suffix_str(domain).is_none_or(|suffix| suffix == domain);
    (!is_public).then(|| Host::new(&format!("*.{domain}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_offered_a_wildcard_below_which_anybody_can_have_a_name() {
        let above = |host: &str| above(&Host::new(host)).map(|it| it.to_string());
        assert_eq!(above("api.stripe.com"), Some("*.stripe.com".into()));
        assert_eq!(above("a.b.example.co.uk"), Some("*.b.example.co.uk".into()));
        for host in ["localhost", "stripe.com", "example.co.uk", "somebody.github.io"] {
            assert_eq!(above(host), None, "{host}");
        }
    }
}
