//! Which hosts may be visible in a view, so that compiling a new view need not look at all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    export::Export,
    istio::{EgressNamespace, Sidecar},
    model::{Host, Namespace},
    offer::HostState,
    view::View,
};

/// Hosts by who offers them and, unless they are common, by who sees them.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Hosts that are not common and have a public offer.
    everywhere: BTreeSet<Host>,
    /// Hosts that are not common, by the namespaces to which they are exported by name.
    exported_to: BTreeMap<Namespace, BTreeSet<Host>>,
    /// All hosts, by the namespaces that offer them.
    offered_by: BTreeMap<Namespace, BTreeSet<Host>>,
}

impl Candidates {
    /// Replaces the entries of a host.
    pub(crate) fn replace(&mut self, host: &Host, old: &HostState, new: &HostState) {
        self.everywhere.remove(host);
        for namespace in named(old) {
            remove(&mut self.exported_to, namespace, host);
        }
        for offer in &old.offers {
            remove(&mut self.offered_by, offer.namespace(), host);
        }
        if !new.is_common && new.offers.iter().any(|offer| offer.export == Export::Public) {
            self.everywhere.insert(host.clone());
        }
        for namespace in named(new) {
            add(&mut self.exported_to, namespace, host);
        }
        for offer in &new.offers {
            add(&mut self.offered_by, offer.namespace(), host);
        }
    }

    /// Every host from which `view` may have rules that are not shared; None if that can be any host.
    pub(crate) fn of<'a>(&'a self, view: &'a View) -> Option<BTreeSet<&'a Host>> {
        match view.sidecar.as_ref().filter(|_| view.is_trimmed()) {
            Some(sidecar) => self.imported(sidecar, &view.namespace),
            None => {
                let named = self.exported_to.get(&view.namespace).into_iter().flatten();
                Some(self.everywhere.iter().chain(named).collect())
            }
        }
    }

    fn imported<'a>(&'a self, sidecar: &'a Sidecar, own: &'a Namespace) -> Option<BTreeSet<&'a Host>> {
        let mut hosts = BTreeSet::new();
        let patterns = sidecar.egress.iter().flat_map(|listener| &listener.hosts);
        for pattern in patterns.filter(|pattern| pattern.imports) {
            if !pattern.host.is_wildcard() {
                hosts.insert(&pattern.host);
                continue;
            }
            let namespace = match &pattern.namespace {
                EgressNamespace::Any => return None,
                EgressNamespace::Named(namespace) => namespace,
                EgressNamespace::Own => own,
            };
            hosts.extend(self.offered_by.get(namespace).into_iter().flatten());
        }
        Some(hosts)
    }
}

/// The namespaces to which a host that is not common is exported by name.
fn named(state: &HostState) -> impl Iterator<Item = &Namespace> {
    let offers = state.offers.iter().filter(|_| !state.is_common);
    offers.flat_map(|offer| match &offer.export {
        Export::Public => None.into_iter().flatten(),
        Export::To(namespaces) => Some(namespaces).into_iter().flatten(),
    })
}

fn add(index: &mut BTreeMap<Namespace, BTreeSet<Host>>, namespace: &Namespace, host: &Host) {
    index.entry(namespace.clone()).or_default().insert(host.clone());
}

fn remove(index: &mut BTreeMap<Namespace, BTreeSet<Host>>, namespace: &Namespace, host: &Host) {
    if let Some(hosts) = index.get_mut(namespace) {
        hosts.remove(host);
        if hosts.is_empty() {
            index.remove(namespace);
        }
    }
}
