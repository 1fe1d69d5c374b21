//! `enforcer install-boot`: puts this binary and its unit on the machine, from the overlay `boot`, and takes them away.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};

use super::{InstallBoot, out};
use crate::state;

/// The unit, which names the folder of the binary on the machine.
const UNIT: &str = include_str!("../../../deploy/systemd/enforcer-boot.service");
const NAME: &str = "enforcer-boot.service";

/// Who wants it, as `systemctl enable` writes it.
const WANTED_BY: &str = "multi-user.target.wants";

/// The binary, and the folder of what is kept.
const PROGRAM: &str = "enforcer";
const KEPT: &str = "boot";

pub(super) fn run(arguments: &InstallBoot) -> Result<ExitCode> {
    if arguments.remove {
        remove(arguments)?;
        out::line("what was installed for boots is removed")?;
    } else {
        install(arguments)?;
        out::line(format_args!("{NAME} is installed, for the next boot"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn install(arguments: &InstallBoot) -> Result<()> {
    let InstallBoot { programs, units, .. } = arguments;
    ensure!(
        units.is_dir(),
        "{} is not there: systemd does not start this machine",
        units.display()
    );
    state::own(programs)?;
    let binary = fs::read("/proc/self/exe").context("reading this program")?;
    replace(&programs.join(PROGRAM), &binary, 0o755)?;
    // The unit may write nowhere else, so that it cannot make the folder itself.
    let kept = programs.join(KEPT);
    state::own(&kept)?;
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("keeping {} to root", kept.display()))?;
    let unit = units.join(NAME);
    match fs::symlink_metadata(&unit) {
        Ok(there) if there.is_symlink() => {
            return out::line(format_args!("{NAME} is masked on this machine, and stays so"));
        }
        // Without its link, somebody has disabled it.
        Ok(_) => {}
        Err(_) => enable(units)?,
    }
    replace(&unit, UNIT.as_bytes(), 0o644)
}

/// Before the unit is there: one that is there and not enabled is so on purpose.
fn enable(units: &Path) -> Result<()> {
    let wants = units.join(WANTED_BY);
    fs::create_dir_all(&wants).with_context(|| format!("creating {}", wants.display()))?;
    let link = wants.join(NAME);
    match symlink(Path::new("..").join(NAME), &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.with_context(|| format!("creating {}", link.display())),
    }
}

fn remove(arguments: &InstallBoot) -> Result<()> {
    let InstallBoot { programs, units, .. } = arguments;
    for file in [
        units.join(WANTED_BY).join(NAME),
        units.join(NAME),
        programs.join(PROGRAM),
    ] {
        gone(fs::remove_file(&file), &file)?;
    }
    let kept = programs.join(KEPT);
    gone(fs::remove_dir_all(&kept), &kept)
}

fn gone(removed: io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

/// Replaces a file at once, if it differs: systemd may be about to read it.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let new = path.with_extension("new");
    fs::write(&new, content)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::File::open(&new)?.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (programs, units) = (folder.path().join("opt/enforcer"), folder.path().join("units"));
        let arguments = |remove| InstallBoot {
            programs: programs.clone(),
            units: units.clone(),
            remove,
        };
        assert!(install(&arguments(false)).is_err(), "there is no systemd");
        fs::create_dir_all(units.join(WANTED_BY)).unwrap();
        fs::write(units.join("other.service"), "").unwrap();
        for _ in 0..2 {
            install(&arguments(false)).unwrap();
        }
        let there = fs::metadata(programs.join(PROGRAM)).unwrap();
        assert_eq!(there.permissions().mode() & 0o777, 0o755);
        let linked = fs::read_to_string(units.join(WANTED_BY).join(NAME)).unwrap();
        assert!(linked.contains("ExecStart=/opt/enforcer/enforcer boot --from /opt/enforcer/boot"));
        let kept = fs::metadata(programs.join(KEPT)).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o700);
        for _ in 0..2 {
            remove(&arguments(true)).unwrap();
        }
        assert_eq!(fs::read_dir(&programs).unwrap().count(), 0);
        assert_eq!(fs::read_dir(units.join(WANTED_BY)).unwrap().count(), 0);
        assert!(units.join("other.service").exists() && !units.join(NAME).exists());
    }

    #[test]
    fn unit_that_somebody_has_disabled_or_masked_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let units = folder.path().join("units");
        let arguments = InstallBoot {
            programs: folder.path().join("opt"),
            units: units.clone(),
            remove: false,
        };
        fs::create_dir(&units).unwrap();
        install(&arguments).unwrap();
        let link = units.join(WANTED_BY).join(NAME);
        fs::remove_file(&link).unwrap();
        install(&arguments).unwrap();
        assert!(fs::symlink_metadata(&link).is_err(), "it was disabled");
        fs::remove_file(units.join(NAME)).unwrap();
        symlink("/dev/null", units.join(NAME)).unwrap();
        install(&arguments).unwrap();
        assert_eq!(fs::read_link(units.join(NAME)).unwrap(), Path::new("/dev/null"));
    }
}
