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

/// The snapshot paths of all roots. Each must be there and readable.
pub(super) fn resolve(roots: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    if roots.is_empty() {
        return Err(Error::NoRoots);
    }
    roots.iter().map(|root| certain(root).map_err(|source| Error::Root { path: root.clone(), source })).collect()
}

/// The snapshot paths that [`crate::source::walk()`] will begin at: sorted, none within another.
pub fn roots_of(options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    let mut paths = resolve(&options.roots)?;
    paths.sort_unstable_by(|a, b| crate::path::compare(a, b));
    let mut outer: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        if !outer.iter().any(|known| crate::path::is_below(&path, known)) {
            outer.push(path);
        }
    }
    Ok(outer)
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
