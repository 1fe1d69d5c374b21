//! The kernel's side: programs, maps, links and pins.
//!
//! ```text
//! program (table) -> object (load) -> maps (carry out changes, read back)
//!              `-> roots (claim, attach) -> pins (bpffs)
//! ring buffer -> events
//! learning: what names are learned by; learned: what was learned
//! ```
//!
//! **Architecture Invariant:** the only home of aya in this crate. Nothing here decides what is
//! allowed; it carries out the changes of a plan one by one and in order.

mod attention;
mod cgroup;
mod claim;
mod cost;
mod counted;
mod decision;
mod events;
mod forgetting;
mod groups;
mod hardening;
mod inheritance;
mod inspection;
mod kinds;
mod layout;
mod learned;
mod learning;
mod link;
mod maps;
mod memlock;
mod object;
mod pinned;
mod pins;
mod place;
mod previous;
mod program;
mod roots;
mod shape;
mod sharing;
mod sightings;
mod sys;
mod take;
mod verdicts;
mod verifier;

use std::{
    collections::BTreeMap, error::Error, fmt, io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration,
};

use anyhow::{Result, anyhow};
use enforcer_common::{CgroupId, Counter, Mode, Settings};
use enforcer_core::plan::{Applied, Change};
use nix::time::{ClockId, clock_gettime};

pub use crate::config::Capacities;
pub use cgroup::{Cgroup, CgroupMount, of_process};
pub use cost::VERIFIER_LIMIT;
pub use decision::{Cause, Decision, Subject};
pub use events::{Batch, Events};
pub use hardening::Hardening;
pub use inheritance::Inherited;
pub use inspection::{Drift, Inspection, RootState};
pub use learned::{Given, LearnedAddress, Life, Listed};
pub use learning::Learning;
pub use memlock::raise_memlock;
pub use object::Features;
pub use pinned::{Generation, Loaded, pinned, programs};
pub use pins::{Pins, Removed, pretend_layout};
pub use program::Purpose;
pub use roots::{Attached, is_attached, is_enforced};
pub use sightings::Sighting;
pub use verdicts::{Costs, VerdictCounts};

use forgetting::Forgetting;
use inspection::HeldMaps;
use learned::Records;
use learning::Learners;
use maps::Maps;
use object::Object;
use previous::Previous;
use roots::{Roots, Unattached};
use sightings::Sightings;

/// How the programs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many entries fit each map.
    pub capacities: Capacities,
    /// The programs write a line for each verdict to their own log.
    pub debug: bool,
}

/// A change as text for messages.
pub(crate) struct Words<'a>(pub(crate) &'a Change);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Change::AddRule(_, rule) => write!(f, "to add the rule {rule}"),
            Change::RemoveRule(_, rule) => write!(f, "to remove the rule {rule}"),
            Change::SetPolicy(id, _) => write!(f, "to write the policy {}", id.0),
            Change::RemovePolicy(id) => write!(f, "to remove the policy {}", id.0),
            Change::Bind(workload, binding) => {
                write!(
                    f,
                    "to bind the cgroup {} to the policy {}",
                    workload.0, binding.policy.0
                )
            }
            Change::Unbind(workload) => write!(f, "to unbind the cgroup {}", workload.0),
        }
    }
}

/// The kernel's error.
fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref() {
            return Some(said);
        }
        cause = error.source();
    }
    None
}

/// The loaded programs with their maps, and where they are attached.
pub struct Datapath {
    maps: Maps,
    learners: Learners,
    records: Records,
    sightings: Sightings,
    forgetting: Forgetting,
    roots: Roots,
    features: Features,
    closures: Vec<Hardening>,
    settings: Settings,
    held: HeldMaps,
    sockets: Arc<OwnedFd>,
    /// The configured mode for unknown workloads.
    unknown: u32,
    /// How many addresses one workload may have learned at once, as configured.
    share: u32,
    /// The most that it ever was.
    widest: u32,
    /// What could not be taken over from an earlier start; None if there was nothing.
    lost: Option<Vec<String>>,
}

