//! The resolvers that the kubelet hands to pods that ask those of their node.
//!
//! The node's files are read below the root of process 1: the daemon's container has a `/etc/resolv.conf` of its own.
//! Where the daemon runs in no container, that root is its own. Its own is also what is left if that of process 1 is not
//! to be had: in a container, the kubelet has written the file there.
//!
//! **Architecture Invariant:** nothing is read that a pod could have written, such as a file of its container. A link of
//! the node is followed within the node's root, and never into the daemon's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::names::name_servers;

/// The root of the node's file system.
pub(super) const NODE: &str = "/proc/1/root";

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 16;

/// The node's files, and what they said last. One that is gone or cannot be read changes nothing.
pub(super) struct NodeResolvers {
    root: PathBuf,
    files: Vec<PathBuf>,
    texts: BTreeMap<PathBuf, String>,
    /// Files of which it was said that they cannot be read.
    failing: BTreeSet<PathBuf>,
}

impl NodeResolvers {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let root = match File::open(NODE) {
            Ok(_) => NODE,
            Err(_) if files.is_empty() => NODE,
            Err(error) => {
                tracing::warn!(
                    "cannot open the node's root {NODE} ({error}): the enforcer's own resolv.conf stands for the node's, \
                     by which pods with `dnsPolicy: Default` are allowed to ask the resolvers of their node"
                );
                "/"
            }
        };
        Self {
            root: root.into(),
            files,
            texts: BTreeMap::new(),
            failing: BTreeSet::new(),
        }
    }

    /// One more file, beside the others.
    pub(super) fn add(&mut self, file: &Path) {
        if !self.files.iter().any(|known| known == file) {
            self.files.push(file.to_owned());
        }
    }

    /// The servers of all files, if a file has changed since the last call.
    pub(super) fn changed(&mut self) -> Option<BTreeSet<SocketAddr>> {
        let mut is_news = false;
        for file in &self.files {
            match read(&self.root, file) {
                Ok(text) => {
                    self.failing.remove(file);
                    if self.texts.get(file) != Some(&text) {
                        self.texts.insert(file.clone(), text);
                        is_news = true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if self.failing.insert(file.clone()) => tracing::warn!(
                    "cannot read the node's {} ({error}): pods that are given the resolvers of their node, by \
                     `dnsPolicy: Default` or in its network, may be refused these until it can be read",
                    file.display()
                ),
                Err(_) => {}
            }
        }
        is_news.then(|| self.texts.values().flat_map(|text| name_servers(text)).collect())
    }
}

/// The servers that these files of the node name now.
pub(crate) fn of_node(files: &[PathBuf]) -> BTreeSet<SocketAddr> {
    NodeResolvers::new(files.to_vec()).changed().unwrap_or_default()
}

/// A file of the node, by links of the node.
pub(super) fn read(root: &Path, path: &Path) -> io::Result<String> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&root, path, how)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn texts(servers: Option<BTreeSet<SocketAddr>>) -> Option<Vec<String>> {
        servers.map(|servers| servers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn files_of_the_node_are_read_through_its_own_links_and_again_when_they_change() {
        let node = tempfile::tempdir().unwrap();
        let upstreams = node.path().join("run/systemd/resolve/resolv.conf");
        fs::create_dir_all(upstreams.parent().unwrap()).unwrap();
        fs::create_dir(node.path().join("etc")).unwrap();
        let link = node.path().join("etc/resolv.conf");
        let stub = "/run/systemd/resolve/stub-resolv.conf";
        symlink(stub, &link).unwrap();
        fs::write(node.path().join(&stub[1..]), "nameserver 127.0.0.53\n").unwrap();
        let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
        let mut resolvers = NodeResolvers {
            root: node.path().to_owned(),
            ..NodeResolvers::new(files.map(PathBuf::from).into())
        };
        let of_stub = vec!["127.0.0.53:53".to_owned()];
        assert_eq!(texts(resolvers.changed()), Some(of_stub.clone()));
        assert_eq!(texts(resolvers.changed()), None);
        fs::write(&upstreams, "nameserver 192.0.2.1\n").unwrap();
        let both = ["127.0.0.53:53", "192.0.2.1:53"].map(str::to_owned);
        assert_eq!(texts(resolvers.changed()), Some(both.into()));
        fs::remove_file(&link).unwrap();
        assert_eq!(texts(resolvers.changed()), None, "what is gone changes nothing");
        symlink("../../../../../../../../../../etc", &link).unwrap();
        assert_eq!(texts(resolvers.changed()), None, "a folder is no file");
        assert!(resolvers.failing.contains(Path::new("/etc/resolv.conf")));
    }
}
