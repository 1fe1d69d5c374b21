//! Tries every escape, first without enforcement and then with it, and says what became of each.

use std::{
    collections::BTreeSet,
    fmt, io,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    datapath::{Capacities, CgroupMount, Datapath, Hardening, Options},
    revoke::{self, Place},
};
use enforcer_common::{Settings, socket};
use enforcer_core::{
    documents::Documents,
    istio::OutboundMode,
    model::{Labels, Namespace, Workload},
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings,
};

use super::{
    ARGUMENT, Begins, ClosedBy, Escape, Evidence, Privileges, answer,
    arena::{Arena, FIRST_ATTEMPT},
    escapes, peer, privileges,
};
use crate::fixture::TestCgroup;

/// What became of all escapes.
pub struct Report {
    /// One for each escape.
    pub rows: Vec<Row>,
    /// What this kernel has beyond rules.
    pub closures: Vec<Hardening>,
}

/// What became of one escape.
pub struct Row {
    /// The escape.
    pub escape: &'static str,
    /// What closes it, for people.
    pub closer: String,
    /// The program beyond rules that closes it, if it takes one.
    pub closed_by: Option<&'static str>,
    /// Whether nothing has to close it.
    pub is_left_open: bool,
    /// Whether it leads out without enforcement.
    pub is_possible: bool,
    /// Whether it leads out under enforcement.
    pub leads_out: bool,
    /// What is to be said of that.
    pub outcome: Outcome,
}

/// What became of an escape under enforcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing arrived, and the call failed at once with this errno.
    Refused(i32),
    /// Nothing arrived, although the call did not fail.
    Dropped,
    /// It arrived, as it has to.
    Works,
    /// It arrived, and this is why that cannot be helped here.
    Open(String),
    /// It arrives without enforcement neither, and this is why.
    Unavailable(String),
    /// It should have been otherwise.
    Wrong(String),
}

impl Outcome {
    /// Whether enforcement keeps it in.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Dropped)
    }
}

/// How a workload is enforced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Only reported.
    pub is_audit: bool,
    /// Bits of [`enforcer_common::socket`].
    pub sockets: u32,
    /// What attempts may do.
    pub privileges: Privileges,
    /// Which escapes are tried, by name; all if None.
    pub only: Option<fn(&str) -> bool>,
    /// Another enforcer, which allows its own workloads everything, at another cgroup.
    pub neighbour: Option<Neighbour>,
}

/// When another enforcer is started: programs that run for every task run in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Before the one whose workload tries the escapes.
    Earlier,
    /// After it.
    Later,
}

/// What one attempt came to.
struct Attempt {
    result: io::Result<()>,
    is_open: bool,
}

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: streams, namespace: shop}
spec:
  hosts: [streams.example.com]
  addresses: [198.18.7.3, 'fd77::3']
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: datagrams, namespace: shop}
spec:
  hosts: [datagrams.example.com]
  addresses: [198.18.7.3, 'fd77::3']
  ports: [{number: 9000, name: udp, protocol: UDP}]
  resolution: NONE
";

