//! Suggestions against the maps: what was seen is allowed, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_core::{
    documents::{Documents, Judgement, check as judge, judge_together},
    model::{CgroupId, Destination, Host, Labels, Namespace, Transport, Verdict, Workload},
    observed::{Carrier, Observation, Seen},
    pattern,
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings::Settings,
    suggest::{Options, Sources, Suggestions, suggest},
};
use jiff::Timestamp;
use proptest::{collection::vec, option::weighted, prelude::*, sample::select};

use crate::{
    maps::{Facts, Maps},
    registry, world, worlds,
};

/// Names that nobody has registered, beside those of the worlds.
const NAMES: &[&str] = &[
    "x.example",
    "z.example",
    "a.sub.example",
    "new.example",
    "deep.new.example",
];
const ADDRESSES: &[&str] = &[
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.9",
    "2001:db8::1",
    "198.51.100.7",
];
const PORTS: &[u16] = &[53, 80, 443, 5432, 15021];

/// What was seen of one of the world's workloads, or of one that it does not have.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    cgroup: CgroupId,
    host: Option<&'static str>,
    addresses: Vec<IpAddr>,
    port: u16,
    transport: Carrier,
    verdict: Seen,
    probe: bool,
    count: u64,
}

pub(crate) fn glimpse() -> impl Strategy<Value = Glimpse> {
    let address = select(ADDRESSES).prop_map(|text| text.parse().expect("it is one"));
    let transport = prop_oneof![4 => Just(Carrier::Tcp), 1 => Just(Carrier::Udp)];
    let verdict = select(&[Seen::Deny, Seen::Audit, Seen::Unregistered, Seen::Allow][..]);
    let marks = (prop::bool::weighted(0.2), 1..9_u64);
    let place = (
        weighted(0.6, select(NAMES)),
        vec(address, 1..=2),
        select(PORTS),
        transport,
    );
    (1..6_u64, place, verdict, marks).prop_map(
        |(cgroup, (host, addresses, port, transport), verdict, (probe, count))| Glimpse {
            cgroup: CgroupId(cgroup),
            host,
            addresses,
            port,
            transport,
            verdict,
            probe,
            count,
        },
    )
}

/// A registry, what was seen beside it, and the workloads of both.
struct Stage {
    settings: Settings,
    updates: Vec<Update>,
    workloads: BTreeMap<CgroupId, Workload>,
    seen: Vec<(CgroupId, Observation)>,
}

impl Stage {
    fn new(settings: &Settings, arrivals: Vec<Update>, glimpses: &[Glimpse]) -> Self {
        let mut workloads = world(settings, &arrivals).workloads;
        let mut updates = arrivals;
        for cgroup in glimpses.iter().map(|glimpse| glimpse.cgroup) {
            workloads.entry(cgroup).or_insert_with(|| {
                let namespace = Namespace::new(["a", "b"][usize::from(cgroup.0 % 2 == 0)]);
                let stranger = Workload::new(namespace, &format!("w{}", cgroup.0), Labels::new());
                updates.push(Update::Workload(cgroup, stranger.clone()));
                stranger
            });
        }
        let seen = glimpses.iter().map(|glimpse| {
            let workload = &workloads[&glimpse.cgroup];
            (glimpse.cgroup, glimpse.observation(workload, settings))
        });
        // Two workloads of one name are one for whoever reads of them.
        let name = |cgroup: &CgroupId| workloads[cgroup].to_string();
        let first: BTreeMap<_, _> = workloads
            .keys()
            .rev()
            .map(|cgroup| (name(cgroup), *cgroup))
            .collect();
        let seen = seen
            .filter(|(cgroup, _)| first[&name(cgroup)] == *cgroup)
            .collect();
        Self {
            settings: settings.clone(),
            updates,
            seen,
            workloads,
        }
    }

    fn registry(&self, more: impl IntoIterator<Item = Update>) -> Registry {
        registry(&self.settings, self.updates.iter().cloned().chain(more))
    }

