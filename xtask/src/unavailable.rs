//! What cannot be had, as opposed to what has gone wrong: whoever needs it goes on without it, and says so.

use std::{error::Error, fmt, process::ExitCode};

/// How a command ends that needs what cannot be had: as tests elsewhere say that they are skipped.
const UNAVAILABLE: u8 = 77;

/// What the archives that this machine knows do not have, and why.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) &'static str, pub(crate) String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be had here: {}", self.0, self.1)
    }
}

impl Error for Unavailable {}

/// Whether it is that something cannot be had.
pub(crate) fn is_reason(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn Error>::is::<Unavailable>)
}

/// How a command ends with this error.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if is_reason(error) {
        return ExitCode::from(UNAVAILABLE);
    }
    ExitCode::FAILURE
}

/// How apt says that an archive has no such package, or that there is no such archive.
const GONE: [&str; 5] = [
    "Unable to find a source package",
    "Unable to locate package",
    "has no installation candidate",
    "404 ",
    "does not have a Release file",
];

/// Of an error in getting `what`: tells a package that has gone from a network that is away.
pub(crate) fn judge(what: &'static str, error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    // Of an archive that cannot be reached, apt also says that it has no Release file.
    let is_away = ["Could not ", "Temporary failure", "Connection ", "timed out"]
        .iter()
        .any(|sign| text.contains(sign));
    if !is_away && GONE.iter().any(|sign| text.contains(sign)) {
        return Unavailable(what, text).into();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_that_has_gone_is_told_from_a_network_that_is_away() {
        let is_gone = |text: &'static str| judge("it", anyhow::anyhow!(text)).is::<Unavailable>();
        assert!(is_gone(
            "apt-get source kubernetes: E: Unable to find a source package for kubernetes"
        ));
        assert!(is_gone(
            "apt-get update: Err:2 http://mirror.test bookworm Release; 404  Not Found [IP: 192.0.2.1 80]"
        ));
        assert!(!is_gone(
            "apt-get update: Err:1 http://mirror.test bookworm InRelease; Could not resolve 'mirror.test'; \
             E: The repository 'http://mirror.test bookworm Release' does not have a Release file."
        ));
        assert!(!is_gone("dpkg-deb cannot unpack runc.deb"));
    }
}
