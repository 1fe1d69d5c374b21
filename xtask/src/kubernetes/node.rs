//! A whole cluster of one node, in namespaces of its own on this machine's kernel.
//!
//! ```text
//! up -> supervisor (on the machine) -> init (the node's first process) -> boot -> components
//! exec, kubectl, image -> enter
//! ```
//!
//! All that the machine sees of it is its folder, its processes and one cgroup. The rest ends with the node's first
//! process, which ends with the supervisor; whatever ends the supervisor, the next `up` or `down` removes what is left.

mod boot;
mod components;
mod enter;
mod images;
mod init;
mod mounts;
mod network;
mod oci;
mod place;
mod supervisor;

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::place::Place;
use super::{folder::Folder, lifetime, packages, running::last_lines};
use crate::{out::say, process::as_root_with_environment};

pub(super) use oci::run as run_oci_runtime;

/// What a node says when it is ready.
const READY: &str = "ready";

/// What `kubernetes node` is asked for.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Start one, and wait until it is ready; its logs are in DIR/log
    Up(Up),
    /// Run a command on it as root, with an administrator's KUBECONFIG
    Exec {
        /// The folder that it was started with
        dir: PathBuf,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run kubectl on it as an administrator
    Kubectl {
        /// The folder that it was started with
        dir: PathBuf,
        /// kubectl's arguments
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Import an image that is made of a static binary, its entry point, or of a folder, its root file system
    Image {
        /// The folder that it was started with
        dir: PathBuf,
        /// Any tag but `latest`, which the kubelet would try to pull
        #[arg(value_name = "NAME:TAG")]
        name: String,
        /// The binary or the folder
        path: PathBuf,
    },
    /// End it with all that runs on it; its logs stay
    Down {
        /// The folder that it was started with
        dir: PathBuf,
    },
    /// The part of a node that stays on the machine
    #[command(hide = true)]
    Supervise(Up),
    /// The node's first process
    #[command(hide = true)]
    Init(Up),
    /// What starts all others
    #[command(hide = true)]
    Boot(Up),
}

/// What is to be started.
#[derive(clap::Args)]
pub(crate) struct Up {
    /// A folder of its own, for its files
    dir: PathBuf,
    /// When it ends by itself, if nobody ends it
    #[arg(long, value_name = "TIME", default_value = lifetime::DEFAULT, value_parser = lifetime::parse)]
    ttl: Duration,
    /// Where `kubernetes build` has put the programs
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Does it, with root's rights.
pub(crate) fn run(action: &Action) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        let this = std::env::current_exe().context("finding this program's own path")?;
        let mut again = as_root_with_environment(this);
        return Err(again.args(std::env::args_os().skip(1)).exec()).context("starting sudo");
    }
    match action {
        Action::Up(asked) => up(asked),
        Action::Down { dir } => down(&Place::find(dir)?),
        Action::Supervise(asked) => supervisor::run(asked),
        Action::Init(asked) => init::run(asked),
        Action::Boot(asked) => boot::run(asked),
        Action::Image { dir, name, path } => images::import(&Place::find(dir)?, name, path),
        Action::Exec { dir, command } => {
            let (program, arguments) = command.split_first().context("a command is required")?;
            return enter::run(&Place::find(dir)?, program, arguments);
        }
        Action::Kubectl { dir, arguments } => {
            return enter::run(&Place::find(dir)?, "kubectl".as_ref(), arguments);
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

fn up(asked: &Up) -> Result<()> {
    packages::expect(&packages::RUNNING)?;
    let folder = Folder::new(asked.cache.as_deref())?;
    folder.expect_complete()?;
    let begin = Instant::now();
    let place = Place::make(&asked.dir)?;
    let _lock = place.lock()?;
    ensure!(!place.is_ready(), "{} is up already", place.dir().display());
    // What a command has left that was killed.
    place.take_down()?;
    if let Err(error) = start(&place, asked) {
        place.take_down()?;
        return Err(error);
    }
    say!("node: ready in {:.1} s", begin.elapsed().as_secs_f32());
    Ok(())
}

/// Starts the supervisor, apart from this process, and waits for the word of the node.
fn start(place: &Place, asked: &Up) -> Result<()> {
    place.prepare()?;
    let log = place.log("node");
    let mut supervisor = asked
        .stage("supervise", place)?
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()
        .context("starting the node's supervisor")?;
    let output = supervisor.stdout.take().context("standard output is piped")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .context("waiting for the node")?;
    if line.trim_end() != READY {
        bail!(
            "the node did not come up, see {}: {}",
            place.dir().join("log").display(),
            last_lines(&log)
        );
    }
    Ok(())
}

fn down(place: &Place) -> Result<()> {
    // Without its folder a node may still have left its cgroup.
    let _lock = place.dir().is_dir().then(|| place.lock()).transpose()?;
    place.take_down()
}

impl Up {
    /// This program, for another part of the same node.
    fn stage(&self, stage: &str, place: &Place) -> Result<Command> {
        let this = std::env::current_exe().context("finding this program's own path")?;
        Ok(self.arguments(Command::new(this), stage, place))
    }

    /// The same, ending with the thread that starts it.
    fn tied_stage(&self, stage: &str, place: &Place) -> Result<Command> {
        let this = std::env::current_exe().context("finding this program's own path")?;
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL"]).arg(this);
        Ok(self.arguments(tied, stage, place))
    }

    fn arguments(&self, mut command: Command, stage: &str, place: &Place) -> Command {
        command.args(["kubernetes", "node", stage]).arg(place.dir());
        command.arg("--ttl").arg(self.ttl.as_secs().to_string());
        if let Some(cache) = &self.cache {
            command.arg("--cache").arg(cache);
        }
        command
    }
}
