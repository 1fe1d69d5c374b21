//! Nothing gets out of an enforced cgroup to a refused destination.

use std::path::Path;

use tests::{
    escape::{self, Outcome},
    ground,
};

#[test]
fn no_way_leads_out() {
    ground::need_root().unwrap();
    let report = escape::run(Path::new(env!("CARGO_BIN_EXE_enforcer-test"))).unwrap();
    println!("{report}");
    let open = report.count(|outcome| matches!(outcome, Outcome::Open(_)));
    let closed = report.count(|outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Dropped));
    let unavailable = report.count(|outcome| matches!(outcome, Outcome::Unavailable(_)));
    println!("ways: {closed} closed, {open} open, {unavailable} not to be had on this machine");
    // Programs that this kernel could load must not be missing because they are wrong.
    for closure in &report.closures {
        let Some(why) = &closure.absent else { continue };
        assert!(
            closure.is_lsm() && !why.contains("verifier"),
            "the kernel does not take {}: {why}",
            closure.program
        );
    }
    let wrong: Vec<_> = report
        .rows
        .iter()
        .filter_map(|row| match &row.outcome {
            Outcome::Wrong(what) => Some(format!("{}: {what}", row.way)),
            _ => None,
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        closed >= 50,
        "only {closed} ways were shown to be ways and to be closed"
    );
}
