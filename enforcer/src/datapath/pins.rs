//! What is pinned in bpffs.
//!
//! ```text
//! <bpffs>/enforcer/                  for root alone
//!   lock/                            locked by the enforcer that runs
//!   links/<cgroup id>/<program>      what keeps the programs attached
//!   links/lsm/<program>-<number>     the same for those of BPF LSM, which know no cgroup
//!   <layout and capacities>/<map>    what the programs look into
//!   <layout and capacities>/<group>-<version>/  of which version those maps are that the next layout takes over
//! ```
//!
//! A start with another layout or other capacities fills maps of its own before it replaces the old programs by its
//! own, link by link; only then are the old maps removed.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, maps::LAYOUT};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        statvfs::FsFlags,
    },
};

use super::{
    Capacities,
    groups::{self, Version},
    place::{self, is_own},
};
use crate::ending;

pub(super) use super::place::create;

/// Created for root alone, so that no other user can ever have opened it: everybody who can open a folder can lock
/// it.
const LOCK: &str = "lock";
/// See the module.
pub(super) const LINKS: &str = "links";
/// See the module.
pub(super) const LSM: &str = "lsm";

/// A place in bpffs that belongs to this process.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    generation: String,
    versions: Vec<Version>,
    lock: Flock<File>,
    /// What this start has created; None once the start is over.
    made: Option<Made>,
}

/// What a failing start removes again.
#[derive(Debug, Default)]
struct Made {
    /// Folders of links and single links that did not exist before.
    links: Vec<PathBuf>,
    /// The folder of the maps did not exist before.
    has_made_maps: bool,
    /// Links of an earlier start run this start's programs now, which use these maps.
    has_replaced: bool,
}

/// The layouts of another version, for tests of what becomes of an upgrade: the maps are the same, in other places.
static PRETENDED: OnceLock<(u32, Vec<Version>)> = OnceLock::new();

/// The layout of the maps, and the versions of those that the next layout takes over.
fn layouts() -> (u32, Vec<Version>) {
    PRETENDED
        .get()
        .cloned()
        .unwrap_or_else(|| (LAYOUT, groups::versions()))
}

/// Has this process pin its maps as one of a version with so many layouts more would, which takes over what has the same
/// version and, for `is_strange`, has another version of all of it. For tests; it has no effect once anything is pinned.
pub fn pretend_layout(more: u32, is_strange: bool) {
    let mut versions = groups::versions();
    for (_, version) in &mut versions {
        *version += u32::from(is_strange);
    }
    PRETENDED.set((LAYOUT + more, versions)).ok();
}

/// What [`Pins::remove_all`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Links, each of one program at one cgroup.
    pub links: usize,
    /// Maps.
    pub maps: usize,
}

impl Pins {
    /// Takes the enforcer's folder below the bpffs at `bpffs`.
    ///
    /// # Errors
    /// If it is not a writable bpffs that belongs to root, or another enforcer has it.
    pub fn open(bpffs: &Path, capacities: &Capacities) -> Result<Self> {
        is_bpffs(bpffs)?;
        let folder = bpffs.join("enforcer");
        place::own(&folder)?;
        let lock = lock(&folder)?;
        let Capacities {
            workloads,
            policies,
            exact,
            prefixes,
            ports,
            hosts,
        } = capacities;
        let (layout, versions) = layouts();
        let generation = format!("v{layout}-{workloads}-{policies}-{exact}-{prefixes}-{ports}-{hosts}");
        let maps = folder.join(&generation);
        let made = Made {
            has_made_maps: !is_own(&maps)?,
            ..Made::default()
        };
        create(&maps)?;
        groups::note(&maps, &versions)?;
        create(&folder.join(LINKS))?;
        Ok(Self {
            folder,
            generation,
            versions,
            lock,
            made: Some(made),
        })
    }

    /// Ends the start: from now on what is pinned stays, however the process ends.
    pub(super) fn keep(&mut self) {
        self.made = None;
    }

    /// Creates the folder of the links at one cgroup.
    pub(super) fn make_links(&mut self, cgroup: CgroupId) -> Result<PathBuf> {
        let folder = self.links(cgroup);
        let is_new = !is_own(&folder)?;
        create(&folder)?;
        if is_new {
            self.note_made(&folder);
        }
        Ok(folder)
    }

    /// Records a link, or a folder of links, that did not exist before.
    pub(super) fn note_made(&mut self, path: &Path) {
        if let Some(made) = &mut self.made {
            made.links.push(path.to_owned());
        }
    }

