//! Any bytes as what a resolver answers: they teach what another parser reads of them, or nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../common/tests/dns/driver.rs"]
mod driver;
#[path = "../../../common/tests/dns/oracle.rs"]
mod oracle;

fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
