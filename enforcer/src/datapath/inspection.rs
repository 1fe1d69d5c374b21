//! Checks whether everything in the kernel is as it was installed, and repairs it if not.
//!
//! Root can detach, replace or unpin programs. Links and maps are held open, so that removing their pins alone does
//! not end enforcement.

use std::{fmt, os::fd::OwnedFd, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{
    Datapath, Pins,
    claim::Claim,
    link::{At, Link, pin_again},
    object::MAPS,
    roots::{Root, Roots},
    sys,
};

/// What was found, and restored if possible.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Every root at which programs were attached.
    pub roots: Vec<RootState>,
    /// What had been changed, before it was restored.
    pub lapses: Vec<Drift>,
}

/// The present state of one root.
#[derive(Clone, Debug)]
pub struct RootState {
    /// Path below the cgroup mount.
    pub path: PathBuf,
    /// The programs that run there according to the kernel, with their identifiers.
    pub programs: Vec<(&'static str, u32)>,
    /// Programs that should run and do not.
    pub absent: Vec<&'static str>,
}

/// A difference from what was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What was wrong, as a sentence without a full stop.
    pub what: String,
    /// Why it could not be restored; None if it was.
    pub stays: Option<String>,
}

/// `connect4 did not run at /a.slice: restored`
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stays {
            None => write!(f, "{}: restored", self.what),
            Some(why) => write!(f, "{}, and it could not be restored: {why}", self.what),
        }
    }
}

/// Pinned maps, held open.
pub(super) struct HeldMaps(Vec<(PathBuf, OwnedFd)>);

impl HeldMaps {
    /// Opens those that `pins` has; none without pins.
    pub(super) fn open(pins: Option<&Pins>) -> Result<Self> {
        let open = |pins: &Pins, name: &str| {
            let path = pins.map(name);
            let fd = sys::open_pin(&path).with_context(|| format!("opening {}", path.display()))?;
            Ok((path, fd))
        };
        let held = pins.map_or(Ok(Vec::new()), |pins| {
            MAPS.iter().map(|name| open(pins, name)).collect::<Result<_>>()
        });
        held.map(Self)
    }
}

impl Datapath {
    /// Checks whether all programs run and all pins exist, and restores those that do not.
    pub fn inspect(&mut self) -> Inspection {
        let mut lapses = Lapses::default();
        if let Some(pins) = &mut self.roots.pins {
            lapses.note(pins.own_again(), || "the folder of the pins was gone".to_owned());
        }
        for (path, map) in &self.held.0 {
            lapses.note(pin_again(map, path), || {
                format!("the pin {} was gone", path.display())
            });
        }
        let roots = self.roots.inspect(&mut lapses);
        Inspection {
            roots,
            lapses: lapses.0,
        }
    }
}

impl Roots {
    fn inspect(&mut self, lapses: &mut Lapses) -> Vec<RootState> {
        for link in self.lsm.iter().flatten() {
            lapses.note_pin(link);
        }
        let Self {
            attached, programs, ..
        } = self;
        let mut states = Vec::new();
        for (path, root) in attached {
            let Root {
                cgroup,
                folder,
                claim,
                links,
            } = root;
            // The source of cgroups reports a cgroup that is gone.
            if !cgroup.is_there() {
                continue;
            }
            let at = At {
                id: cgroup.id,
                folder,
            };
            let mut found = Lapses::default();
            if !claim.is_held(folder) {
                let claimed = Claim::new(folder).map(|anew| *claim = anew);
                found.note(claimed.map(|()| true), || {
                    format!("the claim of this enforcer to {} was gone", path.display())
                });
            }
            let mut state = RootState {
                path: path.clone(),
                programs: Vec::new(),
                absent: Vec::new(),
            };
            for link in links {
                let name = link.program.name;
                if !matches!(link.running(programs, &at), Ok(Some(_))) {
                    let resumed = link.resume(programs, &at).map(|()| true);
                    found.note(resumed, || format!("{name} did not run at {}", path.display()));
                }
                found.note_pin(link);
                match link.running(programs, &at) {
                    Ok(Some(id)) => state.programs.push((name, id)),
                    Ok(None) | Err(_) => state.absent.push(name),
                }
            }
            // It may have gone meanwhile, and its programs with it.
            if cgroup.is_there() {
                lapses.0.append(&mut found.0);
                states.push(state);
            }
        }
        states
    }
}

#[derive(Default)]
struct Lapses(Vec<Drift>);

impl Lapses {
    /// Records what had to be restored.
    fn note(&mut self, outcome: Result<bool>, what: impl FnOnce() -> String) {
        let stays = match outcome {
            Ok(false) => return,
            Ok(true) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        self.0.push(Drift { what: what(), stays });
    }

    fn note_pin(&mut self, link: &Link) {
        let path = || {
            link.pin
                .as_ref()
                .map(|pin| pin.display().to_string())
                .unwrap_or_default()
        };
        self.note(link.pin_again(), || format!("the pin {} was gone", path()));
    }
}
