//! A look at one workload's sockets, in small portions, so that no workload delays another.
//!
//! ```text
//! cgroups, threads -> their network namespaces, the host's -> sockets --> found
//!        ^                     what their files lead to ---------^
//!        `-- again, while new threads or namespaces have come, a few times
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Once},
    time::Instant,
};

use anyhow::{Context as _, Result};
use enforcer_common::CgroupId;

use super::{
    Live, Place,
    held::Held,
    inodes::Inodes,
    listing::{Listing, Wanted},
    network::{Network, NetworkId},
    subtree::{CGROUPS, Subtree, there},
};

/// The most rounds for one workload, which are needed if it has new threads or namespaces.
const ROUNDS: u32 = 3;
/// The network namespace of the node's first process. Some kernels deny access to it.
const INIT: &str = "/proc/1/ns/net";
/// The most complaints that are logged.
const COMPLAINTS: u64 = 5;
/// The most network namespaces that are listed for one workload.
const NETWORKS: usize = 4096;

/// A look under way.
pub(super) struct Look {
    pub(super) place: Place,
    others: Arc<BTreeSet<CgroupId>>,
    wanted: Wanted,
    threads: BTreeSet<u32>,
    /// Namespaces that are, were or will be listed.
    known: BTreeSet<NetworkId>,
    ahead: VecDeque<Ahead>,
    listing: Option<(Listing, Arc<Network>)>,
    held: Option<Held>,
    /// The cgroups and threads of the present round, once it has begun.
    subtree: Option<Subtree>,
    /// Threads of this round whose namespaces are still to be found out.
    asking: VecDeque<u32>,
    /// Inodes of all listed sockets.
    inodes: Inodes,
    rounds: u32,
    /// Network namespaces that are looked at.
    most: usize,
    /// Whether this round has brought threads, cgroups or namespaces that the last one had not.
    has_news: bool,
    is_cut: bool,
    complaints: u64,
    /// Why not all of its sockets were looked at, the first reason of maybe many.
    pub(super) hidden: Option<String>,
    /// Sockets that are to be handed on.
    pub(super) found: VecDeque<Live>,
}

/// A namespace that is to be listed.
enum Ahead {
    /// As a path: thousands of namespaces are not kept open at once.
    Path(PathBuf),
    Open(Network),
}

impl Look {
    pub(super) fn at(place: Place, others: Arc<BTreeSet<CgroupId>>, marks: Option<Arc<OwnedFd>>) -> Self {
        Self {
            place,
            others,
            wanted: Wanted {
                cgroups: BTreeSet::new(),
                marks,
            },
            threads: BTreeSet::new(),
            known: BTreeSet::new(),
            ahead: VecDeque::new(),
            listing: None,
            held: None,
            subtree: None,
            asking: VecDeque::new(),
            inodes: Inodes::default(),
            rounds: 0,
            most: NETWORKS,
            has_news: true,
            is_cut: false,
            complaints: 0,
            hidden: None,
            found: VecDeque::new(),
        }
    }

    /// Continues until a deadline, or until something was found. True once it is over.
    pub(super) fn advance(&mut self, until: Instant) -> bool {
        while Instant::now() < until && self.found.is_empty() {
            if self.listing.is_some() {
                self.list(until);
            } else if let Some(thread) = self.asking.pop_front() {
                self.note(PathBuf::from(format!("/proc/{thread}/ns/net")));
            } else if let Some(ahead) = self.ahead.pop_front() {
                self.enter(ahead);
            } else if let Some(held) = self.held.take() {
                self.search(held, until);
            } else if let Some(subtree) = self.subtree.take() {
                self.walk(subtree, until);
            } else if !self.begin_round() {
                self.sum_up();
                return true;
            }
        }
        false
    }

    /// False once a round has found nothing new, or the limit of rounds is reached.
    fn begin_round(&mut self) -> bool {
        if self.rounds == ROUNDS || !std::mem::take(&mut self.has_news) {
            return false;
        }
        self.rounds += 1;
        self.subtree = Some(Subtree::at(&self.place.folder));
        true
    }

