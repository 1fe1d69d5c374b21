//! What the node's kubelets say of themselves: where their cgroups of pods are, and which file names the resolvers of
//! pods that ask those of their node. Read from their command lines and configuration files.
//!
//! **Architecture Invariant:** only a program of this name that is root's altogether, in the node's own namespaces and in
//! no pod, is believed. Any process can call itself `kubelet`; whoever has an account on the node can start a setuid program
//! under that name, so that its real user and its file are looked at, before its command line is.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_core::pods::PodUid;
use serde::Deserialize;

use super::resolvers::{NODE, read};

/// The name of its process.
const NAME: &str = "kubelet";

/// How often they are looked for: all processes are.
const PAUSE: Duration = Duration::from_secs(30);

/// What matters of its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    cgroup_root: Option<String>,
    resolv_conf: Option<PathBuf>,
}

impl Settings {
    /// Where its cgroup of pods is, as either driver names it. None of its own choice: that is among the usual ones.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let parts: Vec<_> = self.cgroup_root.iter().flat_map(|root| root.split('/')).collect();
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|part| !part.is_empty() && *part != "..")
            .collect();
        if parts.is_empty() {
            return Vec::new();
        }
        // systemd puts the names above in front of each, and has another meaning for a hyphen.
        let escaped = parts.iter().map(|part| part.replace('-', "_"));
        let (mut slice, mut name) = (PathBuf::from("/"), String::new());
        for part in escaped.chain(["kubepods".to_owned()]) {
            name = if name.is_empty() {
                part
            } else {
                format!("{name}-{part}")
            };
            slice.push(format!("{name}.slice"));
        }
        let plain = parts.iter().chain(&["kubepods"]);
        vec![
            slice,
            plain.fold(PathBuf::from("/"), |path, part| path.join(part)),
        ]
    }

    /// The file with the resolvers, where one is named.
    pub(super) fn resolv_conf(&self) -> Option<&Path> {
        let path = self.resolv_conf.as_deref()?;
        path.is_absolute().then_some(path)
    }

    /// With what `later` says in its place.
    fn overridden(self, later: Self) -> Self {
        Self {
            cgroup_root: later.cgroup_root.or(self.cgroup_root),
            resolv_conf: later.resolv_conf.or(self.resolv_conf),
        }
    }

    /// Flags override what files say.
    fn of(command_line: &[String], read: impl Fn(&Path) -> io::Result<String>) -> Self {
        let flag = |name| flag(command_line, name);
        let file = flag("config").and_then(|path| match read(Path::new(&path)) {
            Ok(text) => serde_yaml::from_str(&text).ok(),
            Err(_) => None,
        });
        file.unwrap_or_else(Self::default).overridden(Self {
            cgroup_root: flag("cgroup-root"),
            resolv_conf: flag("resolv-conf").map(PathBuf::from),
        })
    }
}

/// The value of a flag: the last that is given, behind `=` or as the next argument.
fn flag(command_line: &[String], name: &str) -> Option<String> {
    let value = |(at, argument): (usize, &String)| {
        let argument = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))?;
        let (found, value) = match argument.split_once('=') {
            Some((found, value)) => (found, Some(value.to_owned())),
            None => (argument, command_line.get(at + 1).cloned()),
        };
        (found.replace('_', "-") == name).then_some(value)?
    };
    command_line.iter().enumerate().filter_map(value).next_back()
}

/// The kubelets, and when they were looked for last.
#[derive(Default)]
pub(super) struct Kubelets {
    last: Option<Instant>,
    known: BTreeSet<Settings>,
}

impl Kubelets {
    /// What they say, if it is time to look and it is something new.
    pub(super) fn news(&mut self) -> Option<&BTreeSet<Settings>> {
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        let found: BTreeSet<_> = processes().filter_map(|process| settings(&process)).collect();
        if found.is_empty() || found == self.known {
            return None;
        }
        for settings in found.difference(&self.known) {
            tracing::debug!("a kubelet of this node has {settings:?}");
        }
        self.known = found;
        Some(&self.known)
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries
        .filter(move |entry| entry.file_name().to_str().is_some_and(is_number))
        .map(|entry| entry.path())
}

/// None of what is no kubelet of the node, or has ended meanwhile.
fn settings(process: &Path) -> Option<Settings> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    if name.trim_end() != NAME || !is_of_the_node(process).ok()? {
        return None;
    }
    let command_line = fs::read(process.join("cmdline")).ok()?;
    let command_line: Vec<_> = command_line
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    Some(Settings::of(&command_line, |path| read(NODE.as_ref(), path)))
}

