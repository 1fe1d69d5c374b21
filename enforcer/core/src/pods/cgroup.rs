//! The names that the kubelet and container runtimes give the cgroups of pods.
//!
//! ```text
//! cgroupfs  kubepods[/burstable|/besteffort]/pod<uid>/<container>
//! systemd   kubepods.slice[/kubepods-burstable.slice]/kubepods[-burstable]-pod<uid>.slice/<runtime>-<container>.scope
//! nested    the same below `kubelet` or `kubelet.slice`, whose name systemd puts in front of each
//! ```
//!
//! A name counts only at the level where the kubelet creates it. Every cgroup that a container creates below its
//! own belongs to its pod, whatever its name.

use std::fmt;

use enforcer_common::Settings;

/// Where kubelets put the pods' cgroups by default, relative to the mount of cgroup v2.
pub const ROOTS: [&str; 4] = [
    "/kubepods.slice",
    "/kubepods",
    "/kubelet.slice/kubelet-kubepods.slice",
    "/kubelet/kubepods",
];

/// Levels between the kubepods cgroup and a container's.
pub const LEVELS: u32 = 3;

const _: () = assert!(LEVELS + 2 <= Settings::DEPTH_LIMIT);

/// Identifier of a pod in its cgroup's name: the UID of the object, or for a static pod that of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(String);

impl PodUid {
    /// None if no kubelet would use it in the name of a cgroup.
    pub fn new(uid: &str) -> Option<Self> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_uid = (1..=128).contains(&uid.len()) && uid.bytes().all(is_part);
        is_uid.then(|| Self(uid.to_owned()))
    }

    /// The pod that a cgroup belongs to, from the cgroup's path as in `/proc/<pid>/cgroup`: the pod's own cgroup, or
    /// any below it.
    pub fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (at, tree) = (0..parts.len()).find_map(|at| Some((at, Tree::of(parts[at])?)))?;
        let below = &parts[at + 1..];
        let class = below.first().and_then(|name| tree.class(name));
        let name = below.get(usize::from(class.is_some()))?;
        tree.pod(class, name)
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a cgroup below a kubepods cgroup belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodCgroup {
    /// A pod, with all its containers.
    Pod(PodUid),
    /// One container of a pod.
    Container {
        /// The pod.
        pod: PodUid,
        /// The runtime's identifier.
        id: String,
    },
}

impl PodCgroup {
    /// The pod.
    pub fn pod(&self) -> &PodUid {
        match self {
            Self::Pod(pod) | Self::Container { pod, .. } => pod,
        }
    }
}

/// A QoS class that has a cgroup of its own; the cgroups of guaranteed pods are next to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Some resource is requested.
    Burstable,
    /// None is.
    BestEffort,
}

impl Class {
    const ALL: [Self; 2] = [Self::Burstable, Self::BestEffort];

    fn word(self) -> &'static str {
        match self {
            Self::Burstable => "burstable",
            Self::BestEffort => "besteffort",
        }
    }
}

/// A kubepods cgroup, by the cgroup driver that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Plain names.
    Cgroupfs,
    /// Each name begins with those above it, and identifiers have `_` in place of `-`.
    Systemd {
        /// The kubepods cgroup without `.slice`.
        prefix: String,
    },
}

impl Tree {
    /// The tree below a cgroup of this name; None if it is no kubepods cgroup.
    pub fn of(name: &str) -> Option<Self> {
        if name == "kubepods" {
            return Some(Self::Cgroupfs);
        }
        let prefix = name.strip_suffix(".slice")?;
        let is_kubepods = prefix == "kubepods" || prefix.ends_with("-kubepods");
        is_kubepods.then(|| Self::Systemd {
            prefix: prefix.to_owned(),
        })
    }

    /// The class of a cgroup directly below the kubepods cgroup.
    pub fn class(&self, name: &str) -> Option<Class> {
        Class::ALL
            .into_iter()
            .find(|class| self.class_name(*class) == name)
    }

    fn class_name(&self, class: Class) -> String {
        match self {
            Self::Cgroupfs => class.word().to_owned(),
            Self::Systemd { prefix } => format!("{prefix}-{}.slice", class.word()),
        }
    }

    /// The pod of a cgroup below a class, or next to the classes.
    pub fn pod(&self, class: Option<Class>, name: &str) -> Option<PodUid> {
        match self {
            Self::Cgroupfs => PodUid::new(name.strip_prefix("pod")?),
            Self::Systemd { prefix } => {
                let above = match class {
                    Some(class) => format!("{prefix}-{}", class.word()),
                    None => prefix.clone(),
                };
                let uid = name.strip_suffix(".slice")?.strip_prefix(&above)?;
                let uid = uid.strip_prefix("-pod")?;
                // Unescaped, a hyphen would be a level of its own.
                (!uid.contains('-')).then(|| PodUid::new(&uid.replace('_', "-")))?
            }
        }
    }
}

