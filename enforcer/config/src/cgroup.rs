//! Paths of cgroups.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use enforcer_common::Settings;

/// Path of a cgroup below the cgroup v2 mount, in the one form in which paths are compared: it begins with `/`,
/// has no empty, `.` or `..` part and no `/` at its end, and is never the root itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Converts `text` to that form; the error is the rest of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "{text:?} is relative; write the path below the cgroup mount, as in \"/frontend.slice\""
            ));
        }
        let parts: Vec<&str> = text
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if parts.contains(&"..") {
            return Err(format!("{text:?} has a part \"..\"; write the path without it"));
        }
        if text.contains(char::is_control) {
            return Err(format!("{text:?} has a control character"));
        }
        if parts.is_empty() {
            return Err(format!(
                "{text:?} is the root of all cgroups, so that the whole machine would be enforced; name a cgroup \
                 below it"
            ));
        }
        if let ["sys", "fs", "cgroup", rest @ ..] = parts.as_slice() {
            return Err(format!(
                "{text:?} includes the cgroup mount; write the path below the mount: {:?}",
                format!("/{}", rest.join("/"))
            ));
        }
        if parts.len() > Settings::DEPTH_LIMIT as usize {
            return Err(format!(
                "{text:?} is {} levels deep, and the kernel's programs look no deeper than {}",
                parts.len(),
                Settings::DEPTH_LIMIT
            ));
        }
        Ok(Self(format!("/{}", parts.join("/"))))
    }

    /// The path below the mount, with the leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its path if cgroup v2 is mounted at `mount`.
    pub fn below(&self, mount: &Path) -> PathBuf {
        mount.join(&self.0[1..])
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        Path::new(&self.0).starts_with(&other.0)
    }

    /// Number of levels below the cgroup root, at least 1 and at most [`Settings::DEPTH_LIMIT`].
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// The default name of a workload there: the last part, without systemd's suffix.
    pub(super) fn workload_name(&self) -> &str {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        [".slice", ".service", ".scope"]
            .iter()
            .find_map(|suffix| last.strip_suffix(suffix))
            .filter(|name| !name.is_empty())
            .unwrap_or(last)
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for text in ["/a/b.slice", "/a//b.slice/", "//a/./b.slice/."] {
            let path = CgroupPath::parse(text).unwrap();
            assert_eq!(path.as_str(), "/a/b.slice", "{text}");
            assert_eq!(path.below(Path::new("/mnt")), Path::new("/mnt/a/b.slice"));
            assert_eq!(path.depth(), 2);
            assert_eq!(path.workload_name(), "b");
        }
    }

    #[test]
    fn path_within_is_by_parts_and_not_by_letters() {
        let path = |text| CgroupPath::parse(text).unwrap();
        assert!(path("/a/b").is_within(&path("/a")));
        assert!(path("/a").is_within(&path("/a")));
        assert!(!path("/ab").is_within(&path("/a")));
        assert!(!path("/a").is_within(&path("/a/b")));
    }

    #[test]
    fn name_is_never_empty() {
        assert_eq!(CgroupPath::parse("/.slice").unwrap().workload_name(), ".slice");
    }
}
