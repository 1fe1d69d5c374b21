//! A name is resolved and connected to at once: no client is refused an address that its resolver has just given it.
//!
//! `ENFORCER_RESOLVES` says how many names are resolved in all.

use std::{collections::BTreeMap, env};

use tests::{fixture::need_root, resolvers};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// Names in all, where nobody says how many.
const RESOLVES: u32 = 500;

#[test]
fn client_is_never_refused_an_address_that_its_resolver_has_just_given_it() {
    need_root().unwrap();
    let resolves = env::var("ENFORCER_RESOLVES").map_or(RESOLVES, |text| text.parse().unwrap());
    let batches = resolvers::run(BINARY, resolves).unwrap();
    let (mut asked, mut wrong) = (0, BTreeMap::new());
    for batch in &batches {
        println!("{batch}");
        asked += batch.names;
        let refused = batch.refused.iter().map(|host| format!("{host} was refused"));
        for what in refused.chain(batch.failed.iter().cloned()) {
            wrong.insert(what, batch.to_string());
        }
    }
    println!("{asked} names in all, {} of them not reached", wrong.len());
    assert!(asked > 0, "there is no name server");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
