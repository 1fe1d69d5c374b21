//! What is closed beyond `connect` and `sendmsg`, and why not where it is not.

use std::{fmt, fs};

use super::program::Program;

/// A program that closes ways which rules alone leave open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The program.
    pub program: &'static str,
    /// What gets out without it.
    pub closes: &'static str,
    /// Why it does not run; None if it does.
    pub absent: Option<String>,
}

impl Closure {
    /// That of a program, if it is one.
    pub(super) fn new(program: &Program, absent: Option<String>) -> Option<Self> {
        Some(Self {
            program: program.name,
            closes: program.closes?,
            absent,
        })
    }

    /// Whether the program is one of BPF LSM, which some kernels have not, or refuse.
    pub fn is_lsm(&self) -> bool {
        self.program.starts_with("lsm_")
    }
}

/// `lsm_create absent (Operation not permitted): packet and XDP sockets ... get out`
impl fmt::Display for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, closes, .. } = self;
        match &self.absent {
            None => write!(f, "{program} present: refuses {closes}"),
            Some(why) => write!(f, "{program} absent ({why}): does not refuse {closes}"),
        }
    }
}

/// Why programs of the security modules would never run although they load: `bpf` is not among the modules that
/// the kernel was started with. None where nothing says so.
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
