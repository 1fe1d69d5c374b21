//! What the registry says of a destination of a workload.

use enforcer_common::CgroupId;
use enforcer_core::{explain::Explanation, model::Destination, pattern::host};

use crate::{daemon::ingest::Ingest, datapath::Given};

/// Why the registry allows a destination or not, by the name that the workload asked for where that is known.
pub(super) fn explain(
    ingest: &mut Ingest,
    cgroup: CgroupId,
    destination: Destination,
    given: &Given,
) -> Explanation {
    let registry = ingest.registry();
    match given.name.as_deref().and_then(host) {
        Some(name) => registry.explain_asked(cgroup, destination, (&name, &given.hosts)),
        None => registry.explain_given(cgroup, destination, &given.hosts),
    }
}
