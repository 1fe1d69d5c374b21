//! The conformance table, by each executor.

use std::path::Path;

use anyhow::Result;
use enforcer_core::settings::Matching;
use tests::{beside::Pair, case, fixture, host, kernel};

fn run(mut execute: impl FnMut(&case::Case, Matching) -> Result<usize>) {
    let mut rows = 0;
    let mut failures = Vec::new();
    for (file, case) in case::all().expect("the cases can be read") {
        for matching in [Matching::Declared, Matching::Istio] {
            match execute(&case, matching) {
                Ok(count) => rows += count,
                Err(error) => failures.push(format!("{file}: {error:#}")),
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    println!("{rows} rows hold");
    assert!(rows >= 1000, "the table has lost its rows");
}

#[test]
fn every_row_holds_on_the_host() {
    run(host::run);
}

#[test]
fn every_row_holds_in_the_kernel() {
    fixture::need_root().unwrap();
    fixture::in_own_network(|| {
        let mut executor = kernel::Executor::new(Path::new(env!("CARGO_BIN_EXE_enforcer-test")))?;
        run(|case, matching| executor.run(case, matching));
        Ok(())
    })
    .unwrap();
}

#[test]
fn every_row_holds_beside_another_enforcer() {
    fixture::need_root().unwrap();
    fixture::in_own_network(|| {
        let mut pair = Pair::new(Path::new(env!("CARGO_BIN_EXE_enforcer-test")))?;
        let mut rows = pair.opposites()?;
        for matching in [Matching::Declared, Matching::Istio] {
            rows += pair.every_row(matching)?;
        }
        println!("{rows} rows hold");
        assert!(rows >= 2000, "the table has lost its rows");
        Ok(())
    })
    .unwrap();
}
