//! The maps: carries out changes, reads contents back.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        Array, HashMap, MapData, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use enforcer_common::{
    Binding, CgroupId, Counter, HostKey, Policy, PolicyId, PortKey, RuleKey, Scope, Settings, Share,
    ShareKey, Talk, maps as name,
};
use enforcer_core::{
    plan::{Applied, Change},
    rule::{Rule, Rules, Slot},
};

use super::{counted::Counted, kinds::KindsMap, take::take};

pub(super) struct Maps {
    workloads: HashMap<MapData, CgroupId, Binding>,
    policies: Array<MapData, Policy>,
    /// The highest identifier that a policy has had.
    highest: u32,
    kinds: KindsMap,
    exact: HashMap<MapData, RuleKey, u32>,
    prefixes: LpmTrie<MapData, RuleKey, u32>,
    ports: HashMap<MapData, PortKey, u32>,
    hosts: HashMap<MapData, HostKey, u32>,
    roots: HashMap<MapData, CgroupId, u32>,
    settings: Array<MapData, Settings>,
    counters: PerCpuArray<MapData, u64>,
    shares: HashMap<MapData, ShareKey, Share>,
    verdicts: Counted,
}

/// Everything that the programs count.
const COUNTERS: [Counter; Counter::COUNT as usize] = [
    Counter::Lost,
    Counter::Answers,
    Counter::Displaced,
    Counter::Unasked,
    Counter::Malformed,
    Counter::Oversized,
    Counter::Protected,
    Counter::Unlearned,
    Counter::Loopback,
    Counter::OptedIn,
];

/// The maps of rules are sets; their values have no meaning.
pub(super) const PRESENT: u32 = 1;

impl Maps {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            workloads: take(object, name::WORKLOADS)?,
            policies: take(object, name::POLICIES)?,
            highest: u32::MAX,
            kinds: KindsMap::take(object)?,
            exact: take(object, name::EXACT)?,
            prefixes: take(object, name::PREFIXES)?,
            ports: take(object, name::PORTS)?,
            hosts: take(object, name::HOSTS)?,
            roots: take(object, name::ROOTS)?,
            settings: take(object, name::SETTINGS)?,
            counters: take(object, name::COUNTERS)?,
            shares: take(object, name::SHARES)?,
            verdicts: Counted::take(object)?,
        })
    }

    /// All zero in a new map.
    pub(super) fn settings(&self) -> Result<Settings> {
        self.settings.get(&0, 0).context("reading the settings")
    }

    pub(super) fn set_settings(&mut self, settings: &Settings) -> Result<()> {
        self.settings.set(0, settings, 0).context("writing the settings")
    }

    pub(super) fn add_root(&mut self, root: CgroupId) -> Result<()> {
        self.roots
            .insert(root, PRESENT, 0)
            .context("writing the map ROOTS")
    }

    pub(super) fn remove_root(&mut self, root: CgroupId) -> Result<()> {
        gone(self.roots.remove(&root)).context("writing the map ROOTS")
    }

    /// Removes roots that an earlier start has left.
    pub(super) fn keep_roots(&mut self, kept: &[CgroupId]) -> Result<()> {
        let roots: Vec<_> = self
            .roots
            .keys()
            .collect::<Result<_, _>>()
            .context("reading the map ROOTS")?;
        roots
            .into_iter()
            .filter(|root| !kept.contains(root))
            .try_for_each(|root| self.remove_root(root))
    }

    pub(super) fn carry_out(&mut self, change: &Change) -> Result<(), MapError> {
        match *change {
            Change::AddRule(scope, rule) => self.add_rule(scope, rule.slot(scope)),
            Change::RemoveRule(scope, rule) => self.remove_rule(scope, rule.slot(scope)),
            Change::SetPolicy(id, policy) => {
                self.highest = self.highest.max(id.0);
                self.policies.set(id.0, policy, 0)
            }
            Change::RemovePolicy(id) => self.policies.set(id.0, NO_POLICY, 0),
            Change::Bind(workload, binding) => {
                self.verdicts.begin(workload);
                self.workloads.insert(workload, binding, 0)
            }
            Change::Unbind(workload) => gone(self.workloads.remove(&workload)),
        }
    }

    fn add_rule(&mut self, scope: Scope, slot: Slot) -> Result<(), MapError> {
        self.kinds.expect(scope, &slot)?;
        match slot {
            Slot::Port(key) => self.ports.insert(key, PRESENT, 0),
            Slot::Exact(key) => self.exact.insert(key, PRESENT, 0),
            Slot::Prefix(bits, key) => self.prefixes.insert(&Key::new(bits, key), PRESENT, 0),
            Slot::Host(key) => self.hosts.insert(key, PRESENT, 0),
        }
    }

    fn remove_rule(&mut self, scope: Scope, slot: Slot) -> Result<(), MapError> {
        let removed = match &slot {
            Slot::Port(key) => self.ports.remove(key),
            Slot::Exact(key) => self.exact.remove(key),
            Slot::Prefix(bits, key) => self.prefixes.remove(&Key::new(*bits, *key)),
            Slot::Host(key) => self.hosts.remove(key),
        };
        match removed {
            Ok(()) => self.kinds.forget(scope, &slot),
            other => gone(other),
        }
    }

    /// What they hold; and restores what is derived of it.
    pub(super) fn take_stock(&mut self) -> Result<Applied> {
        self.highest = u32::MAX;
        let applied = self.read_back()?;
        self.highest = applied.policies.keys().next_back().map_or(0, |id| id.0);
        self.kinds.restore(&applied.scopes)?;
        let unknown = [Share::UNKNOWN];
        for workload in applied.workloads.keys().chain(&unknown) {
            self.verdicts.begin(*workload);
        }
        Ok(applied)
    }

    /// Whether they hold this, and what is derived of it.
    pub(super) fn hold(&self, applied: &Applied) -> Result<bool> {
        Ok(self.read_back()? == *applied && self.kinds.hold(&applied.scopes)?)
    }

    pub(super) fn read_back(&self) -> Result<Applied> {
        let scopes = rules(&self.ports, &self.exact, &self.prefixes, &self.hosts)?;
        let workloads = self
            .workloads
            .iter()
            .collect::<Result<_, _>>()
            .context("reading the map WORKLOADS")?;
        let policies = installed(&self.policies, self.highest)?;
        Ok(Applied {
            workloads,
            policies,
            scopes,
        })
    }

    pub(super) fn suppressed(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.untold(|talk| talk != Talk::Seen as u64)
    }

    /// What was not told of these kinds of talk, by workload.
    pub(super) fn untold(&self, is_meant: impl Fn(u64) -> bool) -> Result<BTreeMap<CgroupId, u64>> {
        let mut suppressed = BTreeMap::new();
        for entry in self.shares.iter() {
            match entry {
                Ok((_, Share { untold: 0, .. })) => {}
                Ok((key, _)) if !is_meant(key.talk) => {}
                Ok((key, share)) => *suppressed.entry(key.workload).or_default() += share.untold,
                // An entry that was removed while the map was read.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("reading the map SHARES"),
            }
        }
        Ok(suppressed)
    }

    /// Where verdicts are counted, for whoever reads them.
    pub(super) fn verdicts(&self) -> &Counted {
        &self.verdicts
    }

    pub(super) fn counters(&self) -> Result<BTreeMap<Counter, u64>> {
        COUNTERS
            .into_iter()
            .map(|counter| {
                let values = self
                    .counters
                    .get(&(counter as u32), 0)
                    .context("reading the counters")?;
                Ok((counter, values.iter().sum()))
            })
            .collect()
    }
}

