//! Properties of every registry. `PROPTEST_CASES` sets how many are tried.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{Address, Flow, HostId, HostKey, Outcome, Policy, PortKey, RuleKey, Scope};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    istio::{
        Bind, EgressListener, LabelSelector, MeshConfig, OutboundMode, Resolution, ServiceEntry,
        ServiceEntryVisibility, ServiceKind, Sidecar, Visibility,
    },
    model::{Destination, Protocol, Transport},
    rule::{Rules, Slot},
    settings::Matching,
    test_support::{
        cluster_ip, egress, entry, export, ip, labels, namespace, pod, resolved, rules, service, sidecar,
        slice, workload, workload_entry,
    },
};

const NAMESPACES: &[&str] = &["a", "b", "istio-system"];
const HOSTS: &[&str] = &["x.example", "y.example", "*.example", "s.b.svc.cluster.local"];
const NAMES: &[&str] = &["x.example", "y.example", "z.example"];
const ADDRESSES: &[&str] = &["192.0.2.1", "192.0.2.2", "2001:db8::1"];
const PORTS: &[u16] = &[53, 80, 443];
const LABELS: &[&str] = &["", "app=web", "app=db"];
const PROTOCOLS: &[Protocol] = &[
    Protocol::Http,
    Protocol::Tls,
    Protocol::Tcp,
    Protocol::Auto,
    Protocol::Udp,
];

fn id() -> impl Strategy<Value = String> {
    (select(NAMESPACES), select(&["p", "q"][..])).prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn export_to() -> impl Strategy<Value = &'static [&'static str]> {
    let forms: &'static [&'static [&'static str]] = &[&[], &[], &["*"], &["."], &["b"], &[".", "b"], &["~"]];
    select(forms)
}

fn ports() -> impl Strategy<Value = Vec<(u16, Protocol)>> {
    let ports = proptest::sample::subsequence(PORTS, 0..=2);
    (ports, vec(select(PROTOCOLS), 2)).prop_map(|(ports, of)| ports.into_iter().zip(of).collect())
}

fn addresses() -> impl Strategy<Value = &'static [&'static str]> {
    let forms: &'static [&'static [&'static str]] = &[
        &[],
        &[],
        &["192.0.2.1"],
        &["192.0.2.0/30"],
        &["::/0"],
        &["2001:db8::1", "0.0.0.0"],
    ];
    select(forms)
}

