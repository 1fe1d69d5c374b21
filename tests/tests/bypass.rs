//! Nothing gets out of an enforced cgroup to a refused destination.

use std::{env, fs, path::Path, sync::OnceLock};

use tests::{
    escape::{self, Manner, Outcome, Privileges, Report},
    fixture,
};

fn run(manner: Manner) -> Report {
    escape::run(Path::new(env!("CARGO_BIN_EXE_enforcer-test")), manner).expect("the suite can be run")
}

#[test]
fn no_way_leads_out() {
    check(Privileges::Root, 50);
}

#[test]
fn no_way_leads_out_for_a_container() {
    check(Privileges::Containerd, 50);
}

#[test]
fn no_way_leads_out_without_privileges() {
    check(Privileges::Nobody, 50);
}

/// What became of every escape with these privileges; tried once for all tests.
fn report(privileges: Privileges) -> &'static Report {
    static REPORTS: [OnceLock<Report>; 3] = [const { OnceLock::new() }; 3];
    let at = Privileges::ALL.iter().position(|other| *other == privileges);
    REPORTS[at.expect("they are all")].get_or_init(|| {
        run(Manner {
            privileges,
            ..Manner::default()
        })
    })
}

#[test]
fn page_has_every_way() {
    fixture::need_root().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/BOUNDARY.md");
    let old = fs::read_to_string(&path).unwrap();
    let new = escape::page(&old, Privileges::ALL.map(report)).expect("the page has a place for the table");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, new).unwrap();
        return;
    }
    let differ: Vec<_> = new
        .lines()
        .zip(old.lines())
        .filter(|(new, old)| new != old)
        .collect();
    assert!(
        new == old,
        "docs/BOUNDARY.md is not what the suite shows, here and old; BLESS=1 writes it anew: {differ:#?}"
    );
}

/// Tries every escape, and expects at least so many to be shown to be possible and to be closed.
fn check(privileges: Privileges, least: usize) {
    fixture::need_root().expect("kernel tests need root");
    let report = report(privileges);
    println!("{}:\n{report}", privileges.word());
    let open = report.count(|outcome| matches!(outcome, Outcome::Open(_)));
    let closed = report.count(Outcome::is_closed);
    let unavailable = report.count(|outcome| matches!(outcome, Outcome::Unavailable(_)));
    println!(
        "escapes, {}: {closed} closed, {open} open, {unavailable} not to be had on this machine",
        privileges.word()
    );
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
            Outcome::Wrong(what) => Some(format!("{}: {what}", row.escape)),
            _ => None,
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        closed >= least,
        "only {closed} escapes were shown to be possible and to be closed"
    );
}

#[test]
fn audit_mode_closes_no_way() {
    fixture::need_root().unwrap();
    let report = run(Manner {
        is_audit: true,
        ..Manner::default()
    });
    let closed: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.is_possible && !row.leads_out)
        .map(|row| row.escape)
        .collect();
    assert_eq!(closed, Vec::<&str>::new());
}

#[test]
fn opted_in_sockets_lead_out_and_no_others() {
    fixture::need_root().unwrap();
    let mistakes = escape::opt_in_mistakes(Path::new(env!("CARGO_BIN_EXE_enforcer-test"))).unwrap();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