/// The rules that the four maps of rules hold, by scope.
pub(super) fn rules(
    ports: &HashMap<MapData, PortKey, u32>,
    exact: &HashMap<MapData, RuleKey, u32>,
    prefixes: &LpmTrie<MapData, RuleKey, u32>,
    hosts: &HashMap<MapData, HostKey, u32>,
) -> Result<BTreeMap<Scope, Arc<Rules>>> {
    let mut scopes = BTreeMap::<Scope, Rules>::new();
    let mut keep = |slot: Slot| match Rule::from_slot(&slot) {
        Some((scope, rule)) => {
            scopes.entry(scope).or_default().insert(rule);
        }
        None => tracing::warn!("the maps hold an entry that is no rule: {slot:?}"),
    };
    for key in ports.keys() {
        keep(Slot::Port(key.context("reading the map PORTS")?));
    }
    for key in exact.keys() {
        keep(Slot::Exact(key.context("reading the map EXACT")?));
    }
    for key in prefixes.keys() {
        let key = key.context("reading the map PREFIXES")?;
        keep(Slot::Prefix(key.prefix_len(), key.data()));
    }
    for key in hosts.keys() {
        keep(Slot::Host(key.context("reading the map HOSTS")?));
    }
    let scopes = scopes.into_iter();
    Ok(scopes.map(|(scope, rules)| (scope, Arc::new(rules))).collect())
}

/// What stands in the place of a policy that is not there.
const NO_POLICY: Policy = Policy {
    mode: 0,
    own: Scope::NONE,
    shared: Scope::NONE,
    flags: 0,
};

/// The policies up to an identifier.
pub(super) fn installed(
    policies: &Array<MapData, Policy>,
    highest: u32,
) -> Result<BTreeMap<PolicyId, Policy>> {
    let ids = 0..policies.len().min(highest.saturating_add(1));
    let all = ids.map(|id| {
        Ok((
            PolicyId(id),
            policies.get(&id, 0).context("reading the map POLICIES")?,
        ))
    });
    all.filter(|entry| !matches!(entry, Ok((_, NO_POLICY)))).collect()
}

/// An entry to remove may be gone already: that of a cgroup, for example, after a plan that was interrupted.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
