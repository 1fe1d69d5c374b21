//! Which ways around `connect` and `sendmsg` are closed, and why others are not.

use std::{fmt, fs};

use super::program::{Program, Purpose};

/// A program beyond those that make verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// The program.
    pub program: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// Why it does not run; None if it does.
    pub absent: Option<String>,
}

impl Hardening {
    /// For a program, if it is one of these.
    pub(super) fn new(program: &Program, absent: Option<String>) -> Option<Self> {
        (program.purpose != Purpose::Verdicts).then_some(Self {
            program: program.name,
            purpose: program.purpose,
            absent,
        })
    }

    /// Whether the program serves learning names.
    pub fn is_for_names(&self) -> bool {
        matches!(self.program, "ask" | "learn")
    }

    /// Whether it is a BPF LSM program, which some kernels do not support or refuse.
    pub fn is_lsm(&self) -> bool {
        self.program.starts_with("lsm_")
    }
}

/// `refuses packet and XDP sockets`; if the program is absent, what is then not done.
impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdicts => f.write_str("makes verdicts"),
            Self::Refuses(what) => write!(f, "refuses {what}"),
            Self::Lets(what) => write!(f, "lets {what}"),
        }
    }
}

/// `lsm_create absent (Operation not permitted): without it nothing refuses packet and XDP sockets`
impl fmt::Display for Hardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, purpose, .. } = self;
        match &self.absent {
            None => write!(f, "{program} present: {purpose}"),
            Some(why) => write!(f, "{program} absent ({why}): nothing {purpose}"),
        }
    }
}

/// Why LSM programs would never run although they load: `bpf` is not among the modules with which the kernel was
/// started. None if that cannot be found out.
pub(super) fn lsm_obstacle() -> Option<String> {
    let list = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    obstacle_in(&list)
}

fn obstacle_in(list: &str) -> Option<String> {
    let has_bpf = list.trim().split(',').any(|module| module == "bpf");
    (!has_bpf).then(|| {
        format!(
            "the kernel was started without bpf among its lsm= ({})",
            list.trim()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_without_bpf_is_an_obstacle() {
        assert_eq!(obstacle_in("lockdown,yama,bpf\n"), None);
        assert!(obstacle_in("lockdown,yama,apparmor\n").is_some());
    }
}
