//! Finds the files, and the folders in which something could change that.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::{
    print::{Inode, Print},
    read::{is_absence, reason},
};

/// As many symbolic links as the kernel follows in one path (`MAXSYMLINKS`).
const LINKS_LIMIT: usize = 40;
/// Folders within folders; deeper ones are reported and left alone, so that the stack is bounded.
const DEPTH_LIMIT: usize = 64;

/// What is there now.
#[derive(Default)]
pub(super) struct Walk {
    /// By path.
    pub(super) found: BTreeMap<PathBuf, Found>,
    /// Folders to watch, by absolute path.
    pub(super) places: BTreeMap<PathBuf, Interest>,
    seen: BTreeSet<Inode>,
    trail: Vec<Inode>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file.
    File(Print),
    /// Something that cannot be read; what was known of it, and of what is below it, is kept.
    Unreadable(String),
    /// Nothing, though it was named.
    Missing,
}

/// What about a folder matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// All files that a folder stands for.
    pub(super) has_files: bool,
    /// Names on the way to a file.
    pub(super) names: BTreeSet<OsString>,
}

impl Interest {
    /// Whether it matters what happens to `name`.
    pub(super) fn covers(&self, name: &OsStr) -> bool {
        self.names.contains(name) || self.has_files && !is_passed_over(name)
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.has_files |= other.has_files;
        self.names.extend(other.names);
    }
}

/// Looks at `roots` and all that is below them.
pub(super) fn walk(roots: &[PathBuf]) -> Walk {
    let mut walk = Walk::default();
    for root in roots {
        walk.follow_names(Path::new("/"), &absolute(root));
        match fs::metadata(root) {
            Ok(metadata) => walk.visit(root.clone(), &metadata),
            Err(error) if is_absence(&error) => {
                walk.found.insert(root.clone(), Found::Missing);
            }
            Err(error) => walk.unreadable(root.clone(), reason(&error)),
        }
    }
    walk
}

impl Walk {
    fn visit(&mut self, path: PathBuf, metadata: &Metadata) {
        if metadata.is_dir() {
            self.folder(path, Inode::of(metadata));
        } else if metadata.is_file() {
            self.found.insert(path, Found::File(Print::of(metadata)));
        } else {
            self.unreadable(path, "is not a regular file".to_owned());
        }
    }

    fn folder(&mut self, path: PathBuf, inode: Inode) {
        if self.trail.contains(&inode) {
            let why = "is a symbolic link to a folder that it is in";
            return self.unreadable(path, why.to_owned());
        }
        if self.trail.len() >= DEPTH_LIMIT {
            let why = format!("is more than {DEPTH_LIMIT} folders deep");
            return self.unreadable(path, why);
        }
        if !self.seen.insert(inode) {
            return;
        }
        self.places.entry(absolute(&path)).or_default().has_files = true;
        let mut names = match names(&path) {
            Ok(names) => names,
            Err(error) if is_absence(&error) => return,
            Err(error) => return self.unreadable(path, reason(&error)),
        };
        names.sort();
        self.trail.push(inode);
        // Links are followed from where the folder really is, since `..` in them means its real parent.
        let mut real = None;
        for name in names {
            self.entry(&path, &name, &mut real);
        }
        self.trail.pop();
    }

    fn entry(&mut self, folder: &Path, name: &OsStr, real: &mut Option<PathBuf>) {
        let path = folder.join(name);
        let metadata = fs::symlink_metadata(&path).and_then(|metadata| {
            if !metadata.is_symlink() {
                return Ok(metadata);
            }
            let real =
                real.get_or_insert_with(|| fs::canonicalize(folder).unwrap_or_else(|_| absolute(folder)));
            self.follow_names(real, Path::new(name));
            fs::metadata(&path)
        });
        match metadata {
            Ok(metadata) if metadata.is_dir() || is_wanted(name) => self.visit(path, &metadata),
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => self.unreadable(path, reason(&error)),
            Err(_) if !is_wanted(name) => {}
            Err(error) if is_absence(&error) => {
                // A link to nothing is a mistake or a moment; a file that went since the listing is neither.
                if fs::symlink_metadata(&path).is_ok() {
                    self.unreadable(path, "is a symbolic link to nothing".to_owned());
                }
            }
            Err(error) => self.unreadable(path, reason(&error)),
        }
    }

    fn unreadable(&mut self, path: PathBuf, reason: String) {
        self.found.insert(path, Found::Unreadable(reason));
    }

    /// Notes every name that is looked up on the way to `path`, seen from the real folder `base`, as the kernel
    /// does it, up to the first that does not exist.
    fn follow_names(&mut self, base: &Path, path: &Path) {
        let parts = |path: &Path| path.components().filter_map(part).collect::<VecDeque<_>>();
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
                    self.places.entry(base.clone()).or_default().names.insert(name);
                    match fs::read_link(&next) {
                        Ok(target) if links < LINKS_LIMIT => {
                            links += 1;
                            let mut target = parts(&target);
                            target.append(&mut rest);
                            rest = target;
                        }
                        Ok(_) => return,
                        // It is no link, or not there: then the watch of the folder that would have it is all.
                        Err(_) => base = next,
                    }
                }
            }
        }
    }
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

/// Names in a folder that may be files to read, or folders.
fn names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_plain = entry
            .file_type()
            .is_ok_and(|kind| !kind.is_dir() && !kind.is_symlink());
        if !is_passed_over(&name) && (!is_plain || is_wanted(&name)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Hidden files, editors' locks and saves, and the inner folders of a mounted ConfigMap.
fn is_passed_over(name: &OsStr) -> bool {
    matches!(name.as_bytes(), [b'.' | b'#', ..] | [.., b'~'])
}

/// The names that `kubectl -f` reads in a folder.
fn is_wanted(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|wanted| extension == *wanted))
}

fn absolute(path: &Path) -> PathBuf {
    // It fails only for an empty path, or if the working directory is gone.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
