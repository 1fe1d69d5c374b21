//! Explanations against the maps: of the whole registry, and of the part that fits small maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::{
    capacity::Capacities,
    explain::{Explanation, Named, Why},
    model::{CgroupId, Destination, Mode, Verdict, Workload},
    plan::{Applied, diff},
    policy::fit,
    registry::{Registry, Update},
};
use proptest::prelude::*;

use crate::maps::{Facts, Maps};

/// For every workload, and for one that is not there.
pub(crate) fn check(
    registry: &mut Registry,
    facts: &Facts,
    (sizes, destinations): (&[u32], &[Destination]),
) -> Result<(), TestCaseError> {
    let desired = (*registry.desired()).clone();
    let capacities = Capacities {
        workloads: 1 + sizes[0] / 4,
        policies: 1 + sizes[1] / 4,
        exact: sizes[2],
        prefixes: sizes[3],
        ports: sizes[4],
        hosts: sizes[5],
    };
    let maps = |desired| Maps(diff(&Applied::default(), &desired).after, facts.clone());
    let whole = maps(desired.clone());
    let fitted = maps(fit(desired, &capacities).0);
    for cgroup in (1..5).map(CgroupId) {
        for to in destinations {
            let given = facts
                .get(&(cgroup, to.address.into()))
                .cloned()
                .unwrap_or_default();
            let explained = registry.explain_given(cgroup, *to, &given);
            let by_whole = whole.verdict(cgroup, to);
            if let Some(verdict) = by_whole {
                prop_assert_eq!(explained.verdict, verdict, "{} to {}", cgroup.0, to);
            }
            for held in [&whole, &fitted] {
                let as_held = explained.clone().as_held(&held.0, (cgroup, *to, &given));
                agrees(&as_held, held.verdict(cgroup, to), to)?;
            }
            // Nothing changes where everything fits.
            let as_whole = explained.clone().as_held(&whole.0, (cgroup, *to, &given));
            prop_assert_eq!(as_whole, explained);
        }
    }
    Ok(())
}

/// Addresses that no world has, unless by a network.
const FRESH: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77)),
];

/// By name, every workload may reach what it may reach at an address that it was given for the name and that no rule has.
pub(crate) fn check_names(registry: &mut Registry, names: &[Named]) -> Result<(), TestCaseError> {
    let held = diff(&Applied::default(), &registry.desired()).after;
    for cgroup in (1..4).map(CgroupId) {
        let Some(workload) = registry.workload(cgroup).cloned() else {
            continue;
        };
        for named in names {
            let by_name = registry.explain_named(&workload, named);
            let as_held = by_name.clone().as_held_by_name(&held, (cgroup, named));
            prop_assert_eq!(&as_held, &by_name, "{} in the maps", named);
            let mut fresh = FRESH.into_iter();
            if let Some(address) = fresh.find(|address| registry.names_of(*address).is_empty()) {
                by_address(registry, (&workload, named), (&by_name, address))?;
            }
        }
    }
    Ok(())
}

fn by_address(
    registry: &mut Registry,
    (workload, named): (&Workload, &Named),
    (by_name, address): (&Explanation, IpAddr),
) -> Result<(), TestCaseError> {
    let to = Destination::new(named.transport, address, named.port);
    let given = registry.given_for(&named.host, address);
    let same = |by_name: &Explanation, at: &Explanation| -> Result<(), TestCaseError> {
        prop_assert_eq!(
            by_name.verdict,
            at.verdict,
            "{} to {}: {} and {}",
            workload,
            named,
            by_name,
            at
        );
        prop_assert_eq!(by_name.why.is_permission(), at.why.is_permission());
        Ok(())
    };
    let learns = registry.settings().learns;
    if learns {
        let at = registry.explain_for(workload, to, &given);
        same(by_name, &at)?;
    }
    // What a proxy dials at names that only the enforcer resolves is not known before it has.
    let is_resolved = registry.hosts().contains(&named.host);
    if learns || !workload.has_proxy {
        let resolved = |addresses: &[IpAddr]| Update::Resolved {
            host: named.host.clone(),
            addresses: addresses.iter().copied().collect(),
        };
        // Other names are not asked for.
        let one = [address];
        registry.apply(resolved(if is_resolved { &one } else { &[] }));
        let at = registry.explain_for(workload, to, &given);
        registry.apply(resolved(&[]));
        same(by_name, &at)?;
    }
    Ok(())
}

/// The verdict is that of the maps, and the text says allowed only where they allow.
fn agrees(explained: &Explanation, decided: Option<Verdict>, to: &Destination) -> Result<(), TestCaseError> {
    let text = explained.to_string();
    let Some(decided) = decided else {
        // The programs let every process reach its own network namespace.
        let is_known = explained.why != Why::UnknownWorkload;
        let is_free = is_known && (to.address.is_loopback() || to.address.is_unspecified());
        prop_assert_eq!(text.starts_with("allowed"), is_free, "{}", text);
        return Ok(());
    };
    prop_assert_eq!(explained.verdict, decided, "{}", text);
    let expected = match decided {
        Verdict::Allow => "allowed ",
        Verdict::Deny => "denied: ",
        Verdict::Audit => "would be denied: ",
    };
    prop_assert!(text.starts_with(expected), "{text}");
    let is_refused =
        decided != Verdict::Allow || explained.mode == Some(Mode::Observe) && !explained.why.is_permission();
    prop_assert_eq!(is_refused, !explained.why.is_permission(), "{}", text);
    Ok(())
}
