//! The first executor: what is compiled, held against the decision that the programs make, without a kernel.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, ensure};
use enforcer_common::{
    Address, Binding, CgroupId, Flow, Mode, PortKey, Reason, RuleKey, Rules, Scope, Verdict, decide,
    is_loopback, refuse,
};
use enforcer_core::{
    model::Destination,
    plan::{Applied, diff},
    registry::{Registry, Update},
    rule::{Rule, Slot, To},
    settings::Matching,
};

use crate::case::{Case, Row, Who};

/// The kernel's maps, as the plan leaves them.
struct Maps(Applied);

/// The maps as the programs of one workload look into them.
struct Bound<'a>(&'a Maps, &'a Binding);

impl Rules for Bound<'_> {
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

    fn host(&self, _: [Scope; 2], _: &Flow) -> bool {
        false
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

/// Runs a case, and returns how many rows it has.
///
/// # Errors
/// Names every row with another verdict or reason.
pub fn run(case: &Case, matching: Matching) -> Result<usize> {
    let (mut registry, cgroups) = registry(case, matching)?;
    let applied = diff(&Applied::default(), &registry.desired()).after;
    let maps = Maps(applied);
    let rows = case.rows()?;
    let mut failures = Vec::new();
    for row in &rows {
        let got = verdict(&maps, &cgroups, row);
        if got != row.verdict(matching) {
            failures.push(format!("{}\n    is {got:?} under {matching:?}", row.text));
        }
        failures.extend(reason_failure(&mut registry, &cgroups, row, matching));
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
        &Bound(maps, binding),
    )
    .verdict
}

/// The explanation says the same as the programs, with the reason that the row gives.
fn reason_failure(
    registry: &mut Registry,
    cgroups: &BTreeMap<String, CgroupId>,
    row: &Row,
    matching: Matching,
) -> Option<String> {
    let Who::Workload(name, _) = &row.who else {
        return None;
    };
    let destination = Destination::new(row.transport, row.address.ip(), row.address.port());
    let explanation = registry.explain(*cgroups.get(name)?, destination);
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
