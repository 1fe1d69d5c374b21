//! Names of systemd's units, and where systemd puts their cgroups.
//!
//! `a-b.slice -> /a.slice/a-b.slice`, as `unit_name_is_valid`, `cg_slice_to_path` and `cg_escape` of systemd have it.

use super::cgroup::CgroupPath;

/// Longest name of a unit.
const LENGTH: usize = 255;

/// The slice in which each unit that is a workload has a slice of its own.
const OWN: &str = "enforcer";

/// The name of a slice other than the root slice `-.slice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceName(String);

/// The name of a service, with its suffix: `app.service`, the instance `worker@3.service`, or the template
/// `worker@.service`, which stands for all instances that are not named themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

impl SliceName {
    /// Reads a name; the error is the rest of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(prefix) = text.strip_suffix(".slice") else {
            return Err(format!("{text:?} is not a slice, whose name ends in \".slice\""));
        };
        if prefix == "-" {
            return Err(format!(
                "{text:?} holds the whole machine; name a slice below it, as in \"frontend.slice\""
            ));
        }
        is_plain(text)?;
        if prefix.split('-').any(str::is_empty) {
            return Err(format!(
                "{text:?} is not a slice: each \"-\" leads to a slice within a slice, so that none stands at the \
                 beginning, at the end or beside another; in a name it is written \\x2d"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The slice whose cgroup is at this path; None if systemd has none there.
    pub fn of_path(path: &str) -> Option<Self> {
        let last = path.rsplit('/').next()?;
        let name = last.strip_prefix('_').filter(|name| folder(name) == last);
        let slice = Self::parse(name.unwrap_or(last)).ok()?;
        let own = slice.path().ok()?;
        (own.as_str() == path).then_some(slice)
    }

    /// The slice of all sessions and units of a user.
    pub(super) fn of_user(uid: u32) -> Self {
        Self(format!("user-{uid}.slice"))
    }

    /// With its suffix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its suffix.
    pub(super) fn prefix(&self) -> &str {
        self.0.strip_suffix(".slice").unwrap_or(&self.0)
    }

    /// Its cgroup.
    ///
    /// # Errors
    /// If it is deeper than the kernel's programs look; the rest of a sentence.
    pub fn path(&self) -> Result<CgroupPath, String> {
        let prefix = self.prefix();
        let above = prefix.match_indices('-').map(|(dash, _)| &prefix[..dash]);
        let parts = above.chain([prefix]);
        let parts: Vec<_> = parts.map(|part| folder(&format!("{part}.slice"))).collect();
        CgroupPath::parse(&format!("/{}", parts.join("/")))
    }
}

impl ServiceName {
    /// Reads a name; the error is the rest of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (prefix, suffix) = text.rsplit_once('.').unwrap_or((text, ""));
        match suffix {
            "service" => {}
            "slice" => return Err(format!("{text:?} is a slice; write `slice: {text}`")),
            "scope" => {
                return Err(format!(
                    "{text:?} is a scope, which programs make anew; name the slice in which it is: `slice: …`"
                ));
            }
            "socket" | "timer" | "path" => {
                return Err(format!(
                    "{text:?} runs nothing itself; name what it starts, as in {:?}",
                    format!("{prefix}.service")
                ));
            }
            _ => {
                return Err(format!(
                    "{text:?} is not a service; write its whole name, as in {:?}",
                    format!("{text}.service")
                ));
            }
        }
        is_unit(text)?;
        let name = Self(text.to_owned());
        let slice = name.slice();
        if slice.as_str().len() > LENGTH {
            return Err(format!(
                "{text:?} is too long: its slice would be {}, and a name has at most {LENGTH} characters",
                slice.as_str()
            ));
        }
        if text.trim_end_matches(".service").ends_with('-') {
            return Err(format!(
                "{text:?} ends in \"-\": what systemd is told of it would be for every unit that begins so"
            ));
        }
        Ok(name)
    }

    /// With its suffix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without its suffix.
    pub(super) fn prefix(&self) -> &str {
        self.0.strip_suffix(".service").unwrap_or(&self.0)
    }

    /// Its own slice, which stays when the unit is stopped.
    pub fn slice(&self) -> SliceName {
        SliceName(format!("{OWN}-{}.slice", escaped(self.prefix())))
    }

    /// Whether a unit of this name is meant: itself, or an instance of this template.
    pub fn covers(&self, unit: &str) -> bool {
        match self.0.strip_suffix("@.service") {
            Some(template) => {
                let instance = unit
                    .strip_prefix(template)
                    .and_then(|rest| rest.strip_prefix('@'));
                instance
                    .and_then(|rest| rest.strip_suffix(".service"))
                    .is_some_and(|instance| !instance.is_empty())
            }
            None => self.0 == unit,
        }
    }
}

/// Whether systemd makes cgroups of such a name anew at each start.
pub(super) fn is_made_anew(part: &str) -> bool {
    part.ends_with(".service") || part.ends_with(".scope")
}

/// As `systemd-escape` writes it, so that it holds no "-" and leads to no slice within a slice.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in text.bytes().enumerate() {
        let is_kept = byte.is_ascii_alphanumeric() || b":_".contains(&byte) || (byte == b'.' && index > 0);
        if is_kept {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    escaped
}

/// The folder of a unit: a name that a file of the kernel could have gets a `_`.
pub(super) fn folder(unit: &str) -> String {
    const FILES: [&str; 14] = [
        "cgroup",
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "bpf-firewall",
        "bpf-devices",
        "bpf-foreign",
        "bpf-socket-bind",
        "bpf-restrict-network-interfaces",
    ];
    let first = unit.split('.').next().unwrap_or_default();
    if unit.starts_with(['_', '.']) || FILES.contains(&first) {
        format!("_{unit}")
    } else {
        unit.to_owned()
    }
}

/// The name of a unit that is no template and no instance.
fn is_plain(text: &str) -> Result<(), String> {
    is_unit(text)?;
    if text.contains('@') {
        return Err(format!("{text:?} has an \"@\", which no slice has"));
    }
    Ok(())
}

fn is_unit(text: &str) -> Result<(), String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if let Some(c) = text.chars().find(|c| !is_valid(*c)) {
        return Err(format!(
            "{text:?} has {c:?}, which no unit's name has; `systemctl` shows names as they are, and \
             `systemd-escape` writes them"
        ));
    }
    if text.starts_with(['.', '@']) {
        return Err(format!(
            "{text:?} begins with {:?}, as no unit's name does",
            &text[..1]
        ));
    }
    if text.len() > LENGTH {
        return Err(format!(
            "{text:?} is longer than the {LENGTH} characters of a unit's name"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(slice: &str) -> String {
        SliceName::parse(slice).unwrap().path().unwrap().to_string()
    }

    #[test]
    fn slices_lie_where_systemd_puts_them() {
        for (slice, expected) in [
            ("frontend.slice", "/frontend.slice"),
            ("my-app.slice", "/my.slice/my-app.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            (
                r"system-serial\x2dgetty.slice",
                r"/system.slice/system-serial\x2dgetty.slice",
            ),
            ("user-1000.slice", "/user.slice/user-1000.slice"),
            ("memory.slice", "/_memory.slice"),
            ("_a.slice", "/__a.slice"),
            ("io-x.slice", "/_io.slice/io-x.slice"),
            ("memoryless.slice", "/memoryless.slice"),
        ] {
            assert_eq!(path(slice), expected, "{slice}");
        }
    }

    #[test]
    fn what_is_no_slice_says_why() {
        for (text, expected) in [
            ("frontend", "is not a slice"),
            ("-.slice", "holds the whole machine"),
            ("a--b.slice", "each \"-\" leads"),
            ("-a.slice", "each \"-\" leads"),
            ("a-.slice", "each \"-\" leads"),
            ("a@b.slice", "has an \"@\""),
            ("a b.slice", "has ' '"),
            ("ü.slice", "has 'ü'"),
            (".slice", "begins with"),
        ] {
            let problem = SliceName::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        assert!(SliceName::parse(&format!("{}.slice", "a".repeat(250))).is_err());
    }

    #[test]
    fn each_unit_has_a_slice_of_its_own_that_lies_in_one() {
        for (unit, slice) in [
            ("app.service", "enforcer-app.slice"),
            ("my-app.service", r"enforcer-my\x2dapp.slice"),
            ("worker@.service", r"enforcer-worker\x40.slice"),
            ("worker@3.service", r"enforcer-worker\x403.slice"),
            (r"mnt-a\x2db.service", r"enforcer-mnt\x2da\x5cx2db.slice"),
            ("foo_bar.x.service", "enforcer-foo_bar.x.slice"),
        ] {
            let name = ServiceName::parse(unit).unwrap();
            assert_eq!(name.slice().as_str(), slice);
            assert_eq!(path(slice), format!("/enforcer.slice/{slice}"));
        }
    }

    #[test]
    fn escaping_is_that_of_systemd_escape() {
        for text in [
            "my-app",
            "worker@",
            "worker@3",
            "foo_bar.x",
            r"mnt-a\x2db",
            ".x",
            "a:b",
            "ü",
        ] {
            let Ok(output) = std::process::Command::new("systemd-escape").arg(text).output() else {
                println!("SKIPPED: systemd-escape is not there");
                return;
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), escaped(text));
        }
    }

    #[test]
    fn what_is_no_service_says_what_to_write() {
        for (text, expected) in [
            ("app", "as in \"app.service\""),
            ("app.conf", "as in \"app.conf.service\""),
            ("a.slice", "write `slice: a.slice`"),
            ("session-1.scope", "name the slice"),
            ("app.timer", "as in \"app.service\""),
            ("a/b.service", "has '/'"),
            ("@a.service", "begins with \"@\""),
            ("my-.service", "ends in \"-\""),
        ] {
            let problem = ServiceName::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        let long = format!("{}.service", "-".repeat(100));
        assert!(ServiceName::parse(&long).unwrap_err().contains("too long"));
    }

    #[test]
    fn template_stands_for_its_instances() {
        let covers = |name, unit| ServiceName::parse(name).unwrap().covers(unit);
        assert!(covers("worker@.service", "worker@3.service"));
        assert!(!covers("worker@.service", "worker@.service"));
        assert!(!covers("worker@.service", "worker.service"));
        assert!(!covers("worker@.service", "worker2@3.service"));
        assert!(covers("app.service", "app.service"));
        assert!(!covers("app.service", "app2.service"));
    }
}