/// Tries every escape with processes of `program`, the test binary.
///
/// # Errors
/// If the network or the cgroups cannot be made.
pub fn run(program: &Path, manner: Manner) -> Result<Report> {
    let thread = thread::scope(|scope| scope.spawn(|| all(program, manner)).join());
    thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn all(program: &Path, manner: Manner) -> Result<Report> {
    let mut arena = Arena::new()?;
    arena.translate();
    let mut escapes = escapes();
    escapes.retain(|escape| manner.only.is_none_or(|is_wanted| is_wanted(escape.name)));
    let first = usize::from(FIRST_ATTEMPT);
    let port = |phase: usize, at: usize| u16::try_from(first + phase * 1000 + at).context("too many escapes");

    let starter = Starter {
        program,
        outer: arena.outer(),
        privileges: manner.privileges,
    };
    let free = TestCgroup::new()?;
    let cgroup = free.child("workload")?;
    let mut baseline = Vec::new();
    for (at, escape) in escapes.iter().enumerate() {
        let process = starter.start(escape, &cgroup, port(0, at)?)?;
        baseline.push(process.go(escape, &mut arena)?);
    }

    let root = TestCgroup::new()?;
    let cgroup = root.child("workload")?;
    let mut early = Vec::new();
    for (at, escape) in escapes.iter().enumerate() {
        early.push(if escape.begins == Begins::Before {
            Some(starter.start(escape, &cgroup, port(1, at)?)?)
        } else {
            None
        });
    }
    let (elsewhere, mut neighbour) = (TestCgroup::new()?, None);
    elsewhere.child("workload")?;
    if manner.neighbour == Some(Neighbour::Earlier) {
        neighbour = Some(put(&elsewhere, manner, OutboundMode::AllowAny)?);
    }
    let datapath = enforce(&root, manner)?;
    if manner.neighbour == Some(Neighbour::Later) {
        neighbour = Some(put(&elsewhere, manner, OutboundMode::AllowAny)?);
    }
    if !manner.is_audit {
        revoke(&root)?;
    }
    let mut rows = Vec::new();
    for (at, (escape, early)) in escapes.iter().zip(early).enumerate() {
        let process = match early {
            Some(process) => process,
            None => starter.start(escape, &cgroup, port(1, at)?)?,
        };
        let enforced = process.go(escape, &mut arena)?;
        rows.push(Row {
            escape: escape.name,
            closer: label(escape.closed_by),
            closed_by: closer(escape, datapath.closures()),
            is_left_open: matches!(escape.closed_by, ClosedBy::Nothing(_)),
            is_possible: baseline[at].is_open,
            leads_out: enforced.is_open,
            outcome: outcome(escape, &baseline[at], &enforced, datapath.closures()),
        });
    }
    drop(neighbour);
    // What was on its way for longer than its attempt.
    for (at, row) in rows.iter_mut().enumerate() {
        let shows = escapes[at].evidence == Evidence::Arrival;
        if shows && row.outcome.is_closed() && arena.has_arrived(port(1, at)?)? {
            row.outcome = Outcome::Wrong("it arrived late".to_owned());
        }
    }
    Ok(Report {
        rows,
        closures: datapath.closures().to_vec(),
    })
}

/// Ends what was connected before, as the daemon does. The early escapes reach for refused destinations alone.
fn revoke(root: &TestCgroup) -> Result<()> {
    let cgroup = CgroupMount::find()?.cgroup(&root.path().join("workload"))?;
    let place = Place {
        cgroup: cgroup.context("it was just made")?.id,
        folder: root.folder().join("workload"),
    };
    let open = revoke::end(&revoke::sweep(&[place], &BTreeSet::new(), None));
    ensure!(open.is_none(), "sockets could not be ended: {open:?}");
    Ok(())
}

/// Enforces a registry with one allowed host for the cgroup `workload` below `root`.
///
/// # Errors
/// If the kernel refuses.
pub fn enforce(root: &TestCgroup, manner: Manner) -> Result<Datapath> {
    put(root, manner, OutboundMode::RegistryOnly)
}

fn put(root: &TestCgroup, manner: Manner, mode: OutboundMode) -> Result<Datapath> {
    let mount = CgroupMount::find()?;
    let workload = mount
        .cgroup(&root.path().join("workload"))?
        .context("it was just made")?;
    let mut registry = Registry::new(settings::Settings {
        audit: manner.is_audit,
        mode,
        ..settings::Settings::default()
    });
    let mut documents = Documents::default();
    for update in documents.set("registry", Some(REGISTRY)) {
        registry.apply(update);
    }
    let problems: Vec<_> = documents.problems().iter().map(ToString::to_string).collect();
    ensure!(
        problems.is_empty(),
        "the suite's registry: {}",
        problems.join("; ")
    );
    registry.apply(Update::Workload(
        workload.id,
        Workload::new(Namespace::new("shop"), "workload", Labels::default()),
    ));
    let settings = Settings {
        depth_min: workload.depth,
        depth_max: workload.depth,
        sockets: manner.sockets,
        ..Settings::STRICT
    };
    let options = Options {
        capacities: Capacities::default(),
        debug: false,
    };
    let (mut datapath, _events) = Datapath::load(None, options, settings)?;
    datapath.carry_out(&diff(&Applied::default(), &registry.desired()).changes)?;
    datapath.attach(&mount.cgroup(root.path())?.context("it was just made")?)?;
    Ok(datapath)
}

/// A process that is ready to try an escape, or has said why not.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
    failed: Option<String>,
}

