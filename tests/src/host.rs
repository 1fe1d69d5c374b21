//! The first executor: what is compiled, held against the decision that the programs make, without a kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::{
    Address, Binding, CgroupId, Flow, HostId, Kinds, Mode, PortKey, Reason, RuleKey, Rules, Scope, Verdict,
    decide, is_loopback, refuse,
};
use enforcer_core::{
    explain::Explanation,
    model::Destination,
    pattern::id,
    plan::{Applied, diff},
    registry::{Registry, Update},
    rule::{Rule, Slot, To},
    settings::Matching,
};

use crate::case::{Case, Row, Who};

mod answer;

/// The kernel's maps, as the plan leaves them, and as what each workload was given addresses.
struct Maps(Applied, Learned);

/// The hosts that rules name, by workload and address, of answers that still count.
type Learned = BTreeMap<(String, IpAddr), BTreeSet<HostId>>;

/// The maps as the programs of one workload look into them.
struct Bound<'a>(&'a Maps, &'a Binding, &'a str);

impl Rules for Bound<'_> {
    fn kinds(&self, scope: Scope) -> Kinds {
        let rules = self.0.0.rules(scope).iter();
        rules.fold(Kinds::NONE, |kinds, rule| {
            kinds.and(match rule.slot(scope) {
                Slot::Exact(_) => Kinds::EXACT,
                Slot::Port(_) => Kinds::PORT,
                Slot::Prefix(..) => Kinds::PREFIX,
                Slot::Host(_) => Kinds::HOST,
            })
        })
    }

    fn exact(&self, key: &RuleKey) -> bool {
        Rule::from_slot(&Slot::Exact(*key)).is_some_and(|(scope, rule)| self.0.0.rules(scope).contains(&rule))
    }

    fn prefix(&self, key: &RuleKey) -> bool {
        let address = IpAddr::from(key.address);
        let port = u16::from_be_bytes(key.port.port);
        self.0.0.rules(key.port.scope).iter().any(|rule| {
            rule.transport as u8 == key.port.transport
                && rule.port == port
                && matches!(rule.to, To::Network(network) if network.contains(&address))
        })
    }

    fn port(&self, key: &PortKey) -> bool {
        Rule::from_slot(&Slot::Port(*key)).is_some_and(|(scope, rule)| self.0.0.rules(scope).contains(&rule))
    }

    fn own(&self, address: &Address) -> bool {
        self.1.owns(address)
    }

    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        let Self(Maps(applied, learned), _, workload) = self;
        let given = learned.get(&((*workload).to_owned(), IpAddr::from(flow.address)));
        let rules = given.into_iter().flatten().map(|host| Rule {
            transport: flow.transport,
            port: u16::from_be_bytes(flow.port),
            to: To::Host(*host),
        });
        rules
            .into_iter()
            .any(|rule| scopes.iter().any(|scope| applied.rules(*scope).contains(&rule)))
    }
}

/// A registry with a case's content, and the workloads by their names.
///
/// # Errors
/// If the case is not in the form.
pub fn registry(case: &Case, matching: Matching) -> Result<(Registry, BTreeMap<String, CgroupId>)> {
    let mut registry = Registry::new(case.settings(matching));
    case.updates()?
        .into_iter()
        .for_each(|update| registry.apply(update));
    let mut cgroups = BTreeMap::new();
    for (number, name) in (1..).zip(case.workloads.keys()) {
        registry.apply(Update::Workload(CgroupId(number), case.workload(name)?));
        cgroups.insert(name.clone(), CgroupId(number));
    }
    Ok((registry, cgroups))
}

/// What the programs learn of a case's answers: the hosts that rules name and the name is, or is below.
fn learned(case: &Case, registry: &mut Registry) -> Result<Learned> {
    let patterns = registry.patterns();
    let mut learned = Learned::new();
    for (workload, answers) in &case.given {
        for given in answers.iter().filter(|given| given.counts()) {
            let (name, addresses) = answer::read(&given.name, &given.aliases, given.address)
                .with_context(|| format!("{}: the answer for {}", case.name, given.name))?;
            for address in addresses {
                let hosts = patterns.iter().filter(|host| host.covers(&name)).map(id);
                let known = learned.entry((workload.clone(), address)).or_default();
                known.extend(hosts);
            }
        }
    }
    Ok(learned)
}

/// Runs a case, and returns how many rows it has.
///
/// # Errors
/// Names every row with another verdict or reason.
pub fn run(case: &Case, matching: Matching) -> Result<usize> {
    let (mut registry, cgroups) = registry(case, matching)?;
    let applied = diff(&Applied::default(), &registry.desired()).after;
    let maps = Maps(applied, learned(case, &mut registry)?);
    let rows = case.rows()?;
    let mut failures = Vec::new();
    for row in &rows {
        let got = verdict(&maps, &cgroups, row);
        if got != row.verdict(matching) {
            failures.push(format!("{}\n    is {got:?} under {matching:?}", row.text));
        }
        let cgroup = match &row.who {
            Who::Workload(name, _) => cgroups.get(name).map(|cgroup| (name, *cgroup)),
            Who::Unknown | Who::Outside => None,
        };
        if let Some((name, cgroup)) = cgroup {
            let given = maps.1.get(&(name.clone(), row.address.ip().to_canonical()));
            let destination = Destination::new(row.transport, row.address.ip(), row.address.port());
            let given = given.cloned().unwrap_or_default();
            let explanation = registry.explain_given(cgroup, destination, &given);
            failures.extend(reason_failure(&explanation, row, matching));
        }
    }
    ensure!(failures.is_empty(), "{}:\n  {}", case.name, failures.join("\n  "));
    Ok(rows.len())
}

fn verdict(maps: &Maps, cgroups: &BTreeMap<String, CgroupId>, row: &Row) -> Verdict {
    let name = match &row.who {
        _ if is_loopback(&row.address.ip().into()) => return Verdict::Allow,
        Who::Outside => return Verdict::Allow,
        Who::Unknown => return refuse(Mode::Enforce as u32, Reason::UnknownWorkload).verdict,
        Who::Workload(name, _) => name,
    };
    let binding = cgroups.get(name).and_then(|cgroup| maps.0.workloads.get(cgroup));
    let Some(binding) = binding else {
        return Verdict::Deny;
    };
    let policy = maps.0.policies[&binding.policy];
    let port = row.address.port().to_be_bytes();
    decide(
        &policy,
        &Flow {
            transport: row.transport,
            port,
            address: row.address.ip().into(),
        },
        &Bound(maps, binding, name),
    )
    .verdict
}

/// The explanation says the same as the programs, with the reason that the row gives.
fn reason_failure(explanation: &Explanation, row: &Row, matching: Matching) -> Option<String> {
    if explanation.verdict != row.verdict(matching) {
        return Some(format!(
            "{}\n    is explained as {explanation:?} under {matching:?}",
            row.text
        ));
    }
    let reason = explanation.to_string();
    let expected = row.reason.as_ref().filter(|_| matching == Matching::Declared)?;
    (*expected != reason).then(|| format!("{}\n    has the reason: {reason}", row.text))
}
