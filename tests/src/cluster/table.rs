//! The third executor of the conformance table: pods in namespaces, the registry by the API, names by the cluster's
//! DNS, and the enforcer as it is installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Verdict;
use serde_json::{Value, json};

use super::{Cluster, Names, Pods};
use crate::{
    case::{Case, InCluster, Row, Who},
    daemon::wait_within,
};

/// How long it may take until a case holds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was run of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that hold.
    pub rows: usize,
    /// Cases that no cluster can have, by the reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// Where cases run.
pub struct Table<'a, 'n> {
    /// The cluster.
    pub cluster: &'n dyn Cluster,
    /// Where names resolve.
    pub names: &'a dyn Names,
    /// Whose rows they are.
    pub pods: &'a mut Pods<'n>,
}

impl Table<'_, '_> {
    /// Runs every case that a cluster can have.
    ///
    /// # Errors
    /// Names every row with another outcome.
    pub fn run(&mut self, cases: &[(String, Case)]) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut failures = Vec::new();
        for (number, (_, case)) in cases.iter().enumerate() {
            let mark = mark(number);
            match case.in_cluster(&mark) {
                Err(why) => *tally.left_out.entry(why).or_default() += 1,
                Ok(cluster) => match self.run_case(case, &cluster, &mark) {
                    Ok(rows) => tally.rows += rows,
                    Err(error) => failures.push(format!("{}: {error:#}", case.name)),
                },
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(tally)
    }

    fn run_case(&mut self, case: &Case, cluster: &InCluster, mark: &str) -> Result<usize> {
        self.pods.have(&case.workloads)?;
        self.names.resolve(mark, &cluster.resolved)?;
        let apply = ["apply", "--validate=false", "-f", "-"];
        self.cluster
            .kubectl_with(&namespaces(&cluster.documents)?, &apply)?;
        let applied = self.cluster.kubectl_with(&cluster.documents, &apply);
        let outcome = applied.and_then(|_| self.holds(case, cluster));
        // Whatever was applied: what stays would be another case's.
        let delete = ["delete", "--ignore-not-found", "-f", "-"];
        self.cluster.kubectl_with(&cluster.documents, &delete)?;
        outcome
    }

    /// Waits until every row holds in one pass.
    fn holds(&mut self, case: &Case, cluster: &InCluster) -> Result<usize> {
        let rows = case.rows()?.into_iter().filter(|row| is_meant(row, cluster));
        let rows: Vec<_> = rows.collect();
        let mut wrong = Vec::new();
        let held = wait_within(PATIENCE, "agreement with the table", || {
            wrong.clear();
            for row in &rows {
                let Who::Workload(pod, _) = &row.who else { continue };
                let is_refused = self.pods.is_refused(pod, row.transport, row.address)?;
                if is_refused != (row.declared == Verdict::Deny) {
                    wrong.push(row.text.clone());
                }
            }
            Ok(wrong.is_empty())
        });
        held.with_context(|| wrong.join("\n  "))?;
        Ok(rows.len())
    }
}

/// All names of all cases that a cluster can have, for a server that has to be told beforehand.
pub fn names(cases: &[(String, Case)]) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let cases = cases.iter().enumerate();
    cases
        .filter_map(|(number, (_, case))| case.in_cluster(&mark(number)).ok())
        .flat_map(|cluster| cluster.resolved)
        .collect()
}

/// What tells the names of one case from those of others.
fn mark(number: usize) -> String {
    format!("case{number}")
}

/// The namespaces of these documents, to be applied before them. Those that are there stay as they are.
fn namespaces(documents: &str) -> Result<String> {
    let documents: Vec<Value> = serde_yaml::from_multiple(documents).context("the registry is YAML")?;
    let names: BTreeSet<_> = documents
        .iter()
        .filter_map(|document| document["metadata"]["namespace"].as_str())
        .chain(["default"])
        .collect();
    let items: Vec<_> = names
        .into_iter()
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
        .collect();
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())
}

/// Namespaces that are off as long as no label says otherwise.
const OFF: [&str; 2] = ["kube-system/", "istio-system/"];

/// Rows of pods: what runs outside of them has no say in a cluster, and what a pod nests in its cgroup is its own.
fn is_meant(row: &Row, cluster: &InCluster) -> bool {
    let is_enforced = |name: &str| !OFF.iter().any(|namespace| name.starts_with(namespace));
    matches!(&row.who, Who::Workload(name, None) if is_enforced(name))
        && !cluster.resolvers.contains(&row.address.ip())
}
