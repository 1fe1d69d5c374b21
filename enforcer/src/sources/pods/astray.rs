//! Cgroups of pods that lie outside the cgroups that are followed, with processes in them.
//!
//! A kubelet with another `--cgroup-root`, a second kubelet, and a runtime with another cgroup driver than the kubelet's
//! put pods there.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_common::Settings;
use enforcer_core::pods::{LEVELS, PodUid, Tree};

use super::Wanted;

/// The pause between two searches: each reads every cgroup outside the followed ones.
const PAUSE: Duration = Duration::from_secs(5);

/// Folders that are looked into at most, those near the mount first.
const MOST: usize = 8192;

/// The shortest UID: that of a static pod, an MD5 hash.
const SHORTEST: usize = 32;

/// Pods by UID, each with one of its cgroups.
pub type Astray = BTreeMap<PodUid, PathBuf>;

/// The search, and what it found last.
pub(super) struct Search {
    mount: PathBuf,
    last: Option<Instant>,
    found: Astray,
}

impl Search {
    pub(super) fn new(mount: &Path) -> Self {
        Self {
            mount: mount.to_owned(),
            last: None,
            found: Astray::new(),
        }
    }

    /// What is found, if it is time to search and it is not what was found last. If the own pod is among it, the
    /// kubelet's cgroup above it is wanted from now on, and what lies below is not astray.
    pub(super) fn news(&mut self, wanted: &mut Wanted) -> Option<Astray> {
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        let mut found = search(&self.mount, &wanted.roots);
        if let Some(root) = wanted.own.as_ref().and_then(|own| root(own, found.get(own)?)) {
            found.retain(|_, at| !at.starts_with(&root));
            wanted.roots.insert(root);
        }
        self.last = Some(Instant::now());
        if found == self.found {
            return None;
        }
        self.found.clone_from(&found);
        Some(found)
    }
}

/// The kubelet's cgroup of pods above the own pod's, if a kubelet has named all that is between.
fn root(own: &PodUid, at: &Path) -> Option<PathBuf> {
    let is_root = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(Tree::of).is_some()
    };
    let root = at.ancestors().skip(1).find(is_root)?;
    let depth = u32::try_from(root.components().skip(1).count()).ok()?;
    let named = at.strip_prefix(root.parent()?).ok()?;
    let is_own = PodUid::of_path(named.to_str()?).as_ref() == Some(own);
    (is_own && depth <= Settings::DEPTH_LIMIT - LEVELS).then(|| root.to_owned())
}

/// Only what belongs to root counts: users may give the cgroups that are theirs any name.
fn search(mount: &Path, followed: &BTreeSet<PathBuf>) -> Astray {
    let mut found = Astray::new();
    let mut left = VecDeque::from([PathBuf::from("/")]);
    for _ in 0..MOST {
        let Some(path) = left.pop_front() else { break };
        let folder = |path: &Path| mount.join(path.strip_prefix("/").unwrap_or(path));
        let Ok(entries) = fs::read_dir(folder(&path)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = path.join(entry.file_name());
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || followed.contains(&path) {
                continue;
            }
            match entry.file_name().to_str().and_then(uid) {
                None => left.push_back(path),
                Some(uid) if is_in_use(&folder(&path)) => {
                    found.entry(uid).or_insert(path);
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// The UID in a cgroup's name: `pod<uid>`, `kubepods-pod<uid>.slice`, or what a runtime with the cgroupfs driver makes
/// of the systemd driver's names, `kubepods-pod<uid>.slice:cri-containerd:<id>`.
fn uid(name: &str) -> Option<PodUid> {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '-' || c == '_';
    name.match_indices("pod").find_map(|(at, word)| {
        let rest = &name[at + word.len()..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let uid = &rest[..end];
        (uid.len() >= SHORTEST).then(|| PodUid::new(&uid.replace('_', "-")))?
    })
}

/// Whether it is root's, and processes are in it or below.
fn is_in_use(folder: &Path) -> bool {
    let is_of_root = fs::metadata(folder).is_ok_and(|folder| folder.uid() == 0);
    let events = fs::read_to_string(folder.join("cgroup.events"));
    is_of_root && events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5d16b9a1-6e7d-4a4c-9d0b-0c2f3f3a8a11";
    const ESCAPED: &str = "5d16b9a1_6e7d_4a4c_9d0b_0c2f3f3a8a11";

    #[test]
    fn kubelets_cgroup_is_found_above_the_own_pod() {
        let own = PodUid::new(UID).unwrap();
        for (at, is) in [
            (
                format!("/custom/kubepods/burstable/pod{UID}"),
                Some("/custom/kubepods"),
            ),
            (
                format!("/a/kubepods/b/kubepods/pod{UID}"),
                Some("/a/kubepods/b/kubepods"),
            ),
            (
                format!("/custom.slice/custom-kubepods.slice/custom-kubepods-pod{ESCAPED}.slice"),
                Some("/custom.slice/custom-kubepods.slice"),
            ),
            (format!("/kubepods/deeper/down/pod{UID}"), None),
            (format!("/custom/pod{UID}"), None),
            (format!("{}/kubepods/pod{UID}", "/a".repeat(40)), None),
        ] {
            assert_eq!(root(&own, Path::new(&at)).as_deref(), is.map(Path::new), "{at}");
        }
    }

    #[test]
    fn uid_is_found_in_every_name_that_a_kubelet_or_runtime_gives() {
        for name in [
            format!("pod{UID}"),
            format!("kubepods-besteffort-pod{ESCAPED}.slice"),
            format!("custom-kubepods-burstable-pod{ESCAPED}.slice"),
            format!("kubepods-besteffort-pod{ESCAPED}.slice:cri-containerd:c0ffee"),
        ] {
            assert_eq!(uid(&name).as_ref().map(PodUid::as_str), Some(UID), "{name}");
        }
        let of_manifest = "1f2e3d4c5b6a79880716253443526170";
        assert_eq!(
            uid(&format!("pod{of_manifest}")).as_ref().map(PodUid::as_str),
            Some(of_manifest)
        );
        for name in [
            "kubepods",
            "kubepods.slice",
            "podman.service",
            "pod",
            "libpod-c0ffee.scope",
        ] {
            assert_eq!(uid(name), None, "{name}");
        }
    }
}