fn entries() -> impl Strategy<Value = ServiceEntry> {
    let resolution = select(
        &[
            Resolution::None,
            Resolution::Static,
            Resolution::Dns,
            Resolution::DynamicDns,
        ][..],
    );
    let endpoints: &'static [&'static [&'static str]] =
        &[&[], &["192.0.2.2"], &["z.example"], &["unix:///s"]];
    let what = (id(), select(HOSTS), ports(), addresses());
    let how = (resolution, select(endpoints), export_to(), 0..3_i64, 0..5_usize);
    (what, how).prop_map(
        |((id, host, ports, addresses), (resolution, endpoints, to, created, other))| {
            let mut entry = entry(&id, host, &ports)
                .resolution(resolution)
                .addresses(addresses)
                .endpoints(endpoints)
                .export(to)
                .created(created);
            match other {
                0 => entry.selector = Some(labels("app=db")),
                1 => entry = entry.host("y.example"),
                2 => entry = entry.allocated(host, "192.0.2.9"),
                _ => {}
            }
            entry
        },
    )
}

fn listener() -> impl Strategy<Value = EgressListener> {
    let hosts: &'static [&'static [&'static str]] = &[
        &["*/*"],
        &["./*"],
        &["b/*", "*/x.example"],
        &["~/*"],
        &["*/*", "~b/y.example"],
    ];
    (
        select(hosts),
        proptest::option::of((select(PORTS), select(PROTOCOLS))),
        0..6_u8,
    )
        .prop_map(|(hosts, port, bound)| EgressListener {
            port,
            bind: if bound == 0 { Bind::Local } else { Bind::Services },
            ..egress(hosts)
        })
}

fn sidecars() -> impl Strategy<Value = Sidecar> {
    let mode = select(
        &[
            None,
            Some(OutboundMode::AllowAny),
            Some(OutboundMode::RegistryOnly),
        ][..],
    );
    (id(), vec(listener(), 0..3), select(LABELS), mode, 0..2_i64).prop_map(
        |(id, egress, of, mode, created)| {
            let mut object = sidecar(&id, egress).created(created);
            if !of.is_empty() {
                object = object.selector(of);
            }
            object.mode = mode;
            object
        },
    )
}

fn meshes() -> impl Strategy<Value = MeshConfig> {
    let to: &'static [&'static [&'static str]] = &[&["*"], &["."]];
    let visibility = select(&[None, Some(Visibility::Namespace), Some(Visibility::None)][..]);
    (select(to), visibility, any::<bool>()).prop_map(|(to, visibility, discovers)| {
        let selector = |of| LabelSelector {
            labels: labels(of),
            expressions: Vec::new(),
        };
        let dialled = ["x.example", "192.0.2.3", "s.a", "far.example"].map(|host| crate::istio::Dialled {
            host: host.to_owned(),
            port: 443,
            transport: Transport::Tcp,
        });
        MeshConfig {
            dialled: dialled.into_iter().filter(|_| discovers).collect(),
            default_export_to: export(to),
            visibility: visibility.map(|bound| ServiceEntryVisibility {
                policies: vec![(selector("team=x"), bound)],
                apply_to_sidecars: true,
            }),
            discovery_selectors: if discovers {
                vec![selector("team=x")]
            } else {
                Vec::new()
            },
            ..MeshConfig::default()
        }
    })
}

fn object() -> impl Strategy<Value = Object> {
    let kinds: &'static [ServiceKind] = vec![
        cluster_ip(&["192.0.2.7", "2001:db8::7"]),
        ServiceKind::Headless,
        ServiceKind::ExternalName(Host::new("x.example")),
    ]
    .leak();
    prop_oneof![
        8 => entries().prop_map(Object::from),
        2 => sidecars().prop_map(Object::from),
        1 => meshes().prop_map(Object::from),
        2 => (select(NAMESPACES), select(kinds), ports(), export_to()).prop_map(|(at, kind, ports, to)| {
            let mut object = service(&format!("{at}/s"), kind, &ports);
            object.export_to = export(to);
            object.into()
        }),
        1 => (select(NAMESPACES), select(ADDRESSES), select(PORTS), select(PORTS)).prop_map(
            |(at, address, port, number)| {
                let name = crate::test_support::port(port, Protocol::Tcp).name;
                slice(&format!("{at}/s-1"), "s", &[address]).serving(&name, number).into()
            }
        ),
        1 => (id(), select(ADDRESSES), select(LABELS))
            .prop_map(|(id, address, of)| pod(&id, &[address], of).into()),
        1 => (id(), select(&["192.0.2.4", "z.example"][..]), select(LABELS))
            .prop_map(|(id, address, of)| workload_entry(&id, address, of).into()),
        1 => (select(NAMESPACES), select(&["", "team=x"][..])).prop_map(|(name, of)| namespace(name, of).into()),
    ]
}

fn update() -> impl Strategy<Value = Update> {
    prop_oneof![
        8 => object().prop_map(Update::Apply),
        2 => object().prop_map(|object| Update::Delete(object.id())),
        3 => (select(NAMES), proptest::sample::subsequence(ADDRESSES, 0..=2))
            .prop_map(|(name, addresses)| resolved(name, &addresses)),
        3 => (1..5_u64, select(NAMESPACES), select(LABELS), any::<bool>())
            .prop_map(|(cgroup, at, of, has_proxy)| match has_proxy {
                false => workload(cgroup, at, of),
                true => crate::test_support::proxied(cgroup, at, of),
            }),
        1 => (1..5_u64).prop_map(|cgroup| Update::WorkloadGone(CgroupId(cgroup))),
    ]
}

/// Hosts for which a workload was given an address.
fn given() -> impl Strategy<Value = BTreeSet<HostId>> {
    let hosts = HOSTS
        .iter()
        .chain(NAMES)
        .map(|host| pattern::id(&Host::new(host)));
    let hosts: BTreeSet<HostId> = hosts.collect();
    let hosts: Vec<HostId> = hosts.into_iter().collect();
    proptest::sample::subsequence(hosts, 0..3).prop_map(|given| given.into_iter().collect())
}

fn settings() -> impl Strategy<Value = Settings> {
    let matching = select(&[Matching::Declared, Matching::Istio][..]);
    let udp = select(&[UdpPolicy::Registry, UdpPolicy::Allow, UdpPolicy::DnsOnly][..]);
    (matching, udp).prop_map(|(matching, udp)| Settings {
        matching,
        udp,
        resolvers: [ip("192.0.2.2")].into(),
        ..Settings::default()
    })
}

/// The updates that produce the end state of a history: the last one of each thing that still exists.
fn end_state(history: &[Update]) -> Vec<Update> {
    let mut left: BTreeMap<String, Update> = BTreeMap::new();
    for update in history {
        let (thing, is_there) = match update {
            Update::Apply(object) => (object.id().to_string(), true),
            Update::Delete(id) => (id.to_string(), false),
            Update::Resolved { host, .. } => (format!("host {host}"), true),
            Update::Workload(cgroup, _) => (format!("{cgroup:?}"), true),
            Update::WorkloadGone(cgroup) => (format!("{cgroup:?}"), false),
        };
        if is_there {
            left.insert(thing, update.clone());
        } else {
            left.remove(&thing);
        }
    }
    left.into_values().collect()
}

/// What a view allows, computed host by host without sharing, tallies or caches.
fn plain_rules(registry: &mut Registry, workload: &Workload) -> Rules {
    let resolvers = registry.settings.rules(&registry.objects);
    let lookup = registry.lookup();
    let view = View::new(workload, lookup.facts.objects, lookup.facts.settings);
    let mut ports = Vec::new();
    for state in lookup.states.values() {
        for import in view.imports(state) {
            ports.push(import.grants(&lookup.facts).into_owned());
        }
        if view.has_proxy {
            let served = view.served(state);
            ports.extend(served.iter().map(|import| import.behind(&lookup.facts)));
            let pooled = state.pooled(&served, &lookup.facts).into_iter();
            ports.extend(pooled.map(|(_, grants)| grants));
        }
    }
    let infrastructure = lookup.infrastructure;
    if view.has_proxy {
        let nothing = HostState::default();
        for host in infrastructure.hosts() {
            let state = lookup.states.get(host).unwrap_or(&nothing);
            ports.extend(infrastructure.grants(host, state, &lookup.facts));
        }
    }
    let literal = infrastructure.rules().iter().filter(|_| view.has_proxy);
    let grants = ports.into_iter().flat_map(|of_port| of_port.grants);
    let rules = grants.map(|grant| grant.rule);
    rules.chain(literal.copied()).chain(resolvers).collect()
}

/// The rules as the kernel looks them up, and the hosts for which the workload was given what it dials.
struct Kernel<'a>(BTreeSet<Slot>, OwnAddresses, &'a BTreeSet<HostId>);