/// What all attempts have in common.
struct Starter<'a> {
    program: &'a Path,
    outer: PathBuf,
    privileges: Privileges,
}

impl Starter<'_> {
    fn start(&self, escape: &Escape, cgroup: &PathBuf, port: u16) -> Result<Process> {
        let mut child = Command::new(self.program)
            .args([ARGUMENT, escape.name])
            .arg(cgroup)
            .arg(port.to_string())
            .env(peer::OUTER, &self.outer)
            .env(privileges::VARIABLE, self.privileges.word())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let input = child.stdin.take().context("a pipe was asked for")?;
        let mut output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let failed = (line != "ready\n").then(|| line.trim().to_owned());
        Ok(Process {
            child,
            input,
            output,
            port,
            failed,
        })
    }
}

impl Process {
    fn go(mut self, escape: &Escape, arena: &mut Arena) -> Result<Attempt> {
        let line = match self.failed {
            Some(line) => line,
            None => {
                self.input.write_all(b"go\n")?;
                let mut line = String::new();
                self.output.read_line(&mut line)?;
                line.trim().to_owned()
            }
        };
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "the process for {:?} has failed: {status}",
            escape.name
        );
        let result = answer(&line);
        let has_arrived = arena.has_arrived(self.port)?;
        let is_open = match escape.evidence {
            Evidence::Arrival => has_arrived,
            Evidence::Success => result.is_ok(),
        };
        Ok(Attempt { result, is_open })
    }
}

fn outcome(escape: &Escape, baseline: &Attempt, enforced: &Attempt, closures: &[Hardening]) -> Outcome {
    if !baseline.is_open {
        let why = match &baseline.result {
            Ok(()) => "nothing arrives".to_owned(),
            Err(error) => error.to_string(),
        };
        return if enforced.is_open {
            Outcome::Wrong("it arrives only under enforcement".to_owned())
        } else {
            Outcome::Unavailable(why)
        };
    }
    let errno = enforced.result.as_ref().err().and_then(io::Error::raw_os_error);
    match escape.closed_by {
        ClosedBy::Allowed if enforced.is_open => return Outcome::Works,
        ClosedBy::Allowed => return Outcome::Wrong(format!("it has to work: {:?}", enforced.result)),
        ClosedBy::Nothing(why) if enforced.is_open => return Outcome::Open(why.to_owned()),
        _ => {}
    }
    let closer = closer(escape, closures);
    let absent = closer.and_then(|program| Some((program, absence(program, closures)?)));
    match (enforced.is_open, errno, absent) {
        // A socket that was ended is connected to nobody.
        (false, Some(errno @ (libc::ECONNABORTED | libc::EDESTADDRREQ)), _)
            if escape.closed_by == ClosedBy::Revocation =>
        {
            Outcome::Refused(errno)
        }
        (true, _, Some((program, why))) => Outcome::Open(format!("needs {program}: {why}")),
        (true, _, None) => Outcome::Wrong("it gets out".to_owned()),
        (false, Some(libc::EPERM), _) => Outcome::Refused(libc::EPERM),
        (false, None, _) if closer == Some(GUARD) || absent.is_some() => Outcome::Dropped,
        (false, _, _) => Outcome::Wrong(format!("it fails with {:?}", enforced.result)),
    }
}

/// The guard drops what another program would have refused at once.
const GUARD: &str = "egress";

