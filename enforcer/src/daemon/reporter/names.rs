//! What the owner knows of names, for the control socket.

use anyhow::{Result, bail};

use crate::{
    control::{MOST_NAMES, Name, NameSource, NameTable},
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::{LearnedAddress, Life},
};

/// What is declared, and what was learned; of one workload, `namespace/name`, what it has learned.
///
/// # Errors
/// If there is no such workload, or the kernel does not say.
pub(in crate::daemon) fn names(
    workload: Option<&str>,
    ingest: &mut Ingest,
    reconciler: &Reconciler,
) -> Result<NameTable> {
    let mut owners = reconciler.learners()?;
    let mut table = NameTable::default();
    if let Some(workload) = workload {
        let cgroups = ingest.cgroups().keys();
        let is_it = |cgroup| {
            ingest
                .workload(cgroup)
                .is_some_and(|known| known.to_string() == workload)
        };
        if !cgroups.copied().any(is_it) {
            bail!("no workload {workload} is there");
        }
        owners.retain(|owner, _| is_it(*owner));
    } else {
        let declared = ingest.registry().declared();
        table.left_out = declared.len().saturating_sub(MOST_NAMES) as u64;
        for (host, network) in declared.iter().take(MOST_NAMES) {
            let is_one = network.prefix_len() == network.max_prefix_len();
            let address = if is_one {
                network.addr().to_string()
            } else {
                network.to_string()
            };
            table.add_declared(host, address);
        }
    }
    let listed = reconciler.learned(&owners, MOST_NAMES)?;
    table.left_out += listed.left_out;
    for address in &listed.addresses {
        let rows = learned(address, ingest);
        table.names.extend(rows);
    }
    Ok(table)
}

/// A row for each host for which an address was learned.
fn learned(learned: &LearnedAddress, ingest: &mut Ingest) -> Vec<Name> {
    let workload = match ingest.workload(learned.workload) {
        Some(workload) => workload.to_string(),
        None => format!("cgroup {}", learned.workload.0),
    };
    let row = |(id, life): &(_, Life)| {
        let pattern = ingest.registry().host(*id).map(|host| host.to_string());
        Name {
            host: learned.name.clone().or(pattern.clone()).unwrap_or_default(),
            pattern,
            address: learned.address.to_string(),
            workload: Some(workload.clone()),
            source: NameSource::Learned,
            age_seconds: Some(learned.age.as_secs_f64()),
            expires_in_seconds: Some(life.seconds()),
        }
    };
    learned.hosts.iter().map(row).collect()
}
