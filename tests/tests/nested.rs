//! Roots of two enforcers, one below the other's: both judge, and the inner one proves no more than what is in force.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use anyhow::Result;
use tests::{
    daemon::Place,
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// `$ROOT` is the enforced cgroup, `$MODE` how it is enforced.
const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: shop, name: app, cgroup: $ROOT, mode: $MODE}
dns: {servers: [127.0.0.77], timeout: 100ms}
";

/// The outer enforcer's root below the test's cgroup, and the inner one's.
const OUTER: &str = "node";
const INNER: &str = "node/kubepods/pod";

/// What only the outer one has registered, only the inner one, both, and none.
const OF_OUTER: &str = "192.0.2.10:5432";
const OF_INNER: &str = "192.0.2.20:5432";
const OF_BOTH: &str = "192.0.2.30:5432";
const OF_NONE: &str = "192.0.2.40:5432";

fn registry(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: entry, namespace: shop}}\nspec:\n  \
         hosts: [entry.example.com]\n  addresses: [{address}, 192.0.2.30]\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

/// Runs both, and says what the inner workload reaches of the four.
fn reached(mode: &str, claim: impl FnOnce(&Place, &Place) -> Result<()> + Send) -> [bool; 4] {
    let mut reached = [false; 4];
    in_own_network(|| {
        need_root()?;
        let mut outer = Place::with_bpffs(BINARY, "")?;
        let root = outer.cgroup.path().join(OUTER).display().to_string();
        outer.configure(&CONFIG.replace("$ROOT", &root).replace("$MODE", mode))?;
        outer.write("entry.yaml", &registry("192.0.2.10"))?;
        outer.cgroup.child(INNER)?;
        let _first = outer.start(&["--ephemeral"])?;
        let inner = Place::with_bpffs(BINARY, "")?;
        let root = outer.cgroup.path().join(INNER).display().to_string();
        inner.configure(&CONFIG.replace("$ROOT", &root).replace("$MODE", "enforce"))?;
        inner.write("entry.yaml", &registry("192.0.2.20"))?;
        let _second = inner.start(&["--ephemeral"])?;
        for (reached, to) in reached.iter_mut().zip([OF_OUTER, OF_INNER, OF_BOTH, OF_NONE]) {
            *reached = outer.reaches(INNER, to)?;
        }
        outer.until_status("proof of the outer one", |status| status.proven)?;
        claim(&outer, &inner)
    })
    .unwrap();
    reached
}

#[test]
fn what_an_outer_enforcer_refuses_is_refused_and_the_inner_one_says_so() {
    let reached = reached("enforce", |_, inner| {
        inner.until_status("failure of the inner proof", |status| {
            let is_told = |problem: &String| problem.contains("which is allowed, failed");
            !status.proven && status.problems.iter().any(is_told)
        })?;
        Ok(())
    });
    assert_eq!(reached, [false, false, true, false]);
}

#[test]
fn inner_enforcer_decides_where_the_outer_one_is_off() {
    let reached = reached("off", |_, inner| {
        inner.until_status("the inner proof", |status| status.proven)?;
        Ok(())
    });
    assert_eq!(reached, [false, true, true, false]);
}
