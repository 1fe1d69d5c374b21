//! Takes the figures that `cargo xtask bench` publishes: `cargo bench -p tests --bench figures -- --only NAME --out DIR`, as
//! root. The command says what it measures, writes a file for each figure, and judges nothing.

use anyhow::Result;

fn main() -> Result<()> {
    tests::figures::main(env!("CARGO_BIN_EXE_enforcer-test"), std::env::args().skip(1))
}
