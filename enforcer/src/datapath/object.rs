//! Loads the embedded object.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapError, RingBuf},
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_program_supported},
};
use aya_log::EbpfLogger;
use enforcer_common::{PolicyId, Scope, maps as name};

use super::{
    Events, Hardening, Options, Pins,
    attention::Attention,
    hardening, layout,
    learned::Records,
    learning::Learners,
    maps::Maps,
    program::{PROGRAMS, Program, Purpose},
    shape,
    sightings::Sightings,
    verifier,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ENFORCER_BPF"));

/// Every map that is pinned in bpffs. The rest (constants, the programs' own log) belongs to one load.
pub(super) const MAPS: [&str; 27] = [
    name::WORKLOADS,
    name::POLICIES,
    name::KINDS,
    name::NEAREST,
    name::EXACT,
    name::PREFIXES,
    name::PORTS,
    name::ROOTS,
    name::SETTINGS,
    name::COUNTERS,
    name::EVENTS,
    name::READER,
    name::SOCKETS,
    name::PEERS,
    name::ASKED,
    name::SHARES,
    name::HOSTS,
    name::PATTERNS,
    name::RESOLVERS,
    name::PROTECTED,
    name::QUESTIONS,
    name::LEARNED,
    name::SLOTS,
    name::LEARNERS,
    name::NAMED,
    name::SEEN,
    name::VERDICTS,
];

/// What the running kernel supports beyond the oldest supported one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// A refused call can return another errno than EPERM (5.18).
    pub set_retval: bool,
    /// Programs may read the kernel's memory, which `lockdown=confidentiality` forbids.
    pub probe: bool,
    /// Programs for socket options can find the workload, and so refuse; those of 5.10 cannot.
    pub refuses_options: bool,
    /// Programs can read the current task by its type, and need not ask for its cgroup (5.11 to 6.1, by their kind).
    pub task: bool,
    /// Programs can have loops (`bpf_loop`, 5.17), without which no names are learned.
    pub loops: bool,
}

/// The object in the kernel.
pub(super) struct Object {
    pub(super) programs: Ebpf,
    /// Those of [`PROGRAMS`] that the kernel took.
    pub(super) loaded: Vec<Program>,
    pub(super) closures: Vec<Hardening>,
    pub(super) maps: Maps,
    pub(super) learners: Learners,
    pub(super) records: Records,
    pub(super) sightings: Sightings,
    pub(super) sockets: OwnedFd,
    pub(super) events: Events,
    pub(super) features: Features,
}

impl Object {
    pub(super) fn load(pins: Option<&Pins>, options: Options) -> Result<Self> {
        let features = Features::probe()?;
        pins.map_or(Ok(()), shape::check)?;
        // A log is requested only once a program was refused: on 5.10 the load fails if the buffer is too small for
        // it.
        let loaded = match load(pins, options, features, VerifierLogLevel::DISABLE) {
            Err(Refusal::Program(_)) => load(pins, options, features, VerifierLogLevel::default()),
            Ok(loaded) if loaded.has_more_to_say() => {
                load(pins, options, features, VerifierLogLevel::default()).or(Ok(loaded))
            }
            loaded => loaded,
        };
        let Loaded {
            object: mut programs,
            programs: loaded,
            refused,
        } = loaded.map_err(Refusal::into_error)?;
        let closures = PROGRAMS
            .iter()
            .filter_map(|program| {
                let absent = refused.iter().find(|refused| refused.program == program.name);
                // One that this kernel does not need is neither.
                let is_there = absent.is_some() || loaded.contains(program);
                Hardening::new(program, absent.map(|refused| refused.why.clone())).filter(|_| is_there)
            })
            .collect();
        let events = programs
            .take_map(name::EVENTS)
            .context("the object has no map EVENTS")?;
        let ring = RingBuf::try_from(events).context("opening the map EVENTS")?;
        let attention = Attention::take(&mut programs)?;
        let log = EbpfLogger::init(&mut programs).context("opening the programs' log")?;
        let maps = Maps::take(&mut programs)?;
        let learners = Learners::take(&mut programs)?;
        let records = Records::take(&mut programs)?;
        let sightings = Sightings::take(&mut programs)?;
        let sockets = programs
            .map(name::SOCKETS)
            .context("the object has no map SOCKETS")?;
        let sockets = sockets_fd(sockets).context("opening the map SOCKETS")?;
        Ok(Self {
            programs,
            loaded,
            closures,
            maps,
            learners,
            records,
            sightings,
            sockets,
            events: Events::new(ring, attention, log),
            features,
        })
    }
}

fn sockets_fd(map: &Map) -> Result<OwnedFd> {
    match map {
        Map::SkStorage(map) => Ok(map.fd().as_fd().try_clone_to_owned()?),
        _ => Err(anyhow!("it is of another kind")),
    }
}

