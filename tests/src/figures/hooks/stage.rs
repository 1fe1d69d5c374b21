//! The cgroups, and what the enforcer's maps hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{Capacities, CgroupMount, Datapath, Events, Options, raise_memlock};
use enforcer_common::{Counter, Mode, Settings, Transport, Verdict};
use enforcer_core::{
    model::OwnAddresses,
    plan::{Applied, diff},
    policy::{Desired, DesiredPolicy, Shared},
    rule::{Rule, Rules, To},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    bare,
    calls::Call,
    hook::{EGRESS, Hook, INGRESS},
};
use crate::fixture::{
    TestCgroup,
    program::{Kind, Program},
    runs::{Counted, Runs},
};

/// Whose programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The enforcer's.
    Ours,
    /// Empty ones.
    Empty,
    /// Those that look up one entry.
    Lookup,
    /// Those that do the least.
    Least,
}

impl Place {
    /// Those of programs that are not ours, and their cgroups.
    const BARE: [(Self, &str); 3] = [
        (Self::Empty, "empty"),
        (Self::Lookup, "lookup"),
        (Self::Least, "least"),
    ];
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// What decides.
    pub(super) by: By,
    /// Rules with one address, in the scope that is meant or in the workload's own.
    pub(super) rules: u32,
    /// Rules with a network.
    pub(super) networks: u32,
    /// How many cgroups below the workload's the caller is, at each of which another workload could be.
    pub(super) below: u32,
}

/// What decides on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A rule of the workload's policy.
    Own,
    /// A rule that policies share, while the policy has one of its own.
    Shared,
    /// A rule with any address.
    Port,
    /// A rule with a network.
    Network,
    /// The destination is the workload's own address.
    Address,
    /// The destination is a loopback address.
    Loopback,
    /// No rule, and the daemon gets an event.
    Nobody,
    /// No rule, and the workload has caused its share of events.
    NobodyUntold,
}

/// Where calls go that do not stay.
pub(super) const PORT: u16 = 9;
/// See [`PORT`].
pub(super) const V4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 7);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xffff, 7);

impl Shape {
    /// One rule, and the caller is in the workload's cgroup.
    pub(super) fn of(by: By) -> Self {
        Self {
            by,
            rules: 1,
            networks: 0,
            below: 0,
        }
    }

    /// Where the call goes.
    pub(super) fn destination(&self, is_v6: bool) -> SocketAddr {
        let address: IpAddr = match (self.by, is_v6) {
            (By::Loopback, false) => Ipv4Addr::LOCALHOST.into(),
            (By::Loopback, true) => Ipv6Addr::LOCALHOST.into(),
            (_, false) => V4.into(),
            (_, true) => V6.into(),
        };
        SocketAddr::new(address, PORT)
    }

    fn desired(&self, workloads: BTreeSet<enforcer_common::CgroupId>) -> Desired {
        let both = |to: &dyn Fn(Transport) -> Rule| [to(Transport::Tcp), to(Transport::Udp)];
        let rule = |port: u16, to: To| both(&move |transport| Rule { transport, port, to });
        let other = |number: u32| To::Address(Ipv4Addr::from_bits(0x0a00_0000 + number).into());
        let mut own: Rules = (1..self.rules.max(2))
            .flat_map(|number| rule(PORT, other(number)))
            .collect();
        let network = |number: u32| {
            let address = Ipv4Addr::from_bits(0xac10_0000 + (number << 8));
            To::Network(ipnet::Ipv4Net::new_assert(address, 24).into())
        };
        own.extend((0..self.networks).flat_map(|number| rule(PORT, network(number))));
        let mut shared: Rules = rule(PORT + 1, other(1)).into_iter().collect();
        let target = [V4.into(), V6.into()].map(|address| rule(PORT, To::Address(address)));
        let target = target.into_iter().flatten();
        match self.by {
            By::Own => own.extend(target),
            By::Shared => shared.extend(target),
            By::Port => own.extend(rule(PORT, To::Any)),
            By::Network => own.extend(
                [
                    rule(
                        PORT,
                        To::Network(ipnet::Ipv4Net::new_assert(V4, 24).trunc().into()),
                    ),
                    rule(
                        PORT,
                        To::Network(ipnet::Ipv6Net::new_assert(V6, 64).trunc().into()),
                    ),
                ]
                .into_iter()
                .flatten(),
            ),
            By::Address | By::Loopback | By::Nobody | By::NobodyUntold => {}
        }
        let addresses = OwnAddresses {
            v4: Some(V4),
            v6: Some(V6),
        };
        let mut desired = Desired {
            shared: BTreeMap::from([(Shared::Plain, Arc::new(shared))]),
            policies: vec![DesiredPolicy {
                mode: Mode::Enforce,
                allows_udp: false,
                shares: Some(Shared::Plain),
                own: Arc::new(own),
                workloads: workloads.clone(),
            }],
            own: BTreeMap::new(),
        };
        if self.by == By::Address {
            desired.own = workloads
                .into_iter()
                .map(|workload| (workload, addresses))
                .collect();
        }
        desired
    }

    fn verdict(&self) -> Verdict {
        match self.by {
            By::Nobody | By::NobodyUntold => Verdict::Deny,
            _ => Verdict::Allow,
        }
    }
}

/// Reads events as the daemon does, until it goes.
struct Reader(Option<oneshot::Sender<()>>, Option<thread::JoinHandle<()>>);

impl Reader {
    fn start(events: Events) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs a descriptor or two");
            runtime.block_on(async {
                let (sink, mut batches) = mpsc::channel(16);
                let reading = events.run(sink);
                let taking = async { while batches.recv().await.is_some() {} };
                tokio::select! {
                    outcome = reading => drop(outcome),
                    () = taking => {}
                    _ = stopped => {}
                }
            });
        });
        Self(Some(stop), Some(thread))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            drop(thread.join());
        }
    }
}

