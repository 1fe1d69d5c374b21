//! Observations, as many as fit.
//!
//! ```text
//! Observation -> workload -> place (host or address, port, ...) -> one entry, with its count and times
//! ```
//!
//! Where there are too many, the namespace that has most loses those that are rare and old: those of the workload that
//! stands out in it, so that one which scans the network displaces nothing of others, or else of all of its workloads, as
//! pods come and go and each leaves its own.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    net::IpAddr,
};

use super::{Carrier, Observation, Seen};

/// Bounded observations; the same input gives the same content, in whatever order it is listed.
#[derive(Debug)]
pub struct Observations {
    workloads: HashMap<Id, HashMap<Place, Entry>>,
    /// Entries of all workloads.
    entries: usize,
    limit: usize,
    /// How many calls are in entries that were left out.
    dropped: u64,
    /// Another number after each change of what could be said of why.
    registry: u64,
}

#[derive(Debug)]
struct Entry {
    observation: Observation,
    /// Of which registry its reason was said; None: there is none.
    registry: Option<u64>,
}

/// A workload: namespace and name.
type Id = (String, String);

/// What tells the entries of a workload apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    to: To,
    port: u16,
    transport: Carrier,
    verdict: Seen,
    is_probe: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum To {
    Host(String),
    Address(Option<IpAddr>),
}

impl Place {
    fn of(observation: &Observation) -> Self {
        let to = match &observation.host {
            Some(host) => To::Host(host.clone()),
            None => To::Address(observation.addresses.last().copied()),
        };
        Self {
            to,
            port: observation.port,
            transport: observation.transport,
            verdict: observation.verdict,
            is_probe: observation.probe,
        }
    }
}

/// One of so many entries goes at once, at least: sorting them costs more than each is worth.
const PART: usize = 8;

/// A workload stands out that has so many times as many entries as the usual one of its namespace, the median, and some
/// more.
const STANDING_OUT: usize = 2;
const FEW: usize = 16;

impl Observations {
    /// At most so many entries.
    pub fn new(limit: usize) -> Self {
        Self {
            workloads: HashMap::new(),
            entries: 0,
            limit: limit.max(1),
            dropped: 0,
            registry: 0,
        }
    }

    /// Allows another number of entries from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
        self.keep_to_limit();
    }

    /// The registry has changed, so that reasons have to be said again, when what they are about is seen again.
    pub fn outdate(&mut self) {
        self.registry += 1;
    }

    /// The entry for the same workload, place and verdict.
    pub fn same(&self, observation: &Observation) -> Option<&Observation> {
        self.entry(observation).map(|entry| &entry.observation)
    }

    /// The same, if its reason was said of the registry as it is now.
    pub fn explained(&self, observation: &Observation) -> Option<&Observation> {
        let entry = self.entry(observation)?;
        (entry.registry == Some(self.registry)).then_some(&entry.observation)
    }

    fn entry(&self, observation: &Observation) -> Option<&Entry> {
        let id = (observation.namespace.clone(), observation.workload.clone());
        self.workloads.get(&id)?.get(&Place::of(observation))
    }

    /// Adds its count, its time and its address to the entry, if there is one; what it says of why replaces what was
    /// said.
    pub fn note(&mut self, observation: Observation) {
        let id = (observation.namespace.clone(), observation.workload.clone());
        let places = self.workloads.entry(id).or_default();
        let registry = observation.reason.is_some().then_some(self.registry);
        match places.entry(Place::of(&observation)) {
            hash_map::Entry::Occupied(mut there) => {
                let entry = there.get_mut();
                entry.registry = registry.or(entry.registry);
                entry.observation.merge(observation);
            }
            hash_map::Entry::Vacant(free) => {
                free.insert(Entry {
                    observation,
                    registry,
                });
                self.entries += 1;
            }
        }
        self.keep_to_limit();
    }

    /// Counts calls that were seen, and of which nothing is known.
    pub fn drop_calls(&mut self, calls: u64) {
        self.dropped = self.dropped.saturating_add(calls);
    }

    /// How many calls are in no entry.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Observation> {
        let entries = self.workloads.values().flat_map(HashMap::values);
        entries.map(|entry| &entry.observation)
    }

    /// Takes entries from the namespace that has most: from the workload that stands out among its others, or else from
    /// all of them, of which many may be gone.
    fn keep_to_limit(&mut self) {
        while self.entries > self.limit {
            let victims = self.victims();
            let mut worth: Vec<_> = victims
                .iter()
                .filter_map(|id| Some((id, self.workloads.get(id)?)))
                .flat_map(|(id, places)| places.iter().map(move |(place, entry)| (id, place, entry)))
                .map(|(id, place, Entry { observation, .. })| {
                    let worth = (observation.count.max(1).ilog2(), observation.last);
                    (worth, id.clone(), place.clone())
                })
                .collect();
            worth.sort_by_key(|(worth, ..)| *worth);
            let too_many = (self.entries - self.limit).min(worth.len());
            let going = (worth.len() / PART).max(too_many).max(1);
            for (_, id, place) in worth.into_iter().take(going) {
                self.remove(&id, &place);
            }
        }
    }

    fn victims(&self) -> Vec<Id> {
        let mut namespaces: BTreeMap<&str, Vec<(usize, &Id)>> = BTreeMap::new();
        for (id, places) in &self.workloads {
            namespaces.entry(&id.0).or_default().push((places.len(), id));
        }
        let entries =
            |workloads: &[(usize, &Id)]| workloads.iter().map(|(entries, _)| entries).sum::<usize>();
        let largest = namespaces
            .into_values()
            .max_by_key(|workloads| entries(workloads));
        let mut workloads = largest.unwrap_or_default();
        workloads.sort_unstable();
        let usual = workloads.get(workloads.len().saturating_sub(1) / 2);
        match (workloads.last(), usual) {
            (Some((most, id)), Some((usual, _)))
                if *most > STANDING_OUT * usual + FEW || workloads.len() == 1 =>
            {
                vec![(*id).clone()]
            }
            _ => workloads.into_iter().map(|(_, id)| id.clone()).collect(),
        }
    }

    fn remove(&mut self, id: &Id, place: &Place) {
        let Some(places) = self.workloads.get_mut(id) else {
            return;
        };
        if let Some(entry) = places.remove(place) {
            self.entries -= 1;
            self.dropped = self.dropped.saturating_add(entry.observation.count);
        }
        if places.is_empty() {
            self.workloads.remove(id);
        }
    }
}

