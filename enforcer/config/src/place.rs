//! Where a workload's processes are: a unit, a slice, a user, or a cgroup by its path.
//!
//! Programs stay at a cgroup only while it exists. systemd keeps the cgroups of slices, and makes those of services and
//! scopes anew at each start, so that each workload comes to a slice or to a cgroup that is not systemd's.

use nix::unistd::User;

use super::{
    cgroup::CgroupPath,
    error::{ErrorKind, Findings},
    raw::{At, PLACES, RawWorkload},
    unit_name::{ServiceName, SliceName, folder, is_made_anew},
};

/// How the configuration names a workload's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its path, which is not a slice's.
    Cgroup,
    /// By its slice, or by the path of that.
    Slice(SliceName),
    /// By a service, which gets a slice of its own.
    Unit(ServiceName),
    /// By a user.
    User(u32),
}

impl Place {
    /// The slice that it is; None if systemd does not know it.
    pub fn slice(&self) -> Option<SliceName> {
        match self {
            Self::Cgroup => None,
            Self::Slice(slice) => Some(slice.clone()),
            Self::Unit(unit) => Some(unit.slice()),
            Self::User(uid) => Some(SliceName::of_user(*uid)),
        }
    }

    /// The key in messages.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Cgroup | Self::Slice(_) => "workloads.cgroup",
            Self::Unit(_) => "workloads.unit",
            Self::User(_) => "workloads.user",
        }
    }
}

/// A place, and what follows from it.
pub(super) struct Placed {
    pub(super) place: Place,
    pub(super) cgroup: CgroupPath,
    /// The workload's name, if it is not given another.
    pub(super) name: String,
    pub(super) line: Option<u64>,
}

/// The place of a workload; None if an error was found.
pub(super) fn of_workload(raw: &RawWorkload, line: Option<u64>, findings: &mut Findings) -> Option<Placed> {
    let given = [
        raw.unit.is_some(),
        raw.slice.is_some(),
        raw.user.is_some(),
        raw.cgroup.is_some(),
    ];
    let count = given.into_iter().filter(|is_given| *is_given).count();
    if count != 1 {
        let are_several = count > 1;
        findings.add(
            line,
            ErrorKind::OneOf {
                keys: &PLACES,
                are_several,
            },
        );
        return None;
    }
    let (place, cgroup, name, at) = if let Some(unit) = &raw.unit {
        let name = findings.read("workloads.unit", unit, |name| ServiceName::parse(name))?;
        let default = name.prefix().trim_end_matches('@').to_owned();
        let cgroup = findings.keep("workloads.unit", unit.line, name.slice().path())?;
        (Place::Unit(name), cgroup, default, unit.line)
    } else if let Some(slice) = &raw.slice {
        let name = findings.read("workloads.slice", slice, |name| SliceName::parse(name))?;
        let cgroup = findings.keep("workloads.slice", slice.line, name.path())?;
        warn_of_machine(&name, slice.line, findings);
        let default = name.prefix().to_owned();
        (Place::Slice(name), cgroup, default, slice.line)
    } else if let Some(user) = &raw.user {
        let (uid, default) = findings.read("workloads.user", user, |user| found(&user.to_string()))?;
        let slice = SliceName::of_user(uid);
        let cgroup = findings.keep("workloads.user", user.line, slice.path())?;
        warn_of_user(uid, user.line, findings);
        (Place::User(uid), cgroup, default, user.line)
    } else {
        let path = raw.cgroup.as_ref()?;
        let (cgroup, place) = of_path("workloads.cgroup", path, findings)?;
        let default = cgroup.workload_name().to_owned();
        (place, cgroup, default, path.line)
    };
    Some(Placed {
        place,
        cgroup,
        name,
        line: at.or(line),
    })
}