impl Features {
    fn probe() -> Result<Self> {
        let supported = is_program_supported(ProgramType::CgroupSockAddr).context(
            "asking the kernel for programs at connect: it may be locked down, or bpf(2) not permitted",
        )?;
        if !supported {
            return Err(anyhow!(
                "this kernel has no cgroup BPF (CONFIG_CGROUP_BPF); 5.10 or newer is needed"
            ));
        }
        let set_retval = is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval)
            .context("asking the kernel for bpf_set_retval")?;
        let probe = is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_probe_read_kernel)
            .context("asking the kernel for bpf_probe_read_kernel")?;
        let refuses_options = is_helper_supported(
            ProgramType::CgroupSockopt,
            BpfHelper::BPF_FUNC_get_current_ancestor_cgroup_id,
        )
        .context("asking the kernel for bpf_get_current_ancestor_cgroup_id")?;
        let mut task = true;
        for kind in [
            ProgramType::CgroupSockAddr,
            ProgramType::CgroupSock,
            ProgramType::CgroupSockopt,
        ] {
            task &= is_helper_supported(kind, BpfHelper::BPF_FUNC_get_current_task_btf)
                .context("asking the kernel for bpf_get_current_task_btf")?;
        }
        let loops = is_helper_supported(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_loop)
            .context("asking the kernel for bpf_loop")?;
        Ok(Self {
            set_retval,
            probe,
            refuses_options,
            task,
            loops,
        })
    }
}

/// What the kernel accepted of the object.
struct Loaded {
    object: Ebpf,
    programs: Vec<Program>,
    refused: Vec<Refused>,
}

/// A closure that the kernel did not accept.
struct Refused {
    program: &'static str,
    why: String,
    /// The verifier refused it, and can say why.
    by_verifier: bool,
}

impl Loaded {
    fn has_more_to_say(&self) -> bool {
        self.refused.iter().any(|refused| refused.by_verifier)
    }
}

/// What the kernel refused.
enum Refusal {
    Object(EbpfError),
    Program(anyhow::Error),
}

impl Refusal {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Object(EbpfError::MapError(MapError::CreateError { name, io_error })) => {
                let advice = match io_error.raw_os_error() {
                    Some(libc::ENOMEM) => ": lower `capacities`, or give it more memory",
                    Some(libc::EPERM) => ": it may be locked down, or bpf(2) not permitted",
                    _ => "",
                };
                anyhow!("the kernel does not make the map {name} ({io_error}){advice}")
            }
            Self::Object(error) => anyhow!(error).context("creating the maps"),
            Self::Program(error) => error,
        }
    }
}