impl Observation {
    /// Adds what was seen of the same workload, place and verdict.
    fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        for address in other.addresses {
            self.addresses.retain(|known| *known != address);
            self.addresses.push(address);
        }
        let over = self.addresses.len().saturating_sub(Self::ADDRESSES);
        self.addresses.drain(..over);
        if other.reason.is_some() {
            (self.object, self.reason, self.suggestion) = (other.object, other.reason, other.suggestion);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn seen(workload: &str, to: u8, count: u64, at: i64) -> Observation {
        Observation {
            namespace: "shop".to_owned(),
            workload: workload.to_owned(),
            host: (to < 8).then(|| format!("h{to}.example.com")),
            addresses: vec![Ipv4Addr::new(192, 0, 2, to).into()],
            port: 443,
            transport: Carrier::Tcp,
            verdict: Seen::Deny,
            probe: false,
            object: None,
            reason: None,
            suggestion: None,
            first: Timestamp::from_second(at).unwrap(),
            last: Timestamp::from_second(at).unwrap(),
            count,
        }
    }

    fn has(table: &Observations, workload: &str, to: u8) -> bool {
        table.same(&seen(workload, to, 0, 0)).is_some()
    }

    #[test]
    fn same_destination_is_one_entry_with_both_times_and_all_addresses() {
        let mut table = Observations::new(8);
        table.note(seen("web", 1, 2, 10));
        let mut again = seen("web", 1, 3, 20);
        again.addresses = vec![Ipv4Addr::new(192, 0, 2, 77).into()];
        table.note(again);
        let entry = table.same(&seen("web", 1, 0, 0)).unwrap();
        assert_eq!((table.len(), entry.count, entry.addresses.len()), (1, 5, 2));
        let times = (entry.first.as_second(), entry.last.as_second());
        assert_eq!(times, (10, 20));
    }

    #[test]
    fn who_scans_displaces_nothing_of_others_and_what_is_frequent_stays() {
        let mut table = Observations::new(64);
        table.note(seen("web", 1, 1, 1));
        table.note(seen("scan", 9, 1_000, 1));
        for to in 10..200 {
            table.note(seen("scan", to, 1, i64::from(to)));
        }
        assert!(has(&table, "web", 1) && has(&table, "scan", 9) && has(&table, "scan", 199));
        assert!(!has(&table, "scan", 10));
        assert!(table.len() <= 64);
    }

    #[test]
    fn pods_that_come_and_go_displace_their_own_and_nothing_of_others() {
        let mut table = Observations::new(64);
        for to in 0..20 {
            let mut steady = seen("web", to, 4, 1);
            steady.namespace = "lab".to_owned();
            table.note(steady);
        }
        for pod in 0..200 {
            for to in 0..3 {
                table.note(seen(&format!("job-{pod}"), to, 1, 10 + i64::from(pod)));
            }
        }
        let of_lab = table.iter().filter(|entry| entry.namespace == "lab").count();
        assert_eq!(of_lab, 20);
        assert!(has(&table, "job-199", 2) && !has(&table, "job-0", 0));
    }

    #[test]
    fn reason_is_said_again_once_the_registry_has_changed() {
        let mut table = Observations::new(8);
        let why = |reason: &str| Observation {
            reason: Some(reason.to_owned()),
            ..seen("web", 1, 1, 1)
        };
        table.note(why("old"));
        assert!(table.explained(&seen("web", 1, 0, 0)).is_some());
        table.outdate();
        assert!(table.explained(&seen("web", 1, 0, 0)).is_none());
        let kept = table.same(&seen("web", 1, 0, 0)).unwrap();
        assert_eq!(kept.reason.as_deref(), Some("old"), "until it is said again");
        table.note(why("new"));
        let entry = table.explained(&seen("web", 1, 0, 0)).unwrap();
        assert_eq!(entry.reason.as_deref(), Some("new"));
    }

    proptest! {
        #[test]
        fn no_call_is_lost_that_is_not_counted(
            calls in prop::collection::vec((0..4_u8, any::<u8>(), 1..50_u64, 0..100_i64), 0..300),
            limit in 1..40_usize,
        ) {
            let mut table = Observations::new(limit);
            let mut all = 0;
            for (workload, to, count, at) in calls {
                all += count;
                table.note(seen(&workload.to_string(), to, count, at));
                prop_assert!(table.len() <= limit);
                prop_assert_eq!(table.len(), table.iter().count());
            }
            let kept: u64 = table.iter().map(|entry| entry.count).sum();
            prop_assert_eq!(kept + table.dropped(), all);
        }
    }
}