impl Datapath {
    /// Loads the programs. With `pins`, the maps of an earlier start are reused and outlive this process; without,
    /// everything ends with it. Nothing is attached yet.
    ///
    /// # Errors
    /// If the kernel refuses a map or a program; the text says what is missing.
    pub fn load(pins: Option<Pins>, options: Options, settings: Settings) -> Result<(Self, Events)> {
        let lost = pins.as_ref().map(inheritance::adopt).transpose()?.flatten();
        let Object {
            programs,
            loaded,
            closures,
            maps,
            learners,
            records,
            sightings,
            sockets,
            events,
            features,
        } = Object::load(pins.as_ref(), options)?;
        // These maps may be in use: workloads have to be looked for at the depths that are set now.
        let previous = maps.settings()?;
        let (unknown, share) = (settings.unknown, settings.learned);
        let widest = sharing::widest(&records, &previous)?.max(share);
        let settings = if previous.depth_max == 0 {
            // What is remembered may be pinned beside settings that are lost: no epoch is the same twice.
            let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
            Settings {
                epoch: u64::try_from(since_boot.as_nanos()).unwrap_or(settings.epoch),
                ..settings
            }
        } else {
            Settings {
                depth_min: previous.depth_min.min(settings.depth_min),
                depth_max: previous.depth_max.max(settings.depth_max),
                // Until all known workloads are bound.
                unknown: previous.unknown,
                // Until the trusted resolvers are known.
                resolver_ports: previous.resolver_ports,
                // An earlier start may have been killed between a change and its end.
                epoch: previous.another_epoch().epoch,
                ..settings
            }
        };
        let mut datapath = Self {
            held: HeldMaps::open(pins.as_ref())?,
            maps,
            learners,
            records,
            sightings,
            forgetting: Forgetting::default(),
            roots: Roots::new(programs, loaded, pins),
            features,
            closures,
            settings,
            sockets: Arc::new(sockets),
            unknown,
            share,
            widest,
            lost,
        };
        datapath.maps.set_settings(&settings)?;
        Ok((datapath, events))
    }

    /// The contents of the maps. To be called before rules are removed from maps that an earlier start has left.
    ///
    /// # Errors
    /// If a map cannot be read, or what is derived of its contents not be written.
    pub fn read_back(&mut self) -> Result<Applied> {
        self.maps.take_stock()
    }