/// The program beyond rules that has to close an escape.
fn closer(escape: &Escape, closures: &[Hardening]) -> Option<&'static str> {
    match escape.closed_by {
        ClosedBy::Call("setsockopt") if absence("setsockopt", closures).is_some() => Some(GUARD),
        ClosedBy::Call(program) => Some(program),
        ClosedBy::Guard => Some(GUARD),
        ClosedBy::Rules | ClosedBy::Revocation | ClosedBy::Nothing(_) | ClosedBy::Allowed => None,
    }
}

/// What closes an escape, for people.
fn label(closed_by: ClosedBy) -> String {
    match closed_by {
        ClosedBy::Rules => "rules".into(),
        ClosedBy::Call(program) => format!("`{program}`"),
        ClosedBy::Guard => format!("`{GUARD}`"),
        ClosedBy::Revocation => "`revoke`".into(),
        ClosedBy::Nothing(why) => format!("nothing: {why}"),
        ClosedBy::Allowed => "it has to work".into(),
    }
}

/// Why a program does not run; None if it does.
fn absence<'a>(program: &str, closures: &'a [Hardening]) -> Option<&'a str> {
    let mut closures = closures.iter();
    closures
        .find(|closure| closure.program == program)
        .and_then(|closure| closure.absent.as_deref())
}

impl Report {
    /// How many escapes are so.
    pub fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }
}

/// Tries the escapes that opt-ins for UDP-Lite and ICMP are about, and those next to them, under each opt-in. Returns
/// what is otherwise than it should be: what is opted in leads out, and nothing else that is closed without.
///
/// # Errors
/// If the network or the cgroups cannot be made.
pub fn opt_in_mistakes(program: &Path) -> Result<Vec<String>> {
    type IsOptedIn = fn(&str) -> bool;
    const OPT_INS: [(u32, IsOptedIn); 2] = [
        (socket::UDPLITE, |escape| escape.contains("udp-lite")),
        (socket::ICMP, |escape| escape.starts_with("icmp datagram")),
    ];
    let mut mistakes = Vec::new();
    for (sockets, is_opted_in) in OPT_INS {
        let report = run(
            program,
            Manner {
                sockets,
                only: Some(|escape| {
                    ["udp-lite", "icmp", "raw", "udp socket"]
                        .iter()
                        .any(|part| escape.contains(part))
                }),
                ..Manner::default()
            },
        )?;
        // ICMP from an old raw socket is let out by the guard and refused by BPF LSM, where that is.
        let rows = report.rows.iter().filter(|row| {
            let is_old_raw = sockets == socket::ICMP && row.escape.starts_with("raw icmpv6 from before");
            row.is_possible && !is_old_raw && row.escape != "raw icmp socket from before"
        });
        for row in rows.filter(|row| !matches!(row.outcome, Outcome::Open(_) | Outcome::Works)) {
            if row.leads_out != is_opted_in(row.escape) {
                mistakes.push(format!(
                    "{} {} under the opt-ins {sockets:#x}",
                    row.escape,
                    if row.leads_out { "leads out" } else { "is closed" }
                ));
            }
        }
    }
    Ok(mistakes)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for closure in &self.closures {
            writeln!(f, "{closure}")?;
        }
        for Row { escape, outcome, .. } in &self.rows {
            match outcome {
                Outcome::Refused(errno) => {
                    writeln!(f, "refused: {escape}: {}", io::Error::from_raw_os_error(*errno))?;
                }
                Outcome::Dropped => writeln!(f, "dropped: {escape}")?,
                Outcome::Works => writeln!(f, "works: {escape}")?,
                Outcome::Open(why) => writeln!(f, "OPEN: {escape}: {why}")?,
                Outcome::Unavailable(why) => writeln!(f, "not possible here: {escape}: {why}")?,
                Outcome::Wrong(what) => writeln!(f, "WRONG: {escape}: {what}")?,
            }
        }
        Ok(())
    }
}
