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
    programs::{CgroupAttachMode, ProgramInfo, links::FdLink, loaded_programs},
};
use enforcer_common::CgroupId;
use nix::fcntl::Flock;

use super::{
    Cgroup, Pins,
    object::{PROGRAMS, program},
    pins, sys,
};

pub(super) struct Roots {
    programs: Ebpf,
    pins: Option<Pins>,
    attached: BTreeMap<PathBuf, Root>,
}

/// One cgroup at which the programs run.
struct Root {
    id: CgroupId,
    /// Keeps other enforcers away; the cgroup can be removed all the same.
    _lock: Flock<File>,
    /// Without pins the programs run for as long as these live.
    _links: Vec<FdLink>,
}

impl Roots {
    pub(super) fn new(programs: Ebpf, pins: Option<Pins>) -> Self {
        Self {
            programs,
            pins,
            attached: BTreeMap::new(),
        }
    }

    pub(super) fn programs(&self) -> &Ebpf {
        &self.programs
    }

    pub(super) fn attach(&mut self, root: &Cgroup) -> Result<()> {
        let context = || format!("attaching to {}", root.path.display());
        if let Some(attached) = self.attached.get(&root.path) {
            if attached.id == root.id {
                return Ok(());
            }
            self.detach(&root.path)?;
        }
        let lock = pins::lock(&root.folder)?;
        let cgroup = root.open()?;
        let links = match self.pins.as_ref().map(|pins| pins.links(root.id)) {
            None => PROGRAMS
                .iter()
                .map(|name| self.attach_one(name, &cgroup))
                .collect::<Result<_>>()
                .with_context(context)?,
            Some(folder) => {
                self.attach_pinned(&folder, &cgroup).with_context(context)?;
                Vec::new()
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
        Ok(())
    }

    /// Puts each program in the place of the one that an earlier start left, or attaches it where there is none.
    fn attach_pinned(&mut self, folder: &Path, cgroup: &File) -> Result<()> {
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("creating {}", folder.display()));
            }
            _ => {}
        }
        for name in PROGRAMS {
            let path = folder.join(name);
            match sys::open_pin(&path) {
                Ok(link) => {
                    let program = program(&mut self.programs, name)?
                        .fd()
                        .context("the program is not loaded")?;
                    sys::update_link(&link, program)
                        .with_context(|| format!("replacing the program {name}"))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let link = self.attach_one(name, cgroup)?;
                    link.pin(&path)
                        .with_context(|| format!("pinning {}", path.display()))?;
                }
                Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
            }
        }
        Ok(())
    }

    fn attach_one(&mut self, name: &str, cgroup: &File) -> Result<FdLink> {
        let program = program(&mut self.programs, name)?;
        // Links of cgroup programs always stack, and the kernel refuses the flag that would say so.
        let link = program
            .attach(cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .with_context(|| format!("attaching the program {name}"))?;
        FdLink::try_from(link)
            .with_context(|| format!("the kernel has no link for {name} (5.7 or newer has)"))
    }

    pub(super) fn detach(&mut self, root: &Path) -> Result<()> {
        if let Some(Root { id, .. }) = self.attached.remove(root)
            && let Some(pins) = &self.pins
        {
            pins::remove_folder(&pins.links(id))?;
        }
        Ok(())
    }

    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let kept: Vec<_> = self.attached.values().map(|root| root.id).collect();
        self.pins
            .as_ref()
            .map_or(Ok(()), |pins| pins.remove_leftovers(&kept))
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
    let ours =
        |program: ProgramInfo| running.contains(&program.id()) && program.name_as_str() == Some(PROGRAMS[0]);
    Ok(!running.is_empty() && loaded_programs().filter_map(Result::ok).any(ours))
}

/// Number of the attach type of [`PROGRAMS`]' first (`enum bpf_attach_type`).
const BPF_CGROUP_INET4_CONNECT: u32 = 10;
