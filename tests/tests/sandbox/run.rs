//! A sandbox as it is typed, and servers that count who reaches them.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use aya::programs::loaded_programs;
use enforcer::datapath::CgroupMount;
use tests::{daemon::wait, fixture::tied};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// Where servers listen that tests allow, or do not.
pub(crate) const SERVER: &str = "192.0.2.10:443";
pub(crate) const OTHER: &str = "192.0.2.11:443";

/// `enforcer sandbox` with these arguments. It ends with the test.
pub(crate) fn sandbox(arguments: &[&str]) -> Command {
    let mut command = tied(BINARY);
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"] {
        command.env_remove(name);
    }
    command.arg("sandbox").args(arguments);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a line on the output of a process.
pub(crate) fn said(child: &mut Child, line: &str) {
    let output = child.stdout.as_mut().unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(
            output.read(&mut byte).unwrap(),
            1,
            "it has ended: {}",
            text(&read)
        );
        read.extend(byte);
    }
    assert_eq!(text(&read).trim_end(), line);
}

/// The first line on the output of a process, such as a number.
pub(crate) fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim_end().to_owned()
}

/// Accepts, counts, and then greets.
pub(crate) struct Server {
    address: String,
    accepted: Arc<AtomicUsize>,
    /// Those of them that were made to ask.
    own: AtomicUsize,
}

impl Server {
    pub(crate) fn at(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                // Who has connected may be gone.
                connection.write_all(b".").ok();
            }
        });
        Ok(Self {
            address: address.to_owned(),
            accepted,
            own: AtomicUsize::new(0),
        })
    }

    /// How many have connected before this call: connections are accepted in turn, so that all of them are counted once
    /// one of the test's own is greeted.
    pub(crate) fn accepted(&self) -> usize {
        let mut own = TcpStream::connect(&self.address).unwrap();
        own.read_exact(&mut [0]).unwrap();
        let asked = self.own.fetch_add(1, Ordering::SeqCst) + 1;
        self.accepted.load(Ordering::SeqCst) - asked
    }
}

/// What a sandbox has made.
pub(crate) struct Made {
    pub(crate) folder: PathBuf,
    pub(crate) cgroup: PathBuf,
    /// Processes beside the command: the guard, the enforcer and its canary.
    pub(crate) parts: BTreeSet<i32>,
    programs: BTreeSet<u32>,
}

impl Made {
    /// By the sandbox that is this process.
    pub(crate) fn by(pid: u32) -> Result<Self> {
        let mount = CgroupMount::find()?;
        let cgroup = find(mount.path(), &format!("enforcer-sandbox-{pid}"));
        let cgroup = cgroup.ok_or_else(|| anyhow::anyhow!("sandbox {pid} has no cgroup"))?;
        let parts: BTreeSet<_> = fs::read_to_string(cgroup.join("guard/cgroup.procs"))?
            .lines()
            .map(|pid| pid.parse().unwrap())
            .collect();
        let programs = parts.iter().flat_map(|pid| programs_of(*pid)).collect();
        Ok(Self {
            folder: Path::new("/run/enforcer-sandbox").join(pid.to_string()),
            cgroup,
            parts,
            programs,
        })
    }

    /// The process whose command line has this part.
    pub(crate) fn part(&self, name: &str) -> i32 {
        let mut parts = self.parts.iter();
        let is_it = |pid: &&i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == name.as_bytes())
        };
        *parts.find(is_it).unwrap()
    }

    /// Processes in the command's cgroup.
    pub(crate) fn processes(&self) -> usize {
        let listed = fs::read_to_string(self.cgroup.join("command/cgroup.procs"));
        listed.map_or(0, |listed| listed.lines().count())
    }

    /// Whether all of it is gone but the programs, which the kernel takes away later.
    pub(crate) fn is_gone(&self) -> bool {
        let runs = |pid: &i32| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = state.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
            state.flatten().is_some_and(|state| state != 'Z')
        };
        !self.folder.exists() && !self.cgroup.exists() && !self.parts.iter().any(runs)
    }

    /// Waits until all of it is gone.
    pub(crate) fn await_end(&self) -> Result<()> {
        assert!(!self.programs.is_empty(), "it has loaded programs");
        wait("end of the sandbox", || Ok(self.is_gone()))?;
        wait("end of its programs", || {
            let there: BTreeSet<_> = loaded_programs().flatten().map(|program| program.id()).collect();
            Ok(self.programs.is_disjoint(&there))
        })
    }
}

fn programs_of(pid: i32) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    let about = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    let numbers = about.filter_map(|about| {
        let line = about.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
        line.trim().parse().ok()
    });
    numbers.collect()
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let here = folder.join(name);
    if here.is_dir() {
        return Some(here);
    }
    let folders = fs::read_dir(folder).ok()?.flatten();
    let mut folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.find_map(|entry| find(&entry.path(), name))
}