    fn suggest(&self, registry: Registry) -> Suggestions {
        let observations: Vec<_> = self.seen.iter().map(|(_, seen)| seen.clone()).collect();
        suggest(registry, &observations, (&Options::default(), Sources::default()))
    }

    /// Whether anybody was seen to find a host at an address.
    fn is_at(&self, host: &Host, address: IpAddr) -> bool {
        let mut seen = self.refused().map(|(_, seen)| seen);
        seen.any(|seen| seen.host().as_ref() == Some(host) && seen.addresses.contains(&address))
    }

    /// Those that are suggested for.
    fn refused(&self) -> impl Iterator<Item = &(CgroupId, Observation)> {
        self.seen.iter().filter(|(_, seen)| seen.verdict != Seen::Allow)
    }

    /// What the programs have learned where every workload was given what it was seen to dial, and `others`.
    fn facts(&self, others: &Facts) -> Facts {
        let mut facts = others.clone();
        for (cgroup, seen) in &self.seen {
            for address in &seen.addresses {
                if let Some(name) = seen.host() {
                    let known = facts.entry((*cgroup, (*address).into())).or_default();
                    let hosts = worlds::hosts().chain([name.clone()]);
                    known.extend(
                        hosts
                            .filter(|host| host.covers(&name))
                            .map(|host| pattern::id(&host)),
                    );
                }
            }
        }
        facts
    }

    /// Every observation's surroundings: its port, one beside it, the other transport, its address, and others.
    fn near(&self) -> Vec<Destination> {
        let mut near = Vec::new();
        for (_, seen) in &self.seen {
            let others = ["192.0.2.1", "203.0.113.1"].map(|text| text.parse().expect("it is one"));
            for address in seen.addresses.iter().copied().chain(others) {
                for port in [seen.port, seen.port + 1] {
                    for transport in [Transport::Tcp, Transport::Udp] {
                        near.push(Destination::new(transport, address, port));
                    }
                }
            }
        }
        near
    }
}

impl Glimpse {
    fn observation(&self, workload: &Workload, settings: &Settings) -> Observation {
        let noon = Timestamp::from_second(1_800_000_000).expect("it is in range");
        Observation {
            namespace: workload.namespace.to_string(),
            workload: workload.name.clone(),
            // Without learning, a name stands for what the daemon has resolved it to, which a world already has.
            host: self.host.filter(|_| settings.learns).map(str::to_owned),
            addresses: self.addresses.clone(),
            port: self.port,
            transport: self.transport,
            verdict: self.verdict,
            probe: self.probe && self.transport == Carrier::Udp,
            object: None,
            reason: None,
            suggestion: None,
            first: noon,
            last: noon,
            count: self.count,
        }
    }
}