    /// Looks for cgroups and threads; once all are found, begins to look for their namespaces and files.
    fn walk(&mut self, mut subtree: Subtree, until: Instant) {
        if !subtree.advance(&self.others, until) {
            self.subtree = Some(subtree);
            return;
        }
        let Subtree {
            cgroups,
            threads,
            failed,
            is_cut,
            ..
        } = subtree;
        if let Some(error) = failed {
            self.complain(&format!("a cgroup below it cannot be read: {error}"));
        }
        if is_cut {
            self.complain(&format!(
                "there are more than {CGROUPS} cgroups below it; remove those that are not used"
            ));
        }
        let had = self.wanted.cgroups.len();
        self.wanted.cgroups.extend(cgroups);
        let is_wider = self.wanted.cgroups.len() > had;
        if is_wider {
            // Sockets of a new cgroup may be in any of them.
            self.known.clear();
        }
        let news: BTreeSet<_> = threads.difference(&self.threads).copied().collect();
        if !news.is_empty() || is_wider {
            self.held = Some(Held::by(news.iter().copied()));
            self.has_news = true;
        }
        // Workloads without a network namespace of their own use this one, and others may have used it before.
        self.note("/proc/thread-self/ns/net".into());
        if let Err(error) = Network::id(INIT.as_ref()) {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::debug!(
                    "{INIT} cannot be opened ({error}): sockets left there by a workload are not ended"
                );
            });
        } else {
            self.note(INIT.into());
        }
        // A thread that was there before may have entered another namespace meanwhile.
        self.asking = threads.iter().copied().collect();
        self.threads = threads;
    }

    fn note(&mut self, path: PathBuf) {
        match there(Network::id(&path)) {
            Ok(Some(id)) => {
                if self.is_news(id) {
                    self.ahead.push_back(Ahead::Path(path));
                }
            }
            Ok(None) => {}
            Err(error) => self.complain(&format!("{}: {error}", path.display())),
        }
    }

    /// Whether a namespace is to be looked at.
    fn is_news(&mut self, id: NetworkId) -> bool {
        if self.known.len() >= self.most && !self.known.contains(&id) {
            if !std::mem::replace(&mut self.is_cut, true) {
                self.complain(&format!(
                    "it has more than {} network namespaces; end its processes and close its files that \
                     hold them",
                    self.most
                ));
            }
            return false;
        }
        let is_news = self.known.insert(id);
        self.has_news |= is_news;
        is_news
    }

    fn enter(&mut self, ahead: Ahead) {
        let network = match ahead {
            Ahead::Open(network) => Ok(Some(network)),
            Ahead::Path(path) => there(Network::open(&path)),
        };
        let started = network
            .context("opening a network namespace")
            .and_then(|network| {
                let Some(network) = network else {
                    return Ok(());
                };
                self.known.insert(network.id);
                self.listing = Some((Listing::start(&network)?, Arc::new(network)));
                Ok(())
            });
        if let Err(error) = started {
            self.complain(&format!("{error:#}"));
        }
    }

    fn list(&mut self, until: Instant) {
        let Some((mut listing, network)) = self.listing.take() else {
            return;
        };
        match listing.advance(&self.wanted, &mut self.inodes, until) {
            Ok(false) => self.listing = Some((listing, network)),
            Ok(true) => {
                let (found, is_cut) = listing.end_round();
                self.found.extend(found.into_iter().map(|listed| Live {
                    workload: self.place.cgroup,
                    listed,
                    network: Arc::clone(&network),
                    _batch: None,
                }));
                self.listing = is_cut.then_some((listing, network));
            }
            Err(error) => self.fail_listing(&error, network),
        }
    }

    /// Lists again without marks if the kernel refused because of the marks.
    fn fail_listing(&mut self, error: &anyhow::Error, network: Arc<Network>) {
        self.complain(&format!("listing sockets: {error:#}"));
        if self.wanted.marks.take().is_some() {
            let again: Result<_> = Listing::start(&network);
            self.listing = again.ok().map(|listing| (listing, network));
        }
    }

    fn search(&mut self, mut held: Held, until: Instant) {
        let (networks, is_over) = held.advance(&self.inodes, &self.known, until);
        for network in networks {
            if self.is_news(network.id) {
                self.ahead.push_back(Ahead::Open(network));
            }
        }
        if !is_over {
            self.held = Some(held);
        } else if let Some(why) = held.why {
            let hidden = held.hidden;
            self.complain(&format!(
                "{hidden} files whose network namespace is not known: {why}"
            ));
        }
    }

    /// A workload can cause thousands of complaints; only the first few are logged.
    fn complain(&mut self, what: &str) {
        self.complaints += 1;
        self.hidden.get_or_insert_with(|| what.to_owned());
        if self.complaints <= COMPLAINTS {
            let folder = self.place.folder.display();
            tracing::error!("not all sockets of {folder} can be listed: {what}");
        }
    }

    fn sum_up(&mut self) {
        let more = std::mem::take(&mut self.complaints).saturating_sub(COMPLAINTS);
        if more > 0 {
            let folder = self.place.folder.display();
            tracing::error!(
                "not all sockets of {folder} can be listed, for {more} more reasons of this kind"
            );
        }
        if let Some(limit) = self.inodes.limit() {
            tracing::info!(
                "{}: more than {limit} sockets in its network namespaces; those beyond are asked one by one for their \
                 namespace, so that ending what is no longer allowed takes longer",
                self.place.folder.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    use nix::{
        sched::{CloneFlags, unshare},
        unistd::gettid,
    };

    use super::*;

    /// Looks at threads with as many network namespaces of their own, at most `most` namespaces.
    fn hidden(networks: usize, most: usize) -> Option<String> {
        let (tell, told) = mpsc::channel();
        let (hold, _held): (Vec<_>, Vec<_>) = (0..networks)
            .map(|_| {
                let (tell, (hold, held)) = (tell.clone(), mpsc::channel::<()>());
                let thread = thread::spawn(move || {
                    unshare(CloneFlags::CLONE_NEWNET).unwrap();
                    tell.send(gettid()).unwrap();
                    // Until nobody holds it any more.
                    held.recv().unwrap_err();
                });
                (hold, thread)
            })
            .unzip();
        let threads: Vec<_> = told
            .iter()
            .take(networks)
            .map(|thread| thread.to_string())
            .collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.threads"), threads.join("\n")).unwrap();
        let place = Place {
            cgroup: CgroupId(7),
            folder: folder.path().to_owned(),
        };
        let mut look = Look::at(place, Arc::default(), None);
        look.most = most;
        while !look.advance(Instant::now() + Duration::from_millis(1)) {}
        drop(hold);
        look.hidden
    }

    #[test]
    fn more_network_namespaces_than_are_looked_at_are_told_of() {
        // Beside this thread's own and the host's, which may be one.
        assert_eq!(hidden(3, 5), None);
        let told = hidden(6, 5).unwrap();
        assert!(told.contains("more than 5 network namespaces"), "{told}");
    }
}
