//! Cgroups and network namespaces that a test makes, and that go with it.

pub mod bpf;
mod folder;
mod network;
pub mod program;
pub mod runs;
mod socket;
pub mod translator;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use enforcer::datapath::CgroupMount;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

pub use folder::Bpffs;
pub(crate) use folder::{folder, left};
pub use network::{
    End, add_address, add_gateway, add_neighbour, add_route, all_addresses_local, device_up, lay_cable,
    loopback_up,
};

pub use socket::disconnect;

/// A cgroup below the root, removed with everything below it.
pub struct TestCgroup {
    path: PathBuf,
    folder: PathBuf,
}

/// Of names; the process that has made what bears one stands behind it.
const PREFIX: &str = "enforcer-test-";

impl TestCgroup {
    /// Makes one. Those of test processes that were killed are removed first.
    ///
    /// # Errors
    /// If there is no cgroup v2, or this process may not make cgroups.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mount = CgroupMount::find()?;
        folder::clear(mount.path(), PREFIX, remove)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("/").join(format!("{}{number}", folder::own(PREFIX)));
        let folder = mount.folder(&path);
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self { path, folder })
    }

    /// As configurations write it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a cgroup below it, with those in between.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn child(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.folder.join(path);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            eprintln!("{} is still there: {error}", self.folder.display());
        }
    }
}

/// Removes a cgroup and those below it. Its processes must have been ended; the kernel may take a moment to let go
/// of the last of them.
///
/// # Errors
/// If a process is still in one of them after a while.
pub fn remove(folder: &Path) -> io::Result<()> {
    let children = match fs::read_dir(folder) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove(&child.path())?;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
}

/// Runs `work` in a thread with namespaces of its own: a network in which every address is local, so that what
/// nobody listens on refuses at once and nothing leaves, and mounts that end with it.
///
/// # Errors
/// What `work` returns; or if this process may not make namespaces.
pub fn in_own_network<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("making namespaces")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .context("keeping mounts to itself")?;
            loopback_up()?;
            all_addresses_local()?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A command that ends with the thread that starts it, also if that is killed.
pub fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Fails where the kernel tests cannot run: a skipped test would look like a passed one.
///
/// # Errors
/// If this process is not root.
pub fn need_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("kernel tests need root: run `cargo xtask test`");
    }
    Ok(())
}