/// The cgroup that a path names, and what it is.
pub(super) fn of_path(
    key: &'static str,
    raw: &At<String>,
    findings: &mut Findings,
) -> Option<(CgroupPath, Place)> {
    let cgroup = findings.read(key, raw, |path| CgroupPath::parse(path))?;
    findings.keep(key, raw.line, stays(&cgroup))?;
    let last = cgroup.as_str().rsplit('/').next().unwrap_or_default();
    let Ok(slice) = SliceName::parse(last.strip_prefix('_').unwrap_or(last)) else {
        return Some((cgroup, Place::Cgroup));
    };
    match slice.path() {
        Ok(path) if path == cgroup => {
            warn_of_machine(&slice, raw.line, findings);
            Some((cgroup, Place::Slice(slice)))
        }
        Ok(path) => {
            findings.warn(
                raw.line,
                format!("{key}: systemd never makes {cgroup}: its {slice} is {path}; write that path, or `slice: {slice}`", slice = slice.as_str()),
            );
            Some((cgroup, Place::Cgroup))
        }
        Err(_) => Some((cgroup, Place::Cgroup)),
    }
}

/// Refuses paths that systemd makes anew: the programs would be gone with the next start of a unit.
fn stays(cgroup: &CgroupPath) -> Result<(), String> {
    let parts: Vec<_> = cgroup.as_str().split('/').skip(1).collect();
    let Some(at) = parts.iter().position(|part| is_made_anew(part)) else {
        return Ok(());
    };
    let uid = parts[..at].iter().find_map(|part| {
        let number = part.strip_prefix("user-")?.strip_suffix(".slice")?;
        number.parse::<u32>().ok()
    });
    let above = parts[..at].last().filter(|part| part.ends_with(".slice"));
    let unit = parts[at]
        .strip_prefix('_')
        .filter(|unit| folder(unit) == parts[at]);
    let unit = unit.unwrap_or(parts[at]);
    let instead = match (uid, above) {
        (Some(uid), _) => format!("write `user: {uid}`"),
        (None, _) if ServiceName::parse(unit).is_ok() => format!("write `unit: {unit}`"),
        (None, Some(slice)) => format!("write `slice: {slice}`, or another slice that it is put into"),
        (None, None) => "name a slice in which it is, by `slice: …`".to_owned(),
    };
    Err(format!(
        "systemd makes {:?} anew at each start, so that nothing would enforce it from its first instruction, or while the \
         enforcer is stopped; {instead}",
        cgroup.as_str()
    ))
}

/// The number of a user, and the name as it was given.
pub(super) fn found(name: &str) -> Result<(u32, String), String> {
    let name = name.to_owned();
    if let Ok(uid) = name.parse::<u32>() {
        // (uid_t) -1, in 32 bits and in 16.
        return match uid {
            u32::MAX | 0xffff => Err(format!("{uid} is no user's number")),
            uid => Ok((uid, name)),
        };
    }
    match User::from_name(&name) {
        Ok(Some(user)) => Ok((user.uid.as_raw(), name)),
        Ok(None) => Err(format!(
            "there is no user {name:?} in /etc/passwd; write the number of one that is elsewhere (`id -u {name}`)"
        )),
        Err(error) => Err(format!("{name:?} cannot be looked up: {error}")),
    }
}

/// The slices in which the machine's own services are.
fn warn_of_machine(slice: &SliceName, line: Option<u64>, findings: &mut Findings) {
    let what = match slice.as_str() {
        "system.slice" => {
            "the machine's own services, among them the resolver (systemd-resolved), the time service \
             (systemd-timesyncd, chrony), login by a directory (sssd) and updates: each is cut off from what is not \
             registered; begin with `mode: audit`, name services by `unit:` instead, or take out those that are not \
             meant by `unit: systemd-resolved.service` with `mode: off`"
        }
        "user.slice" => {
            "the sessions of all users, root's among them: each is cut off from what is not registered; name users by \
             `user:` instead"
        }
        _ => return,
    };
    findings.warn(line, format!("{} holds {what}", slice.as_str()));
}

/// First number of users who log in, where nothing else is configured.
const FIRST_USER: u32 = 1000;

fn warn_of_user(uid: u32, line: Option<u64>, findings: &mut Findings) {
    let what = match uid {
        0 => "is the administrator: all logins are cut off that could mend this machine",
        1..FIRST_USER => {
            "is a system user: its sessions are meant, and services that run as this user (`User=`) are not among them; \
             name those by `unit:`"
        }
        _ => return,
    };
    findings.warn(line, format!("user {uid} {what}"));
}
