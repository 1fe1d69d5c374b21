//! One check of the cgroups of pods, compared with the last one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::PathBuf,
    time::Duration,
};

use enforcer_common::CgroupId;
use enforcer_core::pods::{PodCgroup, PodUid, Tree, container};

use super::{
    FromKubelet, PodChange, Role, Wanted, astray::Search, kubelet::Kubelets, resolvers::NodeResolvers,
};
use crate::{
    datapath::{Cgroup, CgroupMount},
    sources::{look, notices::Notices},
};

type Found = BTreeMap<CgroupId, (Cgroup, Role)>;

pub(super) struct Scan {
    mount: CgroupMount,
    wanted: Wanted,
    notices: Notices,
    /// Folders that are watched, as those cgroups.
    watched: BTreeMap<PathBuf, CgroupId>,
    known: Found,
    search: Search,
    kubelets: Kubelets,
    resolvers: NodeResolvers,
}

/// A folder's child that is a folder.
struct Child {
    name: String,
    id: CgroupId,
}

impl look::Scan for Scan {
    type Change = PodChange;

    /// What has changed since the last call: first removed cgroups, then new ones, roots before pods before
    /// containers. If a folder cannot be read, that is no reason to consider anything gone.
    fn changes(&mut self) -> Vec<PodChange> {
        self.ask_kubelets();
        let astray = self.search.news(&mut self.wanted).map(PodChange::Astray);
        let resolvers = self.resolvers.changed().map(PodChange::Resolvers);
        let mut changes: Vec<_> = resolvers.into_iter().chain(self.changed_cgroups()).collect();
        changes.extend(astray);
        changes
    }

    fn rescan(&self) -> Duration {
        self.notices.rescan()
    }
}

impl Scan {
    fn ask_kubelets(&mut self) {
        let asked = self.wanted.kubelet;
        if asked == FromKubelet::default() {
            return;
        }
        for kubelet in self.kubelets.news().into_iter().flatten() {
            if asked.roots {
                self.wanted.roots.extend(kubelet.roots());
            }
            if let Some(file) = kubelet.resolv_conf().filter(|_| asked.resolv_conf) {
                self.resolvers.add(file);
            }
        }
    }

    fn changed_cgroups(&mut self) -> Vec<PodChange> {
        let now = match self.look() {
            Ok(now) => now,
            Err(error) => {
                tracing::warn!(
                    "cannot read the cgroups of this node's pods ({error}): known pods stay enforced, new ones are \
                     treated as unknown, and it is tried again"
                );
                return Vec::new();
            }
        };
        let mut changes = Vec::new();
        let missing = self.known.iter().filter(|(id, _)| !now.contains_key(id));
        let gone: Vec<_> = missing.map(|(id, _)| *id).collect();
        for id in gone {
            // A list that was read during changes may lack a cgroup that still exists.
            if self.known.get(&id).is_some_and(|(cgroup, _)| is_there(cgroup)) {
                continue;
            }
            if let Some((cgroup, role)) = self.known.remove(&id) {
                self.watched.remove(&cgroup.folder);
                changes.push(PodChange::Gone(cgroup, role));
            }
        }
        let mut come: Vec<_> = now
            .into_iter()
            .filter(|(id, _)| !self.known.contains_key(id))
            .collect();
        come.sort_by_key(|(_, (cgroup, _))| cgroup.depth);
        for (id, (cgroup, role)) in come {
            self.known.insert(id, (cgroup.clone(), role.clone()));
            changes.push(PodChange::Appeared(cgroup, role));
        }
        changes
    }

    pub(super) fn new(mount: CgroupMount, wanted: Wanted, notices: Notices) -> Self {
        Self {
            search: Search::new(mount.path()),
            kubelets: Kubelets::default(),
            mount,
            resolvers: NodeResolvers::new(wanted.resolv_confs.clone()),
            wanted,
            notices,
            watched: BTreeMap::new(),
            known: Found::new(),
        }
    }

    fn look(&mut self) -> io::Result<Found> {
        let mut found = Found::new();
        for path in self.wanted.roots.clone() {
            self.notices.watch_above(&self.mount, &path);
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let (Some(tree), Some(root)) = (Tree::of(name), self.mount.cgroup(&path)?) else {
                continue;
            };
            found.insert(root.id, (root.clone(), Role::Root));
            let mut pods = Vec::new();
            for child in self.children(&root)? {
                let cgroup = self.mount.child(&root, &child.name, child.id);
                match tree.class(&child.name) {
                    None => pods.extend(tree.pod(None, &child.name).map(|pod| (pod, cgroup))),
                    class => {
                        for child in self.children(&cgroup)? {
                            let cgroup = self.mount.child(&cgroup, &child.name, child.id);
                            pods.extend(tree.pod(class, &child.name).map(|pod| (pod, cgroup)));
                        }
                    }
                }
            }
            for (pod, cgroup) in pods {
                if self.wanted.containers {
                    self.look_at_containers(&pod, &cgroup, &mut found)?;
                }
                found.insert(cgroup.id, (cgroup, Role::Place(PodCgroup::Pod(pod))));
            }
        }
        Ok(found)
    }

    fn look_at_containers(&mut self, pod: &PodUid, of: &Cgroup, found: &mut Found) -> io::Result<()> {
        for child in self.children(of)? {
            if let Some(id) = container(&child.name) {
                let (pod, id) = (pod.clone(), id.to_owned());
                let cgroup = self.mount.child(of, &child.name, child.id);
                found.insert(cgroup.id, (cgroup, Role::Place(PodCgroup::Container { pod, id })));
            }
        }
        Ok(())
    }

    /// The cgroups directly below one that is watched before they are read, so that no change in between is missed.
    /// None if it is gone.
    fn children(&mut self, cgroup: &Cgroup) -> io::Result<Vec<Child>> {
        if self.watched.get(&cgroup.folder) != Some(&cgroup.id) {
            self.notices.watch(&cgroup.folder);
            self.watched.insert(cgroup.folder.clone(), cgroup.id);
        }
        let entries = match fs::read_dir(&cgroup.folder) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(error),
            };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            // A kubelet creates no name that is not UTF-8.
            if let Ok(name) = entry.file_name().into_string() {
                // The inode number in the listing is the cgroup's identifier (`kernfs_fop_readdir`).
                let id = CgroupId(entry.ino());
                children.push(Child { name, id });
            }
        }
        Ok(children)
    }
}

fn is_there(cgroup: &Cgroup) -> bool {
    match fs::metadata(&cgroup.folder) {
        Ok(metadata) => metadata.ino() == cgroup.id.0,
        Err(error) => !is_gone(&error),
    }
}

/// The errors of reading a folder that is removed meanwhile.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENOTDIR)
    )
}