fn is_of_the_node(process: &Path) -> io::Result<bool> {
    for kind in ["pid", "mnt", "user"] {
        let of = |process: &Path| fs::read_link(process.join("ns").join(kind));
        if of(process)? != of("/proc/1".as_ref())? {
            return Ok(false);
        }
    }
    let status = fs::read_to_string(process.join("status"))?;
    let file = fs::read_link(process.join("exe"))?;
    let cgroups = fs::read_to_string(process.join("cgroup"))?;
    let mut paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    Ok(is_roots(&status) && is_named(&file) && !paths.any(|path| PodUid::of_path(path).is_some()))
}

/// Whether all its users are root: the real one is who has started it.
fn is_roots(status: &str) -> bool {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.is_some_and(|users| users.split_whitespace().eq(["0"; 4]))
}

/// Whether the file that is executed has the name, whatever link has led to it.
fn is_named(file: &Path) -> bool {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // As the kernel writes it of one that was replaced.
    name.trim_end_matches(" (deleted)") == NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn none(_: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn cgroup_of_pods_is_named_as_either_driver_does() {
        for (root, expected) in [
            ("/", None),
            ("", None),
            (
                "/kubelet",
                Some(["/kubelet.slice/kubelet-kubepods.slice", "/kubelet/kubepods"]),
            ),
            (
                "custom",
                Some(["/custom.slice/custom-kubepods.slice", "/custom/kubepods"]),
            ),
            (
                "/a/b-c/",
                Some(["/a.slice/a-b_c.slice/a-b_c-kubepods.slice", "/a/b-c/kubepods"]),
            ),
            ("/../..", None),
        ] {
            let settings = Settings::of(&arguments(&format!("kubelet --cgroup-root={root}")), none);
            let expected: Vec<_> = expected.into_iter().flatten().map(PathBuf::from).collect();
            assert_eq!(settings.roots(), expected, "{root}");
        }
    }

    #[test]
    fn flags_override_the_file_that_they_name() {
        let file = |path: &Path| {
            assert_eq!(path, Path::new("/var/lib/kubelet/config.yaml"));
            Ok("kind: KubeletConfiguration\ncgroupRoot: /custom\nclusterDNS: [10.96.0.10]\nresolvConf: /run/a\n".to_owned())
        };
        let all = "kubelet --v=2 --config /var/lib/kubelet/config.yaml";
        let settings = Settings::of(&arguments(all), file);
        assert_eq!(settings.cgroup_root.as_deref(), Some("/custom"));
        assert_eq!(settings.resolv_conf(), Some(Path::new("/run/a")));
        let flags = format!("{all} --resolv_conf=/run/b --cgroup-root /x --cgroup-root /y");
        let settings = Settings::of(&arguments(&flags), file);
        assert_eq!(settings.cgroup_root.as_deref(), Some("/y"));
        assert_eq!(settings.resolv_conf(), Some(Path::new("/run/b")));
    }

    #[test]
    fn setuid_program_under_another_name_is_no_kubelet() {
        assert!(is_roots("Name:\tkubelet\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"));
        assert!(!is_roots("Name:\tkubelet\nUid:\t1000\t0\t0\t0\n"));
        assert!(!is_roots("Name:\tkubelet\n"));
        assert!(is_named(Path::new("/usr/bin/kubelet")));
        assert!(is_named(Path::new("/opt/bin/kubelet (deleted)")));
        assert!(!is_named(Path::new("/usr/bin/su")));
    }

    #[test]
    fn relative_or_empty_file_is_none() {
        for value in ["", "etc/resolv.conf"] {
            let settings = Settings::of(&arguments(&format!("kubelet --resolv-conf={value}")), none);
            assert_eq!(settings.resolv_conf(), None, "{value:?}");
        }
    }
}