/// The identifier of the container of a cgroup directly below a pod's: `<id>`, `<runtime>-<id>` or
/// `<runtime>-<id>.scope`. A container's monitor (`crio-conmon-<id>`) has two words in front and is no container.
pub fn container(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = match name.rsplit_once('-') {
        None => name,
        Some(("crio" | "docker" | "libpod" | "cri-containerd", id)) => id,
        Some(_) => return None,
    };
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5d16b9a1-6e7d-4a4c-9d0b-0c2f3f3a8a11";
    const ESCAPED: &str = "5d16b9a1_6e7d_4a4c_9d0b_0c2f3f3a8a11";
    const HASH: &str = "1f2e3d4c5b6a79880716253443526170";

    fn pod(path: &str) -> Option<String> {
        PodUid::of_path(path).map(|uid| uid.to_string())
    }

    #[test]
    fn every_layout_of_a_kubelet_is_known() {
        let of = |text: &str| {
            text.replace("UID", UID)
                .replace("ESC", ESCAPED)
                .replace("HASH", HASH)
        };
        for (path, uid) in [
            ("/kubepods/podUID/c0ffee", UID),
            ("/kubepods/burstable/podUID/c0ffee", UID),
            ("/kubepods/besteffort/podUID", UID),
            ("/kubepods/burstable/podHASH/c0ffee", HASH),
            (
                "/kubepods.slice/kubepods-podESC.slice/cri-containerd-c0ffee.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podESC.slice/crio-c0ffee.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podESC.slice",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/docker-c0ffee.scope",
                HASH,
            ),
            ("/kubelet/kubepods/besteffort/podUID/c0ffee", UID),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podESC.slice/cri-containerd-c0ffee.scope",
                UID,
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podESC.slice",
                UID,
            ),
            (
                "/system.slice/docker-c0ffee.scope/kubelet/kubepods/podUID/c0ffee",
                UID,
            ),
            ("/kubepods/burstable/podUID/c0ffee/deeper/still", UID),
            ("/../../kubepods/podUID/c0ffee", UID),
        ] {
            assert_eq!(pod(&of(path)).as_deref(), Some(uid), "{path}");
        }
    }

    #[test]
    fn names_that_no_kubelet_gives_are_no_pods() {
        let of = |text: &str| text.replace("UID", UID).replace("ESC", ESCAPED);
        for path in [
            "",
            "/",
            "/kubepods",
            "/kubepods/burstable",
            "/kubepods/pod",
            "/kubepods/PodUID",
            "/kubepods/podUID.slice",
            "/kubepods/pod..",
            "/kubepods/pod UID",
            "/kubepods/guaranteed/podUID",
            "/kubepods/burstable/besteffort/podUID",
            "/kubepods/c0ffee/podUID",
            "/mykubepods/podUID",
            "/kubepods.slice/podUID",
            "/kubepods.slice/kubepods-podUID.slice",
            "/kubepods.slice/kubepods-podESC",
            "/kubepods.slice/kubepods-burstable-podESC.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-podESC.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-podESC.slice",
            "/kubelet.slice/kubelet-kubepods.slice/kubepods-podESC.slice",
            "/notkubepods.slice/notkubepods-podESC.slice",
        ] {
            assert_eq!(pod(&of(path)), None, "{path}");
        }
        assert_eq!(PodUid::new(&"a".repeat(129)), None);
    }

    #[test]
    fn cgroup_that_a_container_makes_is_never_another_pod() {
        let inner = format!("/kubepods/pod{UID}/c0ffee/kubepods/podother");
        assert_eq!(pod(&inner).as_deref(), Some(UID));
    }

    #[test]
    fn containers_are_known_by_every_runtime() {
        for (name, id) in [
            ("c0ffee", Some("c0ffee")),
            ("cri-containerd-c0ffee.scope", Some("c0ffee")),
            ("crio-c0ffee.scope", Some("c0ffee")),
            ("crio-c0ffee", Some("c0ffee")),
            ("docker-c0ffee.scope", Some("c0ffee")),
            ("crio-conmon-c0ffee.scope", None),
            ("mine-c0ffee.scope", None),
            ("", None),
            (".scope", None),
            ("crio-.scope", None),
            ("a b", None),
        ] {
            assert_eq!(container(name), id, "{name}");
        }
    }
}