    /// The contents of the maps, and nothing else happens.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn held(&self) -> Result<Applied> {
        self.maps.read_back()
    }

    /// Whether the maps still hold what was written last: these contents, and the settings. What the programs remember
    /// of them is forgotten, whoever has written it.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn holds(&mut self, applied: &Applied) -> Result<bool> {
        let holds_rules = self.maps.settings()? == self.settings && self.maps.hold(applied)?;
        self.set(self.settings.another_epoch())?;
        Ok(holds_rules && self.learners.hold()?)
    }

    /// Adds what `wanted` has to what the programs learn by. To be called before rules that name its hosts are
    /// installed.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn learn_more(&mut self, wanted: &Learning) -> Result<()> {
        self.learners.add(wanted)?;
        self.set(Settings {
            resolver_ports: wanted.ports(),
            ..self.settings
        })
    }

    /// Makes the programs stop learning.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn learn_nothing(&mut self) -> Result<()> {
        self.set(Settings {
            resolver_ports: 0,
            ..self.settings
        })
    }

    /// Makes the programs learn by exactly what `wanted` has. To be called after [`Self::learn_more`], and after
    /// rules that named other hosts are removed.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn learn_only(&mut self, wanted: &Learning) -> Result<()> {
        self.learners.remove(wanted)
    }

    /// Writes the settings again, and, with the next plan, what the programs learn by.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn restore_settings(&mut self) -> Result<()> {
        self.learners.forget();
        self.maps.set_settings(&self.settings)
    }

    /// Carries out the changes in their order, up to the first that fails.
    ///
    /// # Errors
    /// Names the change that failed. [`Self::read_back`] then tells what the maps hold.
    pub fn carry_out(&mut self, changes: &[Change]) -> Result<()> {
        let mut is_bound = false;
        for change in changes {
            // The library's message names its call, which means nothing to the reader.
            self.maps
                .carry_out(change)
                .map_err(|error| match refusal(&error) {
                    Some(why) => anyhow!("the kernel refuses {}: {why}", Words(change)),
                    None => anyhow!(error).context(format!("the kernel refuses {}", Words(change))),
                })?;
            if matches!(change, Change::Bind(..) | Change::Unbind(_)) {
                // The programs remember who is bound to what until the epoch changes: before the next change.
                self.set(self.settings.another_epoch())?;
                is_bound = true;
            }
        }
        if is_bound {
            // A processor that orders its reads loosely may have read an old binding after the new epoch.
            self.set(self.settings.another_epoch())?;
        }
        Ok(())
    }

    /// Carries out the changes for one workload, in these maps and in maps of other capacities that are in use until
    /// the programs are replaced.
    ///
    /// # Errors
    /// If a map of this start cannot be read or written.
    pub fn admit(&mut self, workload: &Cgroup, changes: impl Fn(&Applied) -> Vec<Change>) -> Result<()> {
        let here = changes(&self.read_back()?);
        self.carry_out(&here)?;
        let previous = self.roots.pins.as_ref().map(Previous::all).transpose()?;
        for outcome in previous.into_iter().flatten() {
            // Where unknown workloads are let through, the call proceeds anyway.
            if let Err(error) = outcome.and_then(|mut previous| previous.admit(workload, &changes)) {
                tracing::warn!(
                    "cannot allow the enforcer's own pod in the maps of an earlier start, which are in force until \
                     this one has started: if it then cannot reach the API server, `enforcer detach` removes them: \
                     {error:#}"
                );
            }
        }
        Ok(())
    }

    /// Depths below the cgroup root at which workloads are looked for.
    pub fn depths(&self) -> std::ops::RangeInclusive<u32> {
        self.settings.depth_min..=self.settings.depth_max
    }

    /// Sets the depths at which workloads are looked for. Every bound workload must be at one of them.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn set_depths(&mut self, depths: std::ops::RangeInclusive<u32>) -> Result<()> {
        let now = self.settings;
        if self.depths() == depths {
            return Ok(());
        }
        let (depth_min, depth_max) = depths.into_inner();
        self.set(
            Settings {
                depth_min,
                depth_max,
                ..now
            }
            .another_epoch(),
        )
    }

    /// Refuses unknown workloads, or treats them as configured. They have to be refused while there are known
    /// workloads that are not bound. Where everything is only audited, they are audited.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn refuse_unknown(&mut self, refuse: bool) -> Result<()> {
        let is_looser = self.unknown != Mode::Enforce as u32 && self.unknown != Mode::Audit as u32;
        self.set(Settings {
            unknown: if refuse && is_looser {
                Mode::Enforce as u32
            } else {
                self.unknown
            },
            ..self.settings
        })
    }

    /// Takes over what another configuration says. Depths, and what depends on the workloads, change with the next plan.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn configure(&mut self, settings: Settings) -> Result<()> {
        (self.unknown, self.share) = (settings.unknown, settings.learned);
        let now = self.settings;
        self.set(Settings {
            depth_min: now.depth_min,
            depth_max: now.depth_max,
            unknown: now.unknown,
            learned: now.learned,
            resolver_ports: now.resolver_ports,
            epoch: now.epoch,
            ..settings
        })
    }

    fn set(&mut self, settings: Settings) -> Result<()> {
        if settings != self.settings {
            self.maps.set_settings(&settings)?;
            self.settings = settings;
        }
        Ok(())
    }

    /// Attaches the programs at `root`, or replaces an earlier start's programs by these, and keeps other enforcers
    /// from it. Returns whether enforcement begins there only now.
    ///
    /// # Errors
    /// If another enforcer has it, or the kernel refuses.
    pub fn attach(&mut self, root: &Cgroup) -> Result<Attached> {
        let previous = self.roots.id(&root.path);
        let attached = self.roots.attach(root)?;
        if let Some(previous) = previous.filter(|previous| *previous != root.id) {
            self.maps.remove_root(previous)?;
        }
        self.maps.add_root(root.id)?;
        for Unattached(program, why) in self.roots.attach_lsm() {
            let mut closures = self.closures.iter_mut();
            if let Some(closure) = closures.find(|closure| closure.program == program) {
                closure.absent = Some(why);
            }
        }
        Ok(attached)
    }

    /// Ends the start: from now on, what is pinned outlives the process. Before, a start that fails removes what it
    /// has pinned, but not what an earlier start has left.
    pub fn keep_pins(&mut self) {
        if let Some(pins) = &mut self.roots.pins {
            pins.keep();
        }
    }

    /// Removes the programs from a root that is gone or is no longer a root.
    ///
    /// # Errors
    /// If a pin cannot be removed.
    pub fn detach(&mut self, root: &Path) -> Result<()> {
        if let Some(id) = self.roots.id(root) {
            self.maps.remove_root(id)?;
        }
        self.roots.detach(root)
    }

    /// Removes what an earlier start left and this one does not have: links at other cgroups, other layouts. What it
    /// left at `roots`, where the programs are still to be attached, stays in force.
    ///
    /// # Errors
    /// If a pin or an entry cannot be removed.
    pub fn remove_leftovers(&mut self, roots: &[CgroupId]) -> Result<()> {
        self.maps.keep_roots(&[&self.roots.ids(), roots].concat())?;
        self.roots.remove_leftovers(roots)
    }

    /// The programs' counters, summed over all CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<Counter, u64>> {
        self.maps.counters()
    }

    /// How many events the programs have suppressed, by the workload that exceeded its share; those of all unknown
    /// workloads together belong to [`Share::UNKNOWN`](enforcer_common::Share::UNKNOWN). A count only grows while
    /// its entry exists, and begins anew if the entry was removed and created again.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn suppressed(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.maps.suppressed()
    }

    /// The sockets' storage, whose values are [`enforcer_common::SocketState`].
    pub fn sockets(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.sockets)
    }

    /// Instructions that the verifier processed for each program; None on kernels that do not report it (before
    /// 5.16).
    ///
    /// # Errors
    /// If the kernel does not describe a program.
    pub fn verified_instructions(&self) -> Result<BTreeMap<String, Option<u32>>> {
        cost::verified_instructions(self.roots.programs())
    }

    /// What the programs are told beside rules.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Which ways around the rules are closed, and which are not and why. The BPF LSM ones are known for certain
    /// once a root is attached.
    pub fn closures(&self) -> &[Hardening] {
        &self.closures
    }

    /// The features of this kernel.
    pub fn features(&self) -> Features {
        self.features
    }
}
