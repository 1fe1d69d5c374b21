//! Where the programs are attached.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{ProgramInfo, loaded_programs},
};
use enforcer_common::CgroupId;

use super::{
    Cgroup, Pins,
    claim::Claim,
    link::Link,
    pins,
    program::{PROGRAMS, Program, Purpose},
    sys::{self, Which},
};

pub(super) struct Roots {
    pub(super) programs: Ebpf,
    loaded: Vec<Program>,
    pub(super) pins: Option<Pins>,
    pub(super) attached: BTreeMap<PathBuf, Root>,
    /// The programs of BPF LSM, attached once for all roots; None until the first root is attached.
    pub(super) lsm: Option<Vec<Link>>,
}

/// A program that could be loaded but not attached, and why.
pub(super) struct Unattached(pub(super) &'static str, pub(super) String);

/// Since when the programs run at a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// From now on: processes there may have sockets that were never judged.
    Anew,
    /// Since an earlier start, whose programs were replaced.
    TakenOver,
}

/// One cgroup at which the programs run.
pub(super) struct Root {
    pub(super) cgroup: Cgroup,
    /// Its folder, open. The cgroup can still be removed.
    pub(super) folder: File,
    /// Keeps other enforcers away.
    pub(super) claim: Claim,
    pub(super) links: Vec<Link>,
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
        if let Some(attached) = self.attached.get(&root.path) {
            if attached.cgroup.id == root.id {
                return Ok(Attached::TakenOver);
            }
            self.detach(&root.path)?;
        }
        let folder = root.open()?;
        let claim = Claim::new(&folder)?;
        let pins = self
            .pins
            .as_mut()
            .map(|pins| pins.make_links(root.id))
            .transpose()?;
        let (mut links, mut attached) = (Vec::new(), Attached::TakenOver);
        for program in self.cgroup_programs() {
            let pin = pins.as_ref().map(|pins| pins.join(program.name));
            let (link, since) = self.attach_one(program, &folder, pin)?;
            // A closure may come with a newer kernel or enforcer, when verdicts were already enforced.
            if since == Attached::Anew && program.purpose == Purpose::Verdicts {
                attached = since;
            }
            links.push(link);
        }
        let cgroup = root.clone();
        let attached_root = Root {
            cgroup,
            folder,
            claim,
            links,
        };
        self.attached.insert(root.path.clone(), attached_root);
        Ok(attached)
    }

    /// Replaces the program that an earlier start has left at `pin`, or attaches it if there is none.
    fn attach_one(
        &mut self,
        program: Program,
        cgroup: &File,
        pin: Option<PathBuf>,
    ) -> Result<(Link, Attached)> {
        let Some(path) = &pin else {
            let fd = program.attach(&mut self.programs, cgroup)?;
            return Ok((Link { program, fd, pin }, Attached::Anew));
        };
        let (fd, since) = match sys::open_pin(path) {
            Ok(fd) => {
                sys::update_link(&fd, program.fd(&mut self.programs)?)
                    .with_context(|| format!("replacing the program {}", program.name))?;
                if let Some(pins) = &mut self.pins {
                    pins.note_replaced();
                }
                (fd, Attached::TakenOver)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fd = program.attach(&mut self.programs, cgroup)?;
                sys::pin(&fd, path).with_context(|| format!("pinning {}", path.display()))?;
                if let Some(pins) = &mut self.pins {
                    pins.note_made(path);
                }
                (fd, Attached::Anew)
            }
            Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
        };
        Ok((Link { program, fd, pin }, since))
    }

    fn cgroup_programs(&self) -> Vec<Program> {
        let programs = self.loaded.iter().filter(|program| !program.is_lsm());
        programs.copied().collect()
    }

    /// Attaches the programs of BPF LSM, beside those of an earlier start, which are removed with the other
    /// leftovers. To be called once a root is in the maps; does nothing the second time.
    pub(super) fn attach_lsm(&mut self) -> Vec<Unattached> {
        if self.lsm.is_some() {
            return Vec::new();
        }
        let (mut lsm, mut unattached) = (Vec::new(), Vec::new());
        let programs: Vec<_> = self
            .loaded
            .iter()
            .filter(|program| program.is_lsm())
            .copied()
            .collect();
        for program in programs {
            match self.attach_everywhere(program) {
                Ok(link) => lsm.push(link),
                Err(error) => unattached.push(Unattached(program.name, format!("{error:#}"))),
            }
        }
        self.lsm = Some(lsm);
        unattached
    }

    fn attach_everywhere(&mut self, program: Program) -> Result<Link> {
        let fd = program.attach_everywhere(&mut self.programs)?;
        let pin = match &mut self.pins {
            None => None,
            Some(pins) => {
                let path = pins.new_lsm_link(program.name)?;
                sys::pin(&fd, &path).with_context(|| format!("pinning {}", path.display()))?;
                pins.note_made(&path);
                Some(path)
            }
        };
        Ok(Link { program, fd, pin })
    }

    /// The cgroup at which the programs run for a root.
    pub(super) fn id(&self, root: &Path) -> Option<CgroupId> {
        self.attached.get(root).map(|root| root.cgroup.id)
    }

    /// Every cgroup at which the programs run.
    pub(super) fn ids(&self) -> Vec<CgroupId> {
        self.attached.values().map(|root| root.cgroup.id).collect()
    }

    pub(super) fn detach(&mut self, root: &Path) -> Result<()> {
        if let Some(Root { cgroup, .. }) = self.attached.remove(root)
            && let Some(pins) = &self.pins
        {
            pins::remove(&pins.links(cgroup.id))?;
        }
        Ok(())
    }

    /// Keeps links at `others`, where the programs are still to be attached.
    pub(super) fn remove_leftovers(&self, others: &[CgroupId]) -> Result<()> {
        let programs: Vec<_> = self
            .cgroup_programs()
            .iter()
            .map(|program| program.name)
            .collect();
        let lsm: Vec<_> = self
            .lsm
            .iter()
            .flatten()
            .filter_map(|link| link.pin.clone())
            .collect();
        self.pins.as_ref().map_or(Ok(()), |pins| {
            pins.remove_leftovers(&[&self.ids(), others].concat(), &programs, &lsm)
        })
    }
}

/// Whether programs of any enforcer run at a cgroup.
///
/// # Errors
/// If the kernel does not report it.
pub fn is_enforced(cgroup: &Path) -> Result<bool> {
    has_programs(cgroup, Which::Effective)
}

/// Whether programs of any enforcer are attached to this very cgroup.
///
/// # Errors
/// If the kernel does not report it.
pub fn is_attached(cgroup: &Path) -> Result<bool> {
    has_programs(cgroup, Which::Attached)
}

fn has_programs(cgroup: &Path, which: Which) -> Result<bool> {
    let folder = File::open(cgroup).with_context(|| format!("opening the cgroup {}", cgroup.display()))?;
    let running = sys::programs(&folder, BPF_CGROUP_INET4_CONNECT, which)
        .context("asking the kernel for the programs at a cgroup")?;
    let ours = |program: ProgramInfo| {
        running.contains(&program.id()) && program.name_as_str() == Some(PROGRAMS[0].name)
    };
    Ok(!running.is_empty() && loaded_programs().filter_map(Result::ok).any(ours))
}

/// Number of the attach type of [`PROGRAMS`]' first (`enum bpf_attach_type`).
const BPF_CGROUP_INET4_CONNECT: u32 = 10;
