//! The process that tests put into cgroups.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let cgroup = std::env::args_os().nth(2).ok_or_else(|| anyhow::anyhow!("usage: probe probe CGROUP"))?;
    tests::probe::main(Path::new(&cgroup))
}