fn load(
    pins: Option<&Pins>,
    options: Options,
    features: Features,
    log: VerifierLogLevel,
) -> Result<Loaded, Refusal> {
    let Options { capacities, debug } = options;
    let layout = layout::read();
    let set_retval = u8::from(features.set_retval);
    let probe = u8::from(features.probe);
    let task = u8::from(features.task && layout.is_ok());
    let only_marks = u8::from(!features.refuses_options);
    // The number of aya-log's level `Debug`; 0 is below every level, so that the verifier drops the log's code.
    let program_log = if debug { 4_u8 } else { 0 };
    let own_network = own_network();
    let mut loader = EbpfLoader::new();
    for (name, place) in layout.iter().flat_map(|layout| &layout.places) {
        loader.override_global(name, place, true);
    }
    loader
        .verifier_log_level(log)
        .override_global("HAS_SET_RETVAL", &set_retval, true)
        .override_global("HAS_PROBE", &probe, true)
        .override_global("HAS_TASK", &task, true)
        .override_global("ONLY_MARKS_OPTIONS", &only_marks, true)
        .override_global("OWN_NETWORK", &own_network, true)
        .override_global("AYA_LOG_LEVEL", &program_log, true)
        .map_max_entries(name::WORKLOADS, capacities.workloads)
        .map_max_entries(name::POLICIES, PolicyId::indices(capacities.policies))
        .map_max_entries(name::KINDS, Scope::indices(capacities.policies))
        .map_max_entries(name::EXACT, capacities.exact)
        .map_max_entries(name::PREFIXES, capacities.prefixes)
        .map_max_entries(name::PORTS, capacities.ports)
        .map_max_entries(name::HOSTS, capacities.hosts)
        // New hosts are added before old ones are removed.
        .map_max_entries(name::PATTERNS, capacities.hosts.saturating_mul(2))
        .map_max_entries(name::VERDICTS, name::verdicts_capacity(capacities.workloads))
        .map_max_entries(
            name::SHARES,
            capacities.workloads.saturating_mul(5).max(name::SHARES_CAPACITY),
        )
        .map_max_entries(name::ROOTS, capacities.workloads.max(name::ROOTS_CAPACITY));
    if let Some(pins) = pins {
        for map in MAPS {
            loader.map_pin_path(map, pins.map(map));
        }
    }
    let mut object = loader.load(OBJECT).map_err(Refusal::Object)?;
    // Only BPF LSM needs the kernel's types.
    let btf = Btf::from_sys_fs();
    let has_sendpage = layout.as_ref().is_ok_and(|layout| layout.has_sendpage);
    let receives_by_four = layout.as_ref().is_ok_and(|layout| layout.receives_by_four);
    let is_needless = |program: &Program| {
        program.is_for_sendpage() && !has_sendpage
            || program.is_for_four() && !receives_by_four
            || program.is_for_blind_options() && features.refuses_options
    };
    let obstacle = |program: &Program| {
        if program.is_for_names() {
            let unread = layout.as_ref().err().map(|error| format!("{error:#}"));
            let untyped = unread.map(|error| format!("the kernel does not describe its types: {error}"));
            let short = (!features.loops).then(|| "the kernel has no bpf_loop (5.17)".to_owned());
            let locked = (!features.probe).then(|| "programs may not read the kernel's memory".to_owned());
            short.or(locked).or(untyped)
        } else if program.is_lsm() {
            let untyped = btf.as_ref().err().map(ToString::to_string);
            let untyped = untyped.or(layout.as_ref().err().map(|error| format!("{error:#}")));
            hardening::lsm_obstacle()
                .or(untyped.map(|error| format!("the kernel does not describe its types: {error}")))
        } else {
            None
        }
    };
    let (mut wanted, mut programs, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for program in PROGRAMS.into_iter().filter(|program| !is_needless(program)) {
        match obstacle(&program) {
            None => wanted.push(program),
            Some(why) => refused.push(Refused {
                program: program.name,
                why,
                by_verifier: false,
            }),
        }
    }
    for (program, outcome) in verifier::load(&mut object, &wanted, btf.as_ref().ok()) {
        match outcome {
            Ok(()) => programs.push(program),
            Err(error) if program.purpose != Purpose::Verdicts => {
                let by_verifier = is_by_verifier(&error);
                let why = format!("{:#}", refusal(program.name, error));
                refused.push(Refused {
                    program: program.name,
                    why,
                    by_verifier,
                });
            }
            Err(error) => return Err(Refusal::Program(refusal(program.name, error))),
        }
    }
    Ok(Loaded {
        object,
        programs,
        refused,
    })
}

/// The inode number of this thread's network namespace; 0, which no namespace has, if it cannot be read.
fn own_network() -> u32 {
    let number = fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino());
    number
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// EPERM means that the whole program type is refused, before the verifier runs.
fn is_by_verifier(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() != Some(libc::EPERM))
}

fn refusal(name: &str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => last_words(name, &io_error, &verifier_log.to_string()),
        other => anyhow!(other).context(format!("loading the program {name}")),
    }
}

/// The verifier's last lines instead of its whole log.
fn last_words(name: &str, error: &io::Error, log: &str) -> anyhow::Error {
    const LAST_LINES: usize = 5;
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("; ");
    if last.is_empty() {
        anyhow!("the kernel refused the program {name}: {error}")
    } else {
        anyhow!("the kernel's verifier refused the program {name} ({error}); its last words: {last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_has_types_and_lines_and_nothing_for_debuggers() {
        let has = |name: &[u8]| OBJECT.windows(name.len()).any(|bytes| bytes == name);
        assert!(has(b".BTF\0") && has(b".BTF.ext\0") && has(b".rel.BTF.ext\0"));
        assert!(!has(b".debug_"));
    }

    #[test]
    fn refusal_ends_with_the_verifiers_last_words() {
        let log: Vec<_> = (0..100).map(|line| format!("{line}: (b7) r0 = 0")).collect();
        let log = format!(
            "{}\nR1 invalid mem access 'scalar'\nprocessed 9 insns\n\n",
            log.join("\n")
        );
        let text = last_words("connect4", &io::Error::from_raw_os_error(libc::EACCES), &log).to_string();
        assert!(
            text.starts_with("the kernel's verifier refused the program connect4 (Permission denied"),
            "{text}"
        );
        assert!(
            text.ends_with("R1 invalid mem access 'scalar'; processed 9 insns"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn refusal_without_a_log_is_one_line() {
        let text = last_words("connect4", &io::Error::from_raw_os_error(libc::EPERM), "").to_string();
        assert_eq!(
            text,
            "the kernel refused the program connect4: Operation not permitted (os error 1)"
        );
    }
}
