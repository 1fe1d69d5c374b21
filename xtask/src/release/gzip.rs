//! Compression whose bytes depend on nothing but what is compressed.

use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

/// As `gzip -n -9` does: without a name and a date.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new()
        .mtime(0)
        // The system on which it was made is not told either.
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    writer
        .write_all(bytes)
        .and_then(|()| writer.finish())
        .context("compressing")
}
