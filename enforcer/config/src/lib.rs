//! The configuration: one YAML file.
//!
//! ```text
//! text -> raw (what was typed, with its lines) -> parse -> Config (what was meant) | ConfigErrors (one line each)
//!          |-> schema (deploy/config.schema.json)
//! ```
//!
//! **Architecture Invariant:** a [`Config`] cannot hold an invalid value, and no error falls back to a default:
//! a configuration that is not understood does not enforce anything that was not configured.

mod cgroup;
mod config;
mod dns;
mod enums;
mod error;
mod metrics;
mod moved;
mod observe;
mod parse;
mod place;
mod placements;
mod pods;
mod raw;
mod salvage;
mod schema;
mod ui;
mod unit_name;
mod units;
mod workloads;
mod yaml;

use std::{fs::File, io::Read, path::Path};

pub use cgroup::CgroupPath;
pub use config::{Config, Kubernetes, Sockets};
pub use dns::{Dns, Learn};
pub use enforcer_core::capacity::Capacities;
pub use enums::{Enforcement, Errno, Matching, PodLabels, PodMode, Proxies, Udp, UnknownWorkloads};
pub use error::{ConfigError, ConfigErrors, ErrorKind, SIZE_LIMIT, Warning};
pub use metrics::Metrics;
pub use observe::Observe;
pub use place::Place;
pub use placements::Placement;
pub use pods::{BuiltIn, Pods};
pub use salvage::{placements, salvage_state};
pub use schema::json_schema;
pub use ui::Ui;
pub use unit_name::{ServiceName, SliceName};
pub use workloads::{Roots, WorkloadConfig, checked_labels, namespace};

impl Config {
    /// Reads `file`. Its name in messages is the one given; paths in it are relative to its folder.
    ///
    /// # Errors
    /// If it cannot be read, is larger than [`SIZE_LIMIT`], or holds [`ConfigErrors`].
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with_text(file).map(|(config, _)| config)
    }

    /// The same, and the text that was read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_text(file: &Path) -> Result<(Self, String), ConfigErrors> {
        let unreadable = |kind| ConfigErrors::new(file, vec![ConfigError { line: None, kind }]);
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|opened| opened.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(ErrorKind::Unreadable(error.to_string())))?;
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(unreadable(ErrorKind::TooLarge));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable(ErrorKind::NotText))?;
        Ok((Self::parse(&text, file)?, text))
    }

    /// Reads `text`, which is the content of `file`.
    ///
    /// # Errors
    /// All errors of meaning at once; of errors in the YAML itself, and of unknown keys, the first.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigErrors> {
        let raw = yaml::read(text).map_err(|error| ConfigErrors::new(file, vec![error]))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        parse::config(raw, folder).map_err(|errors| ConfigErrors::new(file, errors))
    }
}
