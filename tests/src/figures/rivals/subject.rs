//! Who is compared.

use std::{
    path::{Path, PathBuf},
    process::Child,
};

use anyhow::{Context as _, Result, ensure};
use figure::Series;

use super::{
    ENVOY, NONE, OURS,
    cpus::{self, Cpu},
    envoy,
    exchange::{Kind, is_refused},
    filters, queue,
    servers::{self, STRANGER},
};
use crate::{mesh, servers::networks::Networks, stream::join};

/// The same as without enforcement: what the measurement itself makes up.
pub(super) const AGAIN: &str = "none again";

/// Programs that let everything through at once, as many as ours at each hook: no enforcer at these hooks can be faster.
pub(super) const EMPTY: &str = "empty programs";

/// Rules of iptables: one after the other is looked at.
const CHAIN: u32 = 1_000;

/// Where sockets are born.
pub(super) struct Cgroups {
    /// Of `free`, below the root.
    pub(super) path: PathBuf,
    /// Not enforced by us.
    pub(super) free: PathBuf,
    /// With empty programs.
    pub(super) empty: PathBuf,
    /// Enforced with one rule.
    pub(super) one: PathBuf,
    /// Enforced with many.
    pub(super) many: PathBuf,
    /// So many.
    pub(super) rules: u32,
}

/// One of those who are compared.
pub(super) struct Subject<'a> {
    pub(super) name: &'static str,
    rules: Option<u32>,
    cgroup: &'a Path,
    link: Link<'a>,
    /// Who takes part beside this process.
    pub(super) others: Vec<Child>,
}

/// The cable by which a subject sends.
enum Link<'a> {
    Common(&'a Networks),
    Own(Networks),
}

/// All of them, and who could not be had.
pub(super) struct Subjects<'a> {
    pub(super) all: Vec<Subject<'a>>,
    pub(super) skipped: Vec<String>,
    /// On which they are measured.
    pub(super) cpus: Vec<Cpu>,
}

impl<'a> Subject<'a> {
    pub(super) fn networks(&self) -> &Networks {
        match &self.link {
            Link::Common(networks) => networks,
            Link::Own(networks) => networks,
        }
    }

    /// Whether its cable is its own.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.link, Link::Own(_))
    }

    /// Whether it has anything to do with datagrams: Istio redirects none.
    pub(super) fn does_udp(&self) -> bool {
        self.name != ENVOY
    }

    /// Whether it has anything to do with such exchanges.
    pub(super) fn does(&self, kind: Kind) -> bool {
        kind == Kind::Tcp || self.does_udp()
    }

    /// From here on this process's sockets are the subject's, and so are those of this thread's network.
    pub(super) fn enter(&self) -> Result<()> {
        join(self.cgroup)?;
        self.networks().enter()
    }

    /// Keeps who takes part on these processors.
    pub(super) fn keep(&self, cpus: &[Cpu]) -> Result<()> {
        self.others
            .iter()
            .try_for_each(|other| cpus::pin_process(other, cpus))
    }

    pub(super) fn series(&self, case: &str, samples: Vec<f64>) -> Series {
        let series = Series::new(case, self.name, samples);
        match self.rules {
            Some(rules) => series.at("rules", rules.into()),
            None => series,
        }
    }

    /// That it refuses who may not be called, if it is one that refuses.
    fn check(&self) -> Result<()> {
        self.enter()?;
        let is_one = ![NONE, AGAIN, EMPTY].contains(&self.name);
        ensure!(
            is_refused(STRANGER) == is_one,
            "{} does not enforce what it should",
            self.name
        );
        Ok(())
    }
}

impl<'a> Subjects<'a> {
    /// Starts all that can be had. This thread and this process are left anywhere.
    pub(super) fn gather(common: &'a Networks, cgroups: &'a Cgroups) -> Result<Self> {
        let cpus = cpus::all()?;
        join(&cgroups.free)?;
        servers::address(common, cpus[0])?;
        let shared = |name, rules, cgroup| Subject {
            name,
            rules,
            cgroup,
            link: Link::Common(common),
            others: Vec::new(),
        };
        let all = vec![
            shared(NONE, None, cgroups.free.as_path()),
            shared(AGAIN, None, &cgroups.free),
            shared(EMPTY, None, &cgroups.empty),
            shared(OURS, Some(1), &cgroups.one),
            shared(OURS, Some(cgroups.rules), &cgroups.many),
        ];
        let mut subjects = Self {
            all,
            skipped: Vec::new(),
            cpus,
        };
        subjects.gather_rivals(cgroups)?;
        for subject in &subjects.all {
            subject.check()?;
        }
        join(&cgroups.free)?;
        Ok(subjects)
    }

    fn gather_rivals(&mut self, cgroups: &'a Cgroups) -> Result<()> {
        let Cgroups { path, rules, .. } = cgroups;
        let workers = self.cpus.len();
        self.add(("nftables", Some(*rules)), cgroups, || {
            filters::nftables(path, *rules).map(|()| None)
        })?;
        self.add(("iptables", Some(CHAIN)), cgroups, || {
            filters::iptables(path, CHAIN).map(|()| None)
        })?;
        self.add((ENVOY, None), cgroups, || {
            let binary = mesh::envoy_path().context("it is not there: run `cargo xtask envoy`")?;
            envoy::start(&binary, workers).map(Some)
        })?;
        self.add(("NFQUEUE", Some(*rules)), cgroups, || {
            queue::start(path, *rules).map(Some)
        })
    }

    fn add(
        &mut self,
        (name, rules): (&'static str, Option<u32>),
        cgroups: &'a Cgroups,
        start: impl FnOnce() -> Result<Option<Child>>,
    ) -> Result<()> {
        let networks = Networks::make()?;
        servers::address(&networks, self.cpus[0])?;
        match start() {
            Ok(process) => self.all.push(Subject {
                name,
                rules,
                cgroup: &cgroups.free,
                link: Link::Own(networks),
                others: process.into_iter().collect(),
            }),
            Err(error) => self.skipped.push(format!("{name}: {error:#}")),
        }
        Ok(())
    }
}
