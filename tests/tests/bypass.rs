//! Nothing gets out of an enforced cgroup to a refused destination.

use std::path::Path;

use enforcer_common::socket;
use tests::{
    escape::{self, Manner, Outcome, Report},
    ground,
};

fn run(manner: Manner) -> Report {
    escape::run(Path::new(env!("CARGO_BIN_EXE_enforcer-test")), manner).expect("the suite can be run")
}

#[test]
fn no_way_leads_out() {
    ground::need_root().unwrap();
    let report = run(Manner::default());
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

#[test]
fn audit_mode_closes_no_way() {
    ground::need_root().unwrap();
    let report = run(Manner {
        is_audit: true,
        ..Manner::default()
    });
    let closed: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.is_way && !row.leads_out)
        .map(|row| row.way)
        .collect();
    assert_eq!(closed, Vec::<&str>::new());
}

#[test]
fn opted_in_sockets_lead_out_and_no_others() {
    ground::need_root().unwrap();
    let check = |sockets, opted_in: fn(&str) -> bool| {
        let report = run(Manner {
            sockets,
            ..Manner::default()
        });
        // ICMP from an old raw socket is let out by the guard and refused by BPF LSM, where that is.
        let ways = report
            .rows
            .iter()
            .filter(|row| row.is_way && row.way != "raw icmp socket from before");
        for row in ways.filter(|row| !matches!(row.outcome, Outcome::Open(_) | Outcome::Works)) {
            assert_eq!(row.leads_out, opted_in(row.way), "{} under {sockets:#x}", row.way);
        }
    };
    // To BPF LSM, which alone closes these, all datagram sockets are of one kind.
    fn is_lent_datagram(way: &str) -> bool {
        way.starts_with("udp socket") && !way.ends_with("before")
    }
    check(socket::UDPLITE, |way| {
        way.contains("udp-lite") || is_lent_datagram(way)
    });
    check(socket::ICMP, |way| {
        way.starts_with("icmp datagram") || is_lent_datagram(way)
    });
}