    /// Records that a link of an earlier start runs a program of this one.
    pub(super) fn note_replaced(&mut self) {
        if let Some(made) = &mut self.made {
            made.has_replaced = true;
        }
    }

    /// Removes what a failed start has created. What was in force before stays in force.
    fn abandon(&self, made: &Made) -> Result<()> {
        for links in &made.links {
            remove(links)?;
        }
        if made.has_made_maps && !made.has_replaced {
            remove(&self.folder.join(&self.generation))?;
        }
        let has_links = !entries(&self.folder.join(LINKS))?.is_empty();
        if has_links || !self.others()?.is_empty() || self.folder.join(&self.generation).exists() {
            return Ok(());
        }
        remove(&self.folder).map(drop)
    }

    /// Creates the folders again if they are gone, and takes them for this process; returns whether that was
    /// necessary.
    pub(super) fn own_again(&mut self) -> Result<bool> {
        let owned = self
            .lock
            .metadata()
            .context("looking at the folder of the pins")?;
        let is_ours = |there: fs::Metadata| (there.dev(), there.ino()) == (owned.dev(), owned.ino());
        if fs::metadata(self.folder.join(LOCK)).is_ok_and(is_ours) {
            // Another process may have removed its contents.
            self.create_folders()?;
            return Ok(false);
        }
        is_bpffs(
            self.folder
                .parent()
                .context("the folder of the pins lies in bpffs")?,
        )?;
        place::own(&self.folder)?;
        self.lock = lock(&self.folder)?;
        self.create_folders()?;
        Ok(true)
    }

    fn create_folders(&self) -> Result<()> {
        let maps = self.folder.join(&self.generation);
        create(&maps)?;
        groups::note(&maps, &self.versions)?;
        create(&self.folder.join(LINKS))
    }

    /// The version of a group of maps.
    pub(super) fn version(&self, group: &str) -> u32 {
        let mut versions = self.versions.iter();
        let found = versions.find(|(name, _)| *name == group);
        found.map_or(0, |(_, version)| *version)
    }

    /// The path of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(&self.generation).join(name)
    }

    /// Folders of maps of other layouts or capacities.
    pub(super) fn others(&self) -> Result<Vec<PathBuf>> {
        let mut folders = entries(&self.folder)?;
        let kept = [LINKS, LOCK, &self.generation];
        folders.retain(|folder| !kept.iter().any(|name| folder.ends_with(name)));
        Ok(folders)
    }

    /// The path of the links at one cgroup.
    pub(super) fn links(&self, cgroup: CgroupId) -> PathBuf {
        self.folder.join(LINKS).join(cgroup.0.to_string())
    }

    /// An unused path for a link of BPF LSM: such links cannot be given another program, so that the new link is
    /// pinned beside the old one. A name in bpffs contains no dots (`bpf_lookup`).
    pub(super) fn new_lsm_link(&self, program: &str) -> Result<PathBuf> {
        let folder = self.folder.join(LINKS).join(LSM);
        create(&folder)?;
        let taken = entries(&folder)?;
        (0_u32..)
            .map(|number| folder.join(format!("{program}-{number}")))
            .find(|path| !taken.contains(path))
            .context("a folder holds fewer than 2^32 pins")
    }

    /// Removes links at cgroups other than `kept`, links at `kept` of programs other than `programs`, links of BPF
    /// LSM other than `lsm`, and maps of other generations.
    pub(super) fn remove_leftovers(
        &self,
        kept: &[CgroupId],
        programs: &[&str],
        lsm: &[PathBuf],
    ) -> Result<()> {
        let mut kept: Vec<_> = kept.iter().map(|cgroup| self.links(*cgroup)).collect();
        for folder in &kept {
            for link in entries(folder)? {
                if !programs.iter().any(|name| link.ends_with(name)) {
                    remove(&link)?;
                }
            }
        }
        let security = self.folder.join(LINKS).join(LSM);
        for link in entries(&security)? {
            if !lsm.contains(&link) {
                remove(&link)?;
            }
        }
        kept.push(security);
        for links in entries(&self.folder.join(LINKS))? {
            if !kept.contains(&links) {
                remove(&links)?;
            }
        }
        self.others()?
            .iter()
            .try_for_each(|other| remove(other).map(drop))
    }

    /// How many links an enforcer, running or not, has pinned below the bpffs at `bpffs`.
    ///
    /// # Errors
    /// If a folder exists and cannot be read.
    pub fn links_below(bpffs: &Path) -> Result<usize> {
        let folder = bpffs.join("enforcer");
        if !is_own(&folder)? {
            return Ok(0);
        }
        let folders = entries(&folder.join(LINKS))?;
        folders.iter().map(|folder| Ok(entries(folder)?.len())).sum()
    }

    /// Removes everything of ours below the bpffs at `bpffs`, so that nothing is enforced any more.
    ///
    /// # Errors
    /// If an enforcer runs, or the bpffs is read-only, or a pin cannot be removed.
    pub fn remove_all(bpffs: &Path) -> Result<Removed> {
        let folder = bpffs.join("enforcer");
        // A folder that another user has created is not read.
        if !is_own(&folder)? {
            return Ok(Removed::default());
        }
        is_bpffs(bpffs)?;
        place::own(&folder)?;
        let _lock = lock(&folder)?;
        let mut removed = Removed::default();
        for links in entries(&folder.join(LINKS))? {
            removed.links += remove(&links)?;
        }
        for sub in entries(&folder)? {
            removed.maps += remove(&sub)?;
        }
        fs::remove_dir(&folder).with_context(|| format!("removing {}", folder.display()))?;
        Ok(removed)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Some(made) = self.made.take()
            && let Err(error) = self.abandon(&made)
        {
            tracing::warn!(
                "{}: this start has failed, and what it had pinned there stays ({error:#}): `enforcer detach` removes \
                 it together with what an earlier start has left in force",
                self.folder.display()
            );
        }
    }
}