impl enforcer_common::Rules for Kernel<'_> {
    fn kinds(&self, _: Scope) -> enforcer_common::Kinds {
        enforcer_common::Kinds::ALL
    }

    fn exact(&self, key: &RuleKey) -> bool {
        self.0.contains(&Slot::Exact(*key))
    }

    fn prefix(&self, key: &RuleKey) -> bool {
        let wanted = bits(key);
        self.0.iter().any(|slot| match slot {
            Slot::Prefix(length, of) => bits(of)
                .iter()
                .zip(&wanted)
                .take(*length as usize)
                .all(|(a, b)| a == b),
            Slot::Port(_) | Slot::Exact(_) | Slot::Host(_) => false,
        })
    }

    fn port(&self, key: &PortKey) -> bool {
        self.0.contains(&Slot::Port(*key))
    }

    fn own(&self, address: &Address) -> bool {
        self.1.contains((*address).into())
    }

    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        let ports = scopes.map(|scope| PortKey::new(scope, flow.transport, flow.port));
        let keys = ports
            .into_iter()
            .flat_map(|port| self.2.iter().map(move |host| HostKey { port, host: *host }));
        keys.into_iter().any(|key| self.0.contains(&Slot::Host(key)))
    }
}

fn bits(key: &RuleKey) -> Vec<bool> {
    let port = key.port;
    let bytes = port.scope.0.to_ne_bytes().into_iter().chain(port.port);
    let bytes = bytes.chain([port.transport, port.pad]).chain(key.address.0);
    bytes
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect()
}

/// The kernel's verdict on `destination` under the compiled policy of a workload.
fn decided(
    registry: &mut Registry,
    cgroup: CgroupId,
    destination: Destination,
    given: &BTreeSet<HostId>,
) -> Outcome {
    const OWN: Scope = Scope(7);
    let desired = registry.desired();
    let policy = desired
        .policies
        .iter()
        .find(|policy| policy.workloads.contains(&cgroup));
    let policy = policy.unwrap();
    let addresses = desired.own.get(&cgroup).copied().unwrap_or_default();
    let own = policy.own.iter().map(|rule| rule.slot(OWN));
    let shared = desired.shared_by(policy).iter();
    let shared = shared.map(|rule| rule.slot(Scope::SHARED));
    let value = Policy {
        mode: policy.mode as u32,
        own: OWN,
        shared: Scope::SHARED,
        flags: if policy.allows_udp {
            Policy::FLAG_ALLOW_UDP
        } else {
            0
        },
    };
    let flow = Flow {
        transport: destination.transport,
        port: destination.port.to_be_bytes(),
        address: Address::from(destination.address),
    };
    enforcer_common::decide(
        &value,
        &flow,
        &Kernel(own.chain(shared).collect(), addresses, given),
    )
}

