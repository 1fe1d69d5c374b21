//! Two enforcers on one kernel, as two nodes that are containers of one machine: each has a registry of its own and
//! its own workloads, in subtrees of different depth.
//!
//! Programs of BPF LSM run for every task of the machine, and so for those of the other's workloads.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use enforcer_core::settings::Matching;

use crate::{
    case::{self, Case},
    kernel::Executor,
};

/// Where the second enforcer's root is below its own cgroup, as in a node that is a container.
const NESTED: &str = "docker/node/kubelet.slice/kubelet-kubepods.slice";

/// The workload that both enforcers have, each in its own subtree.
pub(crate) const WORKLOAD: &str = "shop/app";

/// What the first registers, and the second.
pub(crate) const REGISTERED: [&str; 2] = ["192.0.2.10", "192.0.2.20"];
/// On this port.
pub(crate) const PORT: u16 = 5432;

/// Two enforcers, in the order in which they were started.
pub struct Pair {
    /// Its root is directly below the hierarchy's.
    pub first: Executor,
    /// Its root is deeper.
    pub second: Executor,
}

impl Pair {
    /// Loads the programs of both. `program` is the test binary; its sockets are opened in this thread's network.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub fn new(program: &Path) -> Result<Self> {
        Ok(Self {
            first: Executor::new(program)?,
            second: Executor::below(program, Path::new(NESTED))?,
        })
    }

    /// Tries every row of the conformance table on both, while the other has another case; returns how many that were.
    ///
    /// # Errors
    /// Names every row with another outcome.
    pub fn every_row(&mut self, matching: Matching) -> Result<usize> {
        let mut cases = case::all()?;
        cases.retain(|(_, case)| case.given.is_empty());
        let (mut rows, mut failures) = (0, Vec::new());
        // Each has the case of which the other has the next one.
        let others = cases.iter().cycle().skip(1);
        for ((file, case), (other_file, other)) in cases.iter().zip(others) {
            self.first.apply(case, matching)?;
            self.second.apply(other, matching)?;
            let outcomes = [
                (file, self.first.check(case, matching)),
                (other_file, self.second.check(other, matching)),
            ];
            for (file, outcome) in outcomes {
                match outcome {
                    Ok(count) => rows += count,
                    Err(error) => failures.push(format!("{file}: {error:#}")),
                }
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(rows)
    }

    /// Gives each what the other does not have, tries both destinations on both, and swaps the two; then the first
    /// has what is first again.
    ///
    /// # Errors
    /// Names every row with another outcome.
    pub fn opposites(&mut self) -> Result<usize> {
        let cases = [opposite(REGISTERED)?, opposite([REGISTERED[1], REGISTERED[0]])?];
        let matching = Matching::Declared;
        let mut rows = 0;
        for [one, other] in [[1, 0], [0, 1]] {
            self.first.apply(&cases[one], matching)?;
            self.second.apply(&cases[other], matching)?;
            rows += self.first.check(&cases[one], matching).context("the first")?;
            rows += self.second.check(&cases[other], matching).context("the second")?;
        }
        Ok(rows)
    }
}

/// A registry that has one address and not the other.
fn opposite([registered, other]: [&str; 2]) -> Result<Case> {
    let entry = |name: &str, protocol: &str| {
        format!(
            "  apiVersion: networking.istio.io/v1\n  kind: ServiceEntry\n  metadata: {{name: {name}, namespace: shop}}\n  \
             spec:\n    hosts: [{name}.example.com]\n    addresses: ['{registered}']\n    resolution: NONE\n    \
             ports: [{{number: {PORT}, name: {name}, protocol: {protocol}}}]\n"
        )
    };
    let mut rows = String::new();
    for transport in ["tcp", "udp"] {
        for (who, verdict) in [
            (WORKLOAD, "allow"),
            ("shop/app//inner", "allow"),
            ("unknown", "deny"),
        ] {
            rows.push_str(&format!("  {who} {transport} {registered}:{PORT} {verdict}\n"));
            rows.push_str(&format!("  {who} {transport} {other}:{PORT} deny\n"));
        }
        for address in [registered, other] {
            rows.push_str(&format!("  outside {transport} {address}:{PORT} allow\n"));
        }
    }
    let text = format!(
        "name: only {registered} is registered\nworkloads: {{{WORKLOAD}: {{}}}}\nregistry: |\n{}  ---\n{}rows: |\n{rows}",
        entry("streams", "TCP"),
        entry("datagrams", "UDP"),
    );
    serde_yaml::from_str(&text).context("a case")
}