fn is_bpffs(path: &Path) -> Result<()> {
    match statfs(path) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => {
            if stat.flags().contains(FsFlags::ST_RDONLY) {
                bail!(
                    "the bpffs at {0} is read-only: `mount -o remount,rw {0}` changes it, or run with --ephemeral",
                    path.display()
                );
            }
            Ok(())
        }
        Ok(_) => bail!(
            "no bpffs is mounted at {0}: `mount -t bpf bpf {0}` adds it, or run with --ephemeral",
            path.display()
        ),
        Err(error) => bail!("{}: {}", path.display(), error.desc()),
    }
}

/// Locks the folder of the pins for as long as the lock lives.
fn lock(folder: &Path) -> Result<Flock<File>> {
    let path = folder.join(LOCK);
    create(&path)?;
    let open = || File::open(&path).with_context(|| format!("opening {}", path.display()));
    // An enforcer that was killed a moment ago may still hold it.
    let looked_at = open()?;
    ending::wait(|| Ok(holder(&looked_at)))?;
    let lock = Flock::lock(open()?, FlockArg::LockExclusiveNonblock).map_err(|(file, error)| {
        if error == nix::errno::Errno::EWOULDBLOCK {
            let holder = holder(&file)
                .map(|pid| format!(" (pid {pid})"))
                .unwrap_or_default();
            anyhow::anyhow!(
                "another enforcer{holder} has {}: end that one first, or give this one a `bpffs` of its own",
                folder.display()
            )
        } else {
            anyhow::anyhow!("locking {}: {}", path.display(), error.desc())
        }
    })?;
    // A detaching process may have removed it between the two calls.
    let is_there =
        fs::metadata(&path).is_ok_and(|there| lock.metadata().is_ok_and(|own| own.ino() == there.ino()));
    if !is_there {
        bail!("{} was removed just now: start again", folder.display());
    }
    Ok(lock)
}

/// The process that holds the lock according to `/proc/locks`.
fn holder(file: &File) -> Option<u32> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let held = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&inode);
        held.then(|| fields.get(4)?.parse().ok()).flatten()
    })
}

/// What is in a folder; nothing if it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("reading {}", folder.display());
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| Ok(entry.with_context(context)?.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(context),
    }
}

/// Removes a pin, or a folder with everything in it, and returns how many pins there were. Other versions may have a
/// different layout of pins.
pub(super) fn remove(path: &Path) -> Result<usize> {
    let context = || format!("removing {}", path.display());
    let is_folder = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(context),
    };
    if !is_folder {
        fs::remove_file(path).with_context(context)?;
        return Ok(1);
    }
    let mut pins = 0;
    for entry in entries(path)? {
        pins += remove(&entry)?;
    }
    fs::remove_dir(path).with_context(context)?;
    Ok(pins)
}
