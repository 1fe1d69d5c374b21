//! The node's own file systems, in the place of the machine's: what is running and variable is empty, and what is
//! written goes with the node.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::place::{ON_NODE, Place};
use crate::kubernetes::folder::Folder;

/// Settings of the whole kernel that the kubelet insists on, with the values that satisfy it. It finds them so, and the
/// machine keeps its own.
const INSISTED: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts all of it. Processes that run already keep the names of the machine's files that they have open.
pub(super) fn arrange(place: &Place, folder: &Folder) -> Result<()> {
    running(place, folder).context("/run")?;
    system().context("/sys")?;
    variable().context("/var")?;
    resolver().context("the resolver")?;
    settings().context("/proc/sys")?;
    // What the kubelet mounts for a pod, containerd and the pod have to see.
    let shared = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, "/", None::<&str>, shared, None::<&str>).context("sharing mounts")
}

/// A new `/run` with the node's folder in it. It is filled elsewhere first, as what goes in may lie in the old one.
fn running(place: &Place, folder: &Folder) -> Result<()> {
    let files = place.files();
    let new = files.join("run");
    new_file_system("tmpfs", &new, Some("mode=755"))?;
    for made in ["kubernetes", "lock", "scratch/upper", "scratch/work", "sysctl"] {
        fs::create_dir_all(new.join(made))?;
    }
    let inside = new.join("kubernetes");
    bind(&files, &inside)?;
    bind(folder.path(), &inside.join("programs"))?;
    bind(&place.dir().join("log"), &inside.join("log"))?;
    // This very program, also where it is built anew meanwhile.
    bind(Path::new("/proc/self/exe"), &inside.join("xtask"))?;
    mount(Some(&new), "/run", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("moving it")
}

/// The system as the node's namespaces show it. Of the machine's cgroups not even a hidden mount may be left, as
/// programs look for them in the list of mounts.
fn system() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let cgroups = mounts.lines().rev().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        ["cgroup", "cgroup2"].contains(&kind).then_some(path)
    });
    for path in cgroups.chain(["/sys"]) {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("detaching {path}")),
        }
    }
    new_file_system("sysfs", Path::new("/sys"), None)?;
    new_file_system("cgroup2", Path::new("/sys/fs/cgroup"), None)?;
    new_file_system("bpf", Path::new("/sys/fs/bpf"), None)
}

/// The machine's `/var`, with what is written to it kept in memory; the kubelet's part is in the node's folder.
fn variable() -> Result<()> {
    let layers = "lowerdir=/var,upperdir=/run/scratch/upper,workdir=/run/scratch/work";
    new_file_system("overlay", Path::new("/var"), Some(layers))?;
    for (part, target) in [("kubelet", "/var/lib/kubelet"), ("log", "/var/log")] {
        fs::create_dir_all(target).with_context(|| format!("creating {target}"))?;
        bind(&Path::new(ON_NODE).join(part), Path::new(target))?;
    }
    Ok(())
}

/// The node asks the network namespace `world`.
fn resolver() -> Result<()> {
    let mut file = std::path::PathBuf::from("/etc/resolv.conf");
    if let Ok(target) = fs::read_link(&file) {
        file = Path::new("/etc").join(target);
    }
    // What a link leads to in `/run` is not there any more.
    if !file.exists() {
        let folder = file.parent().context("it lies in a folder")?;
        fs::create_dir_all(folder).and_then(|()| File::create(&file).map(drop))?;
    }
    bind(&Path::new(ON_NODE).join("resolv.conf"), &file)
}

/// Only what belongs to the network namespace can be written.
fn settings() -> Result<()> {
    for (folder, also) in [
        ("/proc/sys", MsFlags::MS_RDONLY),
        ("/proc/sys/net", MsFlags::empty()),
    ] {
        let folder = Path::new(folder);
        bind(folder, folder)?;
        let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | also;
        mount(None::<&str>, folder, None::<&str>, again, None::<&str>)
            .with_context(|| format!("protecting {}", folder.display()))?;
    }
    for (name, value) in INSISTED {
        let file = Path::new("/run/sysctl").join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        bind(&file, &Path::new("/proc/sys").join(name))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mounting {} on {}", from.display(), to.display()))
}

fn new_file_system(kind: &str, at: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mounting {kind} on {}", at.display()))
}