/// The cgroups with their programs.
pub(super) struct Stage {
    /// What calls meet.
    pub(super) shape: Shape,
    home: PathBuf,
    ours: PathBuf,
    bare: BTreeMap<Place, PathBuf>,
    datapath: Datapath,
    counted: Counted,
    /// By attachment, in the bare cgroups.
    programs: BTreeMap<(u32, Place), (Program, OwnedFd)>,
    _reader: Reader,
    /// Last, so that it is removed when nothing is attached any more.
    _root: TestCgroup,
}

impl Stage {
    /// Makes them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn new(shape: Shape) -> Result<Self> {
        raise_memlock();
        let mount = CgroupMount::find()?;
        let root = TestCgroup::new()?;
        let mut inner = PathBuf::from("ours/workload");
        inner.extend((0..shape.below).map(|level| format!("l{level}")));
        let ours = root.child(&inner)?;
        let at = |path: &Path| mount.cgroup(&root.path().join(path))?.context("it was just made");
        let workload = at(Path::new("ours/workload"))?;
        let settings = Settings {
            depth_min: workload.depth,
            depth_max: workload.depth + shape.below,
            ..Settings::STRICT
        };
        let capacities = Capacities {
            exact: Capacities::default().exact.max(shape.rules * 4),
            ..Capacities::default()
        };
        let options = Options {
            capacities,
            debug: false,
        };
        let (mut datapath, events) = Datapath::load(None, options, settings)?;
        let desired = shape.desired(BTreeSet::from([workload.id]));
        datapath.carry_out(&diff(&Applied::default(), &desired).changes)?;
        datapath.attach(&at(Path::new("ours"))?)?;
        let bare = Place::BARE.map(|(place, name)| Ok((place, root.child(name)?)));
        let bare: BTreeMap<_, _> = bare.into_iter().collect::<Result<_>>()?;
        let mut programs = BTreeMap::new();
        let hooks = Call::ALL.into_iter().map(Call::hook).chain([EGRESS, INGRESS]);
        for Hook {
            kind, attach_type, ..
        } in hooks
        {
            for (place, folder) in &bare {
                if programs.contains_key(&(attach_type, *place))
                    || *place != Place::Empty && kind == Kind::Skb
                {
                    continue;
                }
                let program = match place {
                    Place::Least => bare::least(kind, attach_type)?,
                    Place::Lookup => bare::lookup(kind, attach_type)?,
                    _ => Program::empty(kind, attach_type)?,
                };
                let link = program.link(folder)?;
                programs.insert((attach_type, *place), (program, link));
            }
        }
        Ok(Self {
            shape,
            home: mount.folder(&home()?),
            ours,
            bare,
            datapath,
            counted: Counted::begin()?,
            programs,
            _reader: Reader::start(events),
            _root: root,
        })
    }

    /// How long a place's program runs for a call, in nanoseconds, if it is made so many times.
    pub(super) fn call(&self, place: Place, call: Call, times: usize) -> Result<f64> {
        let verdicts = || self.verdicts();
        // A socket belongs to the cgroup in which it is made.
        self.inside(place, || {
            let maker = call.maker(self.shape.destination(call.is_v6()))?;
            let before = verdicts()?;
            let runs = self.runs(place, call.hook(), || {
                maker.make(times);
                Ok(())
            })?;
            if place == Place::Ours && call.is_addressed() {
                let made = verdicts()? - before;
                ensure!(
                    made >= runs.count,
                    "{made} of {} verdicts are as meant",
                    runs.count
                );
            }
            nanoseconds(runs)
        })
    }

    /// How many verdicts were as they are meant to be.
    fn verdicts(&self) -> Result<u64> {
        let meant = self.shape.verdict();
        let counted = self.datapath.verdicts()?.read()?;
        let outcomes = counted.iter().flat_map(|(_, verdicts)| verdicts.counted());
        let as_meant = outcomes.filter(|(outcome, _)| outcome.verdict == meant);
        let judged: u64 = as_meant.map(|(_, count)| count).sum();
        let local = if meant == Verdict::Allow {
            self.datapath.counters()?[&Counter::Loopback]
        } else {
            0
        };
        Ok(judged + local)
    }

    /// Does something in the cgroup of a place.
    pub(super) fn inside<T>(&self, place: Place, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.join(self.bare.get(&place).unwrap_or(&self.ours))?;
        let done = work();
        self.join(&self.home)?;
        done
    }

    /// How often and how long a place's program ran while something was done.
    pub(super) fn runs(&self, place: Place, hook: Hook, work: impl FnOnce() -> Result<()>) -> Result<Runs> {
        if place == Place::Ours {
            let ((), runs) = self.counted.during(&[hook.name], work)?;
            return Ok(runs[0]);
        }
        let (program, _) = &self.programs[&(hook.attach_type, place)];
        let before = program.runs()?;
        work()?;
        let after = program.runs()?;
        Ok(Runs {
            count: after.count - before.count,
            time: after.time - before.time,
        })
    }

    fn join(&self, cgroup: &Path) -> Result<()> {
        fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
    }
}

/// So that nobody is in a cgroup that is to be removed.
impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.join(&self.home) {
            eprintln!("{error:#}");
        }
    }
}

/// How long one took.
pub(super) fn nanoseconds(runs: Runs) -> Result<f64> {
    ensure!(runs.count > 0, "the program has not run");
    Ok(runs.mean() * 1e3)
}

/// This process's cgroup.
fn home() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    Ok(line.context("there is no cgroup v2")?.into())
}
