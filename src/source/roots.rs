//! What is to be backed up, made certain: absolute, existing, readable, none within another; and the way there.

use crate::source::Error;
use crate::source::Options;
use crate::source::os;
use std::collections::BTreeMap;
use std::io;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// The way from the top to the roots: only these names matter above them.
#[derive(Debug, Default)]
pub(super) struct Guide {
    children: BTreeMap<Vec<u8>, Arc<Guide>>,
    /// Its number among the roots, in the order of [`roots_of`], if it is one.
    root: Option<usize>,
}

impl Guide {
    /// The number of the root that begins here: from here on everything is listed.
    pub(super) fn root(&self) -> Option<usize> {
        self.root
    }

    /// True where a root begins.
    pub(super) fn is_root(&self) -> bool {
        self.root.is_some()
    }

    /// The way on through this name.
    pub(super) fn child(&self, name: &[u8]) -> Option<&Arc<Guide>> {
        self.children.get(name)
    }

    /// The names that lead to roots, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.children.keys().map(Vec::as_slice)
    }

    /// The way to these snapshot paths. A path within another adds nothing.
    pub(super) fn to(mut paths: Vec<Vec<u8>>) -> Guide {
        paths.sort_unstable_by(|a, b| crate::path::compare(a, b));
        let (mut guide, mut count) = (Guide::default(), 0);
        for path in paths {
            count += usize::from(guide.add(&path, count));
        }
        guide
    }

    /// False if the path lies within a root.
    fn add(&mut self, path: &[u8], number: usize) -> bool {
        let mut here = self;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            if here.is_root() {
                return false;
            }
            let next = here.children.entry(name.to_vec()).or_default();
            here = Arc::get_mut(next).expect("not shared while it is built");
        }
        let is_new = here.root.is_none();
        here.root.get_or_insert(number);
        is_new
    }
}

/// A root that cannot be read: its snapshot path, as far as that can be known, and why.
pub(super) type Missing = (Vec<u8>, Error);

/// The snapshot paths of all roots that are there and readable, and the others. Fails if there is none of the former.
pub(super) fn resolve(roots: &[PathBuf]) -> Result<(Vec<Vec<u8>>, Vec<Missing>), Error> {
    let (mut paths, mut missing) = (Vec::new(), Vec::new());
    for root in roots {
        match certain(root) {
            Ok(path) => paths.push(path),
            Err(source) => missing.push((path_of_missing(root), Error::Root { path: root.clone(), source })),
        }
    }
    match missing.pop_if(|_| paths.is_empty()) {
        Some((_, last)) => Err(missing.into_iter().next().map_or(last, |(_, first)| first)),
        None if paths.is_empty() => Err(Error::NoRoots),
        None => Ok((paths, missing)),
    }
}

fn path_of_missing(root: &Path) -> Vec<u8> {
    snapshot_path(&std::path::absolute(root).unwrap_or_else(|_| root.to_owned()))
}

/// The snapshot paths that [`crate::source::walk()`] will begin at: sorted, none within another.
pub fn roots_of(options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    Ok(outermost(resolve(&options.roots)?.0))
}

/// The same, if those were there that are missing.
pub fn wanted_roots(options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    let (mut paths, missing) = resolve(&options.roots)?;
    paths.extend(missing.into_iter().map(|(path, _)| path));
    Ok(outermost(paths))
}

fn outermost(mut paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    paths.sort_unstable_by(|a, b| crate::path::compare(a, b));
    let mut outer: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        if !outer.iter().any(|known| crate::path::is_below(&path, known)) {
            outer.push(path);
        }
    }
    outer
}

fn certain(root: &Path) -> io::Result<Vec<u8>> {
    let absolute = canonical(root)?;
    let stat = std::fs::symlink_metadata(&absolute)?;
    if stat.is_dir() {
        std::fs::read_dir(&absolute)?;
    } else if stat.is_file() {
        std::fs::File::open(&absolute)?;
    }
    let path = snapshot_path(&absolute);
    crate::path::check_path(&path).map_err(|fault| io::Error::new(io::ErrorKind::InvalidFilename, fault))?;
    Ok(path)
}

/// The absolute path without links on the way. The last name, if a link, is followed to a folder and nowhere else.
fn canonical(root: &Path) -> io::Result<PathBuf> {
    let is_link = std::fs::symlink_metadata(root)?.is_symlink();
    match (root.file_name(), root.parent()) {
        (Some(name), Some(parent)) if is_link && !root.is_dir() => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(std::fs::canonicalize(parent)?.join(name))
        }
        _ => std::fs::canonicalize(root),
    }
}

/// The path inside a snapshot of an absolute path.
pub(super) fn snapshot_path(absolute: &Path) -> Vec<u8> {
    let names = absolute.components().filter_map(|component| match component {
        Component::Normal(name) => Some(os::bytes(name)),
        _ => None,
    });
    names.collect::<Vec<_>>().join(&b'/')
}
