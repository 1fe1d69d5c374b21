//! Explanations against the maps: of the whole registry, and of the part that fits small maps.

use enforcer_core::{
    capacity::Capacities,
    explain::{Explanation, Why},
    model::{CgroupId, Destination, Mode, Verdict},
    plan::{Applied, diff},
    policy::fit,
    registry::Registry,
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