proptest! {
    /// Incremental compilation gives the same result as compiling the end state, in any order of updates.
    #[test]
    fn history_and_order_do_not_matter(
        settings in settings(),
        history in vec(update(), 0..40),
        order in vec(any::<u32>(), 40),
    ) {
        let mut stepwise = Registry::new(settings.clone());
        for update in &history {
            stepwise.apply(update.clone());
            stepwise.desired();
        }
        let mut left: Vec<_> = order.into_iter().zip(end_state(&history)).collect();
        left.sort_by_key(|(order, _)| *order);
        let mut at_once = Registry::new(settings);
        for (_, update) in left {
            at_once.apply(update);
        }
        prop_assert_eq!(stepwise.desired(), at_once.desired());
        prop_assert_eq!(stepwise.hosts(), at_once.hosts());
        prop_assert_eq!(stepwise.patterns(), at_once.patterns());
        prop_assert_eq!(stepwise.warnings(), at_once.warnings());
        for address in ADDRESSES {
            prop_assert_eq!(stepwise.names_of(ip(address)), at_once.names_of(ip(address)));
        }
    }

    /// A policy allows exactly what its view has, however its rules are split into shared and own.
    #[test]
    fn own_and_shared_are_the_rules_of_the_view(settings in settings(), history in vec(update(), 0..40)) {
        let mut registry = Registry::new(settings);
        history.into_iter().for_each(|update| registry.apply(update));
        for (cgroup, workload) in registry.workloads.clone() {
            let expected = plain_rules(&mut registry, &workload);
            prop_assert_eq!(rules(&mut registry, cgroup.0), expected);
        }
        let desired = registry.desired();
        for (index, policy) in desired.policies.iter().enumerate() {
            let rest = &desired.policies[index + 1..];
            prop_assert!(!rest.iter().any(|other| other.is_alike(policy)));
        }
    }

    /// The hosts in rules and the patterns are the same set.
    #[test]
    fn patterns_are_the_hosts_of_rules(settings in settings(), history in vec(update(), 0..40)) {
        let mut registry = Registry::new(settings);
        history.into_iter().for_each(|update| registry.apply(update));
        let desired = registry.desired();
        let own = desired.policies.iter().flat_map(|policy| policy.own.iter());
        let rules = own.chain(desired.shared.values().flat_map(|rules| rules.iter()));
        let named: BTreeSet<HostId> = rules.filter_map(|rule| match rule.to {
            To::Host(id) => Some(id),
            To::Any | To::Address(_) | To::Network(_) => None,
        }).collect();
        let patterns = registry.patterns();
        prop_assert_eq!(&named, &patterns.iter().map(pattern::id).collect());
        for id in named {
            prop_assert!(registry.host(id).is_some_and(|host| patterns.contains(&host)));
        }
    }

    /// Rules that are the same before and after a change are the same `Arc`.
    #[test]
    fn rules_that_do_not_change_keep_their_arc(settings in settings(), history in vec(update(), 0..40)) {
        let mut registry = Registry::new(settings);
        let mut before = registry.desired();
        for update in history {
            registry.apply(update);
            let after = registry.desired();
            prop_assert_eq!(before == after, Arc::ptr_eq(&before, &after));
            for (shares, rules) in &after.shared {
                let same = before.shared.get(shares).filter(|old| *old == rules);
                prop_assert!(same.is_none_or(|old| Arc::ptr_eq(old, rules)));
            }
            for policy in &after.policies {
                let same = before.policies.iter().filter(|old| old.own == policy.own);
                prop_assert!(same.into_iter().all(|old| Arc::ptr_eq(&old.own, &policy.own)));
            }
            before = after;
        }
    }

    /// An explanation has the kernel's verdict.
    #[test]
    fn explanation_and_kernel_agree(
        settings in settings(),
        history in vec(update(), 0..40),
        asked in vec((any::<bool>(), select(ADDRESSES), select(PORTS), given()), 8),
    ) {
        let mut registry = Registry::new(settings);
        history.into_iter().for_each(|update| registry.apply(update));
        let workloads: Vec<_> = registry.workloads.keys().copied().collect();
        for cgroup in workloads {
            for (is_tcp, address, port, given) in &asked {
                let transport = if *is_tcp { Transport::Tcp } else { Transport::Udp };
                let destination = Destination::new(transport, ip(address), *port);
                let explained = registry.explain_given(cgroup, destination, given);
                let decided = decided(&mut registry, cgroup, destination, given);
                prop_assert_eq!(explained.verdict, decided.verdict, "{}", explained);
                prop_assert_eq!(
                    explained.why.is_permission(),
                    decided.reason != crate::model::Reason::NoRule
                );
                prop_assert_eq!(explained.suggestion.is_some(), !explained.why.is_permission());
            }
        }
    }
}
