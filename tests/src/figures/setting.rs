//! What a measurement is taken with.

use std::{env, path::PathBuf};

use anyhow::{Result, bail};

use crate::{kube, mesh};

/// Names another enforcer than the one in the tests' own binary, which is otherwise the same.
const ENFORCER: &str = "ENFORCER_BINARY";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For publication: all measurements within 20 minutes.
    Full,
    /// For a look: all of them within 3 minutes.
    Quick,
    /// For a proof that it can be done: a few seconds each. Its numbers say nothing.
    Tiny,
}

impl Size {
    /// # Errors
    /// If no size is called so.
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "full" => Self::Full,
            "quick" => Self::Quick,
            "tiny" => Self::Tiny,
            _ => bail!("no size is called {name}: there are full, quick and tiny"),
        })
    }

    /// As [`Self::named`] has it.
    pub fn name(self) -> &'static str {
        self.pick("full", "quick", "tiny")
    }

    /// One of three.
    pub fn pick<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }
}

/// What a measurement is told.
pub struct Setting {
    /// How much is measured.
    pub size: Size,
    /// The tests' binary, for their processes.
    pub program: PathBuf,
    /// The enforcer.
    pub enforcer: PathBuf,
}

impl Setting {
    /// `program` is the tests' binary.
    pub fn new(size: Size, program: &str) -> Self {
        Self {
            size,
            program: program.into(),
            enforcer: env::var_os(ENFORCER).map_or_else(|| program.into(), PathBuf::from),
        }
    }
}

/// What a measurement cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// The programs of a real API server.
    ApiServer,
    /// Envoy's binary.
    Envoy,
}

impl Need {
    /// Why it is not there; none if it is.
    ///
    /// # Errors
    /// If it has to be there.
    pub fn missing(self) -> Result<Option<String>> {
        Ok(match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "it needs root's rights".to_owned()),
            Self::ApiServer => {
                (!kube::is_there()).then(|| "no API server: run `cargo xtask kubernetes build`".to_owned())
            }
            Self::Envoy => mesh::envoy_path()
                .is_none()
                .then(|| "no Envoy: run `cargo xtask envoy`".to_owned()),
        })
    }
}
