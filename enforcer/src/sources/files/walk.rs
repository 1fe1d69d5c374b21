//! Finds the files, and the folders in which a change could affect them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

mod bounds;
#[cfg(test)]
mod tests;

use self::bounds::{Added, Excess, Mark};
use super::{
    limit::{LIMITS, Limits, Tally},
    read::{is_absence, reason},
};
use crate::stamp::{Inode, Stamp};

/// The kernel follows this many symbolic links in one path (`MAXSYMLINKS`).
const LINKS_LIMIT: usize = 40;
/// The deepest nesting of folders; deeper ones are reported and left out, so that the stack is bounded.
const DEPTH_LIMIT: usize = 64;

/// The present files.
pub(super) struct Walk {
    /// By path.
    pub(super) found: BTreeMap<PathBuf, Found>,
    /// Folders to watch, by absolute path.
    pub(super) places: BTreeMap<PathBuf, Interest>,
    seen: BTreeSet<Inode>,
    /// The folder that is being read, after its parents.
    trail: Vec<Level>,
    limits: Limits,
    /// What was counted of what is read.
    pub(super) tally: Tally,
    /// Names read since the last root, including those of what was left out.
    work: usize,
    excess: Option<Excess>,
    /// What was added, in order, so that it can be removed again.
    added: Added,
}

/// A folder on the path.
struct Level {
    path: PathBuf,
    inode: Inode,
    is_link: bool,
    mark: Mark,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file.
    File(Stamp),
    /// Something that cannot be read; what is known of it, and of everything below it, is kept.
    Unreadable(String),
    /// Nothing, although it was named.
    Missing,
}

/// Which changes in a folder matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// The path by which the folder is read, if it stands for all files in it.
    pub(super) read_as: Option<PathBuf>,
    /// Changes of these names, which are on the path to a file.
    pub(super) names: BTreeSet<OsString>,
}

impl Interest {
    pub(super) fn merge(&mut self, other: Self) {
        self.read_as = self.read_as.take().or(other.read_as);
        self.names.extend(other.names);
    }
}

/// A name that the kernel looks up on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The real folder that it is in.
    pub(super) folder: PathBuf,
    pub(super) name: OsString,
    pub(super) is_link: bool,
}

/// Walks `roots` and everything below them.
pub(super) fn walk(roots: &[PathBuf]) -> Walk {
    walk_within(roots, LIMITS)
}

fn walk_within(roots: &[PathBuf], limits: Limits) -> Walk {
    let mut walk = Walk {
        found: BTreeMap::new(),
        places: BTreeMap::new(),
        seen: BTreeSet::new(),
        trail: Vec::new(),
        limits,
        tally: Tally::default(),
        work: 0,
        excess: None,
        added: Added::default(),
    };
    for root in roots {
        walk.work = 0;
        let mark = walk.mark();
        walk.follow_names(Path::new("/"), &absolute(root));
        match fs::metadata(root) {
            Ok(metadata) => walk.visit(root.clone(), &metadata, false),
            Err(error) if is_absence(&error) => walk.find(root.clone(), Found::Missing),
            Err(error) => walk.unreadable(root.clone(), reason(&error)),
        }
        // The root is a file, or the excess is on the path to it.
        walk.leave_out(0, root.clone(), mark);
    }
    walk
}

impl Walk {
    fn visit(&mut self, path: PathBuf, metadata: &Metadata, is_link: bool) {
        if metadata.is_dir() {
            let mark = self.mark();
            let inode = Inode::of(metadata);
            self.folder(Level {
                path,
                inode,
                is_link,
                mark,
            });
        } else if metadata.is_file() {
            self.tally.add_file(metadata.len());
            self.find(path, Found::File(Stamp::of(metadata)));
            self.weigh();
        } else {
            self.unreadable(path, "is not a regular file".to_owned());
        }
    }

    fn folder(&mut self, step: Level) {
        if self.trail.iter().any(|above| above.inode == step.inode) {
            let why = "is a symbolic link to a folder that it is in";
            return self.unreadable(step.path, why.to_owned());
        }
        if self.trail.len() >= DEPTH_LIMIT {
            let why = format!("is more than {DEPTH_LIMIT} folders deep");
            return self.unreadable(step.path, why);
        }
        if !self.seen.insert(step.inode) {
            return;
        }
        self.added.seen.push(step.inode);
        self.place(absolute(&step.path)).read_as = Some(step.path.clone());
        let (path, mark) = (step.path.clone(), step.mark);
        self.trail.push(step);
        self.weigh();
        self.look_into(&path);
        self.trail.pop();
        self.leave_out(self.trail.len(), path, mark);
    }

