//! Where the programs are attached.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{ProgramInfo, loaded_programs},
};
use enforcer_common::CgroupId;
use nix::fcntl::Flock;

use super::{
    Cgroup, Pins, pins,
    program::{PROGRAMS, Program},
    sys,
};

pub(super) struct Roots {
    programs: Ebpf,
    loaded: Vec<Program>,
    pins: Option<Pins>,
    attached: BTreeMap<PathBuf, Root>,
    /// None until the first root is attached.
    lsm: Option<Security>,
}

/// The programs of BPF LSM, attached once for all roots.
#[derive(Default)]
struct Security {
    pins: Vec<PathBuf>,
    /// Without pins the programs run for as long as these live.
    _links: Vec<OwnedFd>,
}

/// A program that could be loaded but not attached, and why.
pub(super) struct Unattached(pub(super) &'static str, pub(super) String);

/// Since when the programs decide at a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// From now on: processes there may have sockets that nobody has judged.
    Anew,
    /// From an earlier start on, whose programs were replaced.
    TakenOver,
}

/// One cgroup at which the programs run.
struct Root {
    id: CgroupId,
    /// Keeps other enforcers away; the cgroup can be removed all the same.
    _lock: Flock<File>,
    /// Without pins the programs run for as long as these live.
    _links: Vec<OwnedFd>,
}

impl Roots {
    pub(super) fn new(programs: Ebpf, loaded: Vec<Program>, pins: Option<Pins>) -> Self {
        Self {
            programs,
            loaded,
            pins,
            attached: BTreeMap::new(),
            lsm: None,
        }
    }

    pub(super) fn programs(&self) -> &Ebpf {
        &self.programs
    }

    pub(super) fn attach(&mut self, root: &Cgroup) -> Result<Attached> {
        let context = || format!("attaching to {}", root.path.display());
        if let Some(attached) = self.attached.get(&root.path) {
            if attached.id == root.id {
                return Ok(Attached::TakenOver);
            }
            self.detach(&root.path)?;
        }
        let lock = pins::lock(&root.folder)?;
        let cgroup = root.open()?;
        let (links, attached) = match self.pins.as_ref().map(|pins| pins.links(root.id)) {
            None => {
                let links = self
                    .cgroup_programs()
                    .iter()
                    .map(|program| program.attach(&mut self.programs, &cgroup))
                    .collect::<Result<_>>()
                    .with_context(context)?;
                (links, Attached::Anew)
            }
            Some(folder) => {
                let attached = self.attach_pinned(&folder, &cgroup).with_context(context)?;
                (Vec::new(), attached)
            }
        };
        self.attached.insert(
            root.path.clone(),
            Root {
                id: root.id,
                _lock: lock,
                _links: links,
            },
        );
        Ok(attached)
    }

    /// Puts each program in the place of the one that an earlier start left, or attaches it where there is none.
    fn attach_pinned(&mut self, folder: &Path, cgroup: &File) -> Result<Attached> {
        let mut attached = Attached::TakenOver;
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("creating {}", folder.display()));
            }
            _ => {}
        }
        for program in self.cgroup_programs() {
            let name = program.name;
            let path = folder.join(name);
            match sys::open_pin(&path) {
                Ok(link) => {
                    let program = program.fd(&mut self.programs)?;
                    sys::update_link(&link, program)
                        .with_context(|| format!("replacing the program {name}"))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let link = program.attach(&mut self.programs, cgroup)?;
                    sys::pin(&link, &path).with_context(|| format!("pinning {}", path.display()))?;
                    // A closure may come with a newer kernel or enforcer; verdicts were made before.
                    if program.closes.is_none() {
                        attached = Attached::Anew;
                    }
                }
                Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
            }
        }
        Ok(attached)
    }

    fn cgroup_programs(&self) -> Vec<Program> {
        let programs = self.loaded.iter().filter(|program| !program.is_lsm());
        programs.copied().collect()
    }

    /// Attaches the programs of BPF LSM, beside those of an earlier start, which go with the other leftovers. To be
    /// called once a root is known to them; does nothing the second time.
    pub(super) fn attach_lsm(&mut self) -> Vec<Unattached> {
        if self.lsm.is_some() {
            return Vec::new();
        }
        let (mut lsm, mut unattached) = (Security::default(), Vec::new());
        let programs: Vec<_> = self
            .loaded
            .iter()
            .filter(|program| program.is_lsm())
            .copied()
            .collect();
        for program in programs {
            if let Err(error) = self.attach_everywhere(&program, &mut lsm) {
                unattached.push(Unattached(program.name, format!("{error:#}")));
            }
        }
        self.lsm = Some(lsm);
        unattached
    }

    fn attach_everywhere(&mut self, program: &Program, lsm: &mut Security) -> Result<()> {
        let link = program.attach_everywhere(&mut self.programs)?;
        match &self.pins {
            None => lsm._links.push(link),
            Some(pins) => {
                let path = pins.new_lsm_link(program.name)?;
                sys::pin(&link, &path).with_context(|| format!("pinning {}", path.display()))?;
                lsm.pins.push(path);
            }
        }
        Ok(())
    }

    /// The cgroup at which the programs run for a root.
    pub(super) fn id(&self, root: &Path) -> Option<CgroupId> {
        self.attached.get(root).map(|root| root.id)
    }

    /// Every cgroup at which the programs run.
    pub(super) fn ids(&self) -> Vec<CgroupId> {
        self.attached.values().map(|root| root.id).collect()
    }

    pub(super) fn detach(&mut self, root: &Path) -> Result<()> {
        if let Some(Root { id, .. }) = self.attached.remove(root)
            && let Some(pins) = &self.pins
        {
            pins::remove(&pins.links(id))?;
        }
        Ok(())
    }

    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let programs: Vec<_> = self
            .cgroup_programs()
            .iter()
            .map(|program| program.name)
            .collect();
        let lsm = self.lsm.as_ref().map_or(&[][..], |lsm| &lsm.pins);
        self.pins
            .as_ref()
            .map_or(Ok(()), |pins| pins.remove_leftovers(&self.ids(), &programs, lsm))
    }
}

/// Whether programs of an enforcer run at a cgroup, whichever enforcer's.
///
/// # Errors
/// If the kernel does not say.
pub fn is_enforced(cgroup: &Path) -> Result<bool> {
    let folder = File::open(cgroup).with_context(|| format!("opening the cgroup {}", cgroup.display()))?;
    let attach_type = BPF_CGROUP_INET4_CONNECT;
    let running =
        sys::effective_programs(&folder, attach_type).context("asking for the programs at a cgroup")?;
    let ours = |program: ProgramInfo| {
        running.contains(&program.id()) && program.name_as_str() == Some(PROGRAMS[0].name)
    };
    Ok(!running.is_empty() && loaded_programs().filter_map(Result::ok).any(ours))
}

/// Number of the attach type of [`PROGRAMS`]' first (`enum bpf_attach_type`).
const BPF_CGROUP_INET4_CONNECT: u32 = 10;
