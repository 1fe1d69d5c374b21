//! The support bundle: everything that somebody needs who is asked why the enforcer does what it does, in one archive.
//!
//! ```text
//! control socket (daemon) ---.
//! pins, files, /proc (machine) -> Files -> secrets -> redact (--redact) -> archive -> a file, or standard output
//! ```
//!
//! **Architecture Invariant:** nothing here changes what is enforced, and what cannot be had is named in `missing.txt`
//! with the reason: no part keeps another from being there.

mod archive;
mod away;
mod daemon;
mod files;
mod journal;
mod machine;
mod redact;
mod secrets;
mod settings;

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;

use crate::{config::Config, control::Status};

pub use archive::write;
pub use files::{Content, Files};
pub use redact::redact;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The configuration file, if one was named.
    pub config: Option<PathBuf>,
    /// The folder of the state, where no configuration says it.
    pub state: PathBuf,
    /// Whether names, hosts and addresses are replaced.
    pub redact: bool,
}

/// Where everything is, as far as it is known.
struct Places {
    /// The configuration file, its text, and what it says; None if it cannot be read.
    config: Option<PathBuf>,
    text: Option<String>,
    parsed: Option<Config>,
    state: PathBuf,
    bpffs: PathBuf,
}

/// Gathers everything, without secrets.
///
/// # Errors
/// If the runtime cannot be started.
pub fn gather(request: &Request) -> Result<Files> {
    let mut files = Files::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut places = settings::places(request, &mut files);
    let status = runtime.block_on(daemon::add(&places.state, &mut files));
    if places.config.is_none() {
        settings::find(&mut places, status.as_ref(), &mut files);
    }
    settings::add(&places, &mut files);
    machine::add(&mut files);
    machine::add_programs(&places.bpffs, status.as_ref(), &mut files);
    if status.is_none() {
        away::add(&places, &mut files);
    }
    files.json("manifest.json", manifest(status.as_ref(), request));
    secrets::replace(&mut files, &secrets::known(&places));
    if request.redact {
        redact(&mut files);
    }
    Ok(files)
}

fn manifest(status: Option<&Status>, request: &Request) -> serde_json::Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "daemonVersion": status.map(|status| status.version.as_str()),
        "made": Timestamp::now().to_string(),
        "redacted": request.redact,
    })
}

/// The name of an archive that nobody has named: of a redacted one, without the node's.
pub fn file_name(redact: bool) -> PathBuf {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let node = crate::node::name(None);
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_');
    let node: String = node.chars().filter(|character| is_plain(*character)).collect();
    let parts = if redact || node.is_empty() {
        format!("enforcer-bundle-{now}.tar.gz")
    } else {
        format!("enforcer-bundle-{node}-{now}.tar.gz")
    };
    Path::new(&parts).to_owned()
}