    fn look_into(&mut self, path: &Path) {
        // One more than the limit, to detect that there are too many.
        let limit = (self.limits.names + 1).saturating_sub(self.tally.names);
        let mut names = match names(path, limit) {
            Ok((names, count)) => {
                self.tally.names += count;
                self.work += count;
                names
            }
            Err(error) if is_absence(&error) => return,
            Err(error) => return self.unreadable(path.to_owned(), reason(&error)),
        };
        self.weigh();
        names.sort();
        // Links are followed from the folder's real path, since `..` in them means its real parent.
        let mut real = None;
        for name in names {
            if self.excess.is_some() {
                return;
            }
            self.entry(path, &name, &mut real);
        }
    }

    fn find(&mut self, path: PathBuf, found: Found) {
        self.added.found.push(path.clone());
        self.found.insert(path, found);
    }

    fn place(&mut self, path: PathBuf) -> &mut Interest {
        self.places.entry(path).or_insert_with_key(|path| {
            self.added.places.push(path.clone());
            Interest::default()
        })
    }

    fn entry(&mut self, folder: &Path, name: &OsStr, real: &mut Option<PathBuf>) {
        let path = folder.join(name);
        let mut is_link = false;
        let metadata = fs::symlink_metadata(&path).and_then(|metadata| {
            if !metadata.is_symlink() {
                return Ok(metadata);
            }
            is_link = true;
            let real =
                real.get_or_insert_with(|| fs::canonicalize(folder).unwrap_or_else(|_| absolute(folder)));
            self.follow_names(real, Path::new(name));
            fs::metadata(&path)
        });
        match metadata {
            Ok(metadata) if metadata.is_dir() || is_wanted(name) => self.visit(path, &metadata, is_link),
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => self.unreadable(path, reason(&error)),
            Err(_) if !is_wanted(name) => {}
            Err(error) if is_absence(&error) => {
                // A dangling link is a mistake or temporary; a file that was removed since the listing is neither.
                if fs::symlink_metadata(&path).is_ok() {
                    self.unreadable(path, "is a symbolic link to nothing".to_owned());
                }
            }
            Err(error) => self.unreadable(path, reason(&error)),
        }
    }

    fn unreadable(&mut self, path: PathBuf, reason: String) {
        self.find(path, Found::Unreadable(reason));
    }

    /// Notes every name that the kernel looks up on the path to `path`, starting at the real folder `base`.
    fn follow_names(&mut self, base: &Path, path: &Path) {
        for step in steps(base, path) {
            self.place(step.folder).names.insert(step.name);
        }
    }
}

/// Every name that the kernel looks up on the path to `path`, starting at the real folder `base`, up to the first that
/// does not exist.
pub(super) fn steps(base: &Path, path: &Path) -> Vec<Step> {
    let parts = |path: &Path| path.components().filter_map(part).collect::<VecDeque<_>>();
    let mut steps = Vec::new();
    let mut base = base.to_owned();
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        match part {
            Part::Root => base = PathBuf::from("/"),
            Part::Parent => {
                base.pop();
            }
            Part::Name(name) => {
                let next = base.join(&name);
                let target = fs::read_link(&next);
                steps.push(Step {
                    folder: base.clone(),
                    name,
                    is_link: target.is_ok(),
                });
                match target {
                    Ok(target) if links < LINKS_LIMIT => {
                        links += 1;
                        let mut target = parts(&target);
                        target.append(&mut rest);
                        rest = target;
                    }
                    Ok(_) => break,
                    // It is not a link, or does not exist: then the watch of the parent folder suffices.
                    Err(_) => base = next,
                }
            }
        }
    }
    steps
}

enum Part {
    Root,
    Parent,
    Name(OsString),
}

fn part(component: Component<'_>) -> Option<Part> {
    match component {
        Component::RootDir | Component::Prefix(_) => Some(Part::Root),
        Component::ParentDir => Some(Part::Parent),
        Component::CurDir => None,
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
    }
}

/// Names in a folder that may be files to read, or folders; and the number of names, of which at most `limit` are
/// read.
fn names(folder: &Path, limit: usize) -> std::io::Result<(Vec<OsString>, usize)> {
    let mut names = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder)?.take(limit) {
        let entry = entry?;
        count += 1;
        let name = entry.file_name();
        let is_plain = entry
            .file_type()
            .is_ok_and(|kind| !kind.is_dir() && !kind.is_symlink());
        if !is_passed_over(&name) && (!is_plain || is_wanted(&name)) {
            names.push(name);
        }
    }
    Ok((names, count))
}

/// Hidden files, editors' locks and saves, and the inner folders of a mounted ConfigMap.
pub(super) fn is_passed_over(name: &OsStr) -> bool {
    matches!(name.as_bytes(), [b'.' | b'#', ..] | [.., b'~'])
}

/// The names that `kubectl -f` reads in a folder.
pub(super) fn is_wanted(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|wanted| extension == *wanted))
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    // It fails only for an empty path, or if the working directory is gone.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
