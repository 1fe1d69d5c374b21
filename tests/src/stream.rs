//! A process that sends a bulk stream from inside a cgroup.

use std::{ffi::OsString, fs, io::Write as _, net::TcpStream, path::Path};

use anyhow::{Context as _, Result};

/// Argument with which a test binary becomes one.
pub const ARGUMENT: &str = "stream";

/// What it sends.
pub const BYTES: u64 = 1 << 30;

/// The process's own main: `CGROUP ADDRESS`.
///
/// # Errors
/// If the cgroup cannot be joined or the connection breaks.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || arguments.next().context("usage: stream CGROUP ADDRESS");
    let (cgroup, to) = (next()?, next()?);
    fs::write(Path::new(&cgroup).join("cgroup.procs"), "0").context("joining the cgroup")?;
    let mut stream = TcpStream::connect(to.to_string_lossy().as_ref())?;
    let block = vec![0; 1 << 18];
    for _ in 0..BYTES / block.len() as u64 {
        stream.write_all(&block)?;
    }
    Ok(())
}
