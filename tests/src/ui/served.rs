//! A running `enforcer ui`.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};

use crate::fixture::tied;

/// A running `enforcer ui`, which ends with it.
pub struct Served {
    child: Child,
    /// The address that it has printed.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What a browser has to say.
    pub token: String,
}

impl Served {
    /// Of the enforcer whose state is in a folder.
    ///
    /// # Errors
    /// If it prints no address.
    pub fn start(binary: &str, state: &Path) -> Result<Self> {
        let mut child = tied(binary)
            .args(["ui", "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting enforcer ui")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let url = line.trim().to_owned();
        let parts = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once("/#token="));
        let (address, token) = parts.with_context(|| format!("{line:?} is no address of a page"))?;
        Ok(Self {
            address: address.parse()?,
            token: token.to_owned(),
            child,
            url: url.clone(),
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn end(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("enforcer ui is still there: {error}");
        }
    }
}
