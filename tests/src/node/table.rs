//! The third executor of the conformance table: pods in namespaces, the registry by the API, names by the cluster's
//! DNS, and the enforcer as it is installed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Verdict;

use super::{Node, Pods, World};
use crate::{
    case::{Case, InCluster, Row, Who},
    daemon::wait,
};

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
    pub node: &'n Node,
    /// Where names resolve.
    pub world: &'a World,
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
            let mark = format!("case{number}");
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
        self.world.resolve(mark, &cluster.resolved)?;
        let apply = ["apply", "--validate=false", "-f", "-"];
        self.node.kubectl_with(&cluster.documents, &apply)?;
        let outcome = self.holds(case, cluster);
        self.node
            .kubectl_with(&cluster.documents, &["delete", "-f", "-"])?;
        outcome
    }

    /// Waits until every row holds in one pass.
    fn holds(&mut self, case: &Case, cluster: &InCluster) -> Result<usize> {
        let rows = case.rows()?.into_iter().filter(|row| is_meant(row, cluster));
        let rows: Vec<_> = rows.collect();
        let mut wrong = Vec::new();
        let held = wait("agreement with the table", || {
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

/// Rows of pods: what runs outside of them has no say in a cluster, and what a pod nests in its cgroup is its own.
fn is_meant(row: &Row, cluster: &InCluster) -> bool {
    matches!(row.who, Who::Workload(_, None)) && !cluster.resolvers.contains(&row.address.ip())
}
