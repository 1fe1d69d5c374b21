//! Whatever sequence of socket calls an enforced workload makes, nothing of it arrives where nothing may go, and what
//! plain calls send to what is allowed does.
//!
//! `ENFORCER_SEQUENCES` says how many, from `ENFORCER_FIRST_SEED` on; `ENFORCER_SEED="SEED MASK"` tries one alone.

use std::{env, path::Path};

use tests::{
    fixture,
    generator::{self, Job},
};

/// Some seconds.
const SEQUENCES: u64 = 6000;

fn number(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).map_or(otherwise, |value| value.parse().expect("a number"))
}

#[test]
fn no_sequence_leads_out_and_plain_calls_arrive() {
    fixture::need_root().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_enforcer-test"));
    let report = match env::var("ENFORCER_SEED") {
        Ok(seed) => generator::run(program, &[Job::parse(&seed).unwrap()], 0, 0),
        Err(_) => generator::run(
            program,
            &Job::kept().unwrap(),
            number("ENFORCER_FIRST_SEED", 1),
            number("ENFORCER_SEQUENCES", SEQUENCES),
        ),
    };
    let report = report.expect("the generator can be run");
    println!("generator: {report}");
    assert!(report.failure.is_none(), "{report}");
}