/// Returns how many different destinations of those that are given were tried, by all workloads together.
pub(crate) fn check(
    settings: &Settings,
    arrivals: Vec<Update>,
    (glimpses, others, destinations): (&[Glimpse], &Facts, &[Destination]),
) -> Result<usize, TestCaseError> {
    let stage = Stage::new(settings, arrivals, glimpses);
    let suggestions = stage.suggest(stage.registry([]));
    let applied = applied(&stage, &suggestions)?;
    let facts = stage.facts(others);
    let maps = |mut registry: Registry| {
        Maps(
            diff(&Applied::default(), &registry.desired()).after,
            facts.clone(),
        )
    };
    let (before, after) = (maps(stage.registry([])), maps(stage.registry(applied.clone())));
    check_seen(&stage, &suggestions, [&before, &after])?;
    // A port that is added to an object is for all who see the object, and that is said.
    let is_shared = suggestions.yaml().contains(", who may then do the same.");
    let tried: BTreeSet<_> = stage
        .near()
        .into_iter()
        .chain(destinations.iter().copied())
        .collect();
    let mut known = stage.registry([]);
    for (cgroup, workload) in &stage.workloads {
        for to in &tried {
            let is_allowed = |maps: &Maps| maps.verdict(*cgroup, to) == Some(Verdict::Allow);
            match (is_allowed(&before), is_allowed(&after)) {
                (true, false) => {
                    prop_assert!(false, "{workload} no longer reaches {to}\n{}", suggestions.yaml());
                }
                (false, true) => {
                    let given = facts.get(&(*cgroup, to.address.into()));
                    let is_meant = |seen: &Observation| {
                        let is_to = (seen.port, Transport::from(seen.transport)) == (to.port, to.transport);
                        let is_user = workload.namespace == seen.namespace() || is_shared;
                        let is_host = |host: Host| {
                            given.is_some_and(|given| given.contains(&pattern::id(&host)))
                                || known.addresses_of(&host).contains(&to.address)
                                || stage.is_at(&host, to.address)
                        };
                        is_to
                            && is_user
                            && (seen.addresses.contains(&to.address) || seen.host().is_some_and(is_host))
                    };
                    let is_meant = stage.refused().map(|(_, seen)| seen).any(is_meant);
                    prop_assert!(is_meant, "{workload} now reaches {to}\n{}", suggestions.yaml());
                }
                _ => {}
            }
        }
    }
    let again = stage.suggest(stage.registry(applied));
    let found = again.entries.len() + again.changes.len();
    prop_assert_eq!(found, 0, "{}\nthen {}", suggestions.yaml(), again.yaml());
    prop_assert_eq!(again.notes, suggestions.notes);
    let destinations: BTreeSet<_> = destinations.iter().collect();
    Ok(destinations.len() * stage.workloads.len())
}

/// What to apply: new objects as the text says, present ones as they are to be.
fn applied(stage: &Stage, suggestions: &Suggestions) -> Result<Vec<Update>, TestCaseError> {
    let text = suggestions.yaml();
    let mut records = judge("suggested.yaml", &text);
    judge_together(&mut records, stage.settings.clone(), []);
    for record in &records {
        prop_assert_eq!(record.verdict, Judgement::Valid, "{:?}\n{}", record.errors, text);
        // That two hosts share an address is so, whoever writes their entries, and worth being said.
        let mut warnings = record.warnings.iter().map(ToString::to_string);
        let is_shared = |warning: String| warning.contains(" does for another host: ");
        prop_assert!(warnings.all(is_shared), "{:?}\n{}", record.warnings, text);
    }
    let mut documents = Documents::default();
    let mut updates = documents.set("suggested.yaml", Some(&text));
    prop_assert!(documents.problems().is_empty() && documents.warnings().is_empty());
    prop_assert_eq!(updates.len(), suggestions.entries.len(), "{}", text);
    let changed = suggestions.changes.iter().map(|change| change.object.clone());
    updates.extend(changed.map(Update::Apply));
    Ok(updates)
}

/// What was seen is allowed, or it is said why it could not be.
fn check_seen(
    stage: &Stage,
    suggestions: &Suggestions,
    [before, after]: [&Maps; 2],
) -> Result<(), TestCaseError> {
    for (cgroup, seen) in stage.refused() {
        for address in &seen.addresses {
            let to = Destination::new(seen.transport.into(), *address, seen.port);
            let is_allowed = |maps: &Maps| maps.verdict(*cgroup, &to).is_none_or(|it| it == Verdict::Allow);
            // A datagram socket of a library that sends nothing, beside what the workload does.
            let is_echo = seen.probe;
            let is_noted = suggestions.notes.iter().any(|note| note.what == seen.to_string());
            prop_assert!(
                is_allowed(after) || is_echo || is_noted,
                "{seen} ({address}) was allowed: {}\n{}",
                is_allowed(before),
                suggestions.yaml()
            );
        }
    }
    Ok(())
}

/// Where nothing is registered yet, everything that was seen can be suggested.
pub(crate) fn check_alone(settings: &Settings, glimpses: &[Glimpse]) -> Result<(), TestCaseError> {
    let stage = Stage::new(settings, Vec::new(), glimpses);
    let suggestions = stage.suggest(stage.registry([]));
    prop_assert_eq!(&suggestions.notes, &[], "{}", suggestions.yaml());
    prop_assert!(suggestions.changes.is_empty());
    Ok(())
}
