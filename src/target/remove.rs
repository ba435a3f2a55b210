//! Removing a node, or a folder with everything in it.
//!
//! Always: memory and open handles stay small however deep the tree is. Never: a symbolic link is followed, or
//! another mounted file system entered; a mount point inside a tree stops the removal with an error.

use crate::meta::Kind;
use crate::path::join;
use crate::path::split;
use crate::target::Error;
use crate::target::Removal;
use crate::target::Shared;
use crate::target::os;
use crate::target::os::Handle;
use crate::target::os::Opening;
use crate::target::os_meta::Inode;
use crate::target::walk::checked;
use std::io;

/// Removes what stands at `path`. Returns how many nodes are gone.
pub(super) fn remove(shared: &Shared, path: &[u8], removal: Removal) -> Result<u64, Error> {
    checked(path)?;
    let (parent, name) = split(path);
    crate::path::check_name(name).map_err(|source| Error::BadName { path: path.to_vec(), source })?;
    let Some(at) = shared.look(parent)? else {
        return Ok(0);
    };
    let found = match os::stat(&at, name) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    match (found.kind, removal) {
        (Kind::Folder, Removal::Tree) => {
            let device = os::stat_handle(&at).map_err(Error::io("look at", parent))?.id.device;
            Tree { shared, at, parent, device }.remove(name)
        }
        (Kind::Folder, Removal::Node) => match os::remove_folder(&at, name) {
            Ok(()) => Ok(1),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(Error::FolderInTheWay { path: path.to_vec() })
            }
            Err(error) => gone(error, path),
        },
        _ => os::unlink(&at, name).map_or_else(|error| gone(error, path), |()| Ok(1)),
    }
}

/// Someone else removing it is as good.
fn gone(error: io::Error, path: &[u8]) -> Result<u64, Error> {
    if error.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(Error::io("remove", path)(error)) }
}

/// A tree being removed from the folder `at`.
struct Tree<'a> {
    shared: &'a Shared,
    at: Handle,
    /// Path of `at` in the target.
    parent: &'a [u8],
    device: u64,
}

impl Tree<'_> {
    /// Walks without recursion and without keeping folders open: each is found again from `at` by its path.
    fn remove(&self, name: &[u8]) -> Result<u64, Error> {
        let mut removed_count = 0;
        let mut path = name.to_vec();
        // For each folder on the way down to `path`, the folders in it that are still to be removed.
        let mut trail = vec![self.empty(&path, &mut removed_count)?];
        while let Some(pending) = trail.last_mut() {
            if let Some(child) = pending.pop() {
                path = join(&path, &child);
                trail.push(self.empty(&path, &mut removed_count)?);
                continue;
            }
            let (parent, name) = split(&path);
            let at = self.open(parent, Opening::Look)?;
            removed_count += match os::remove_folder(&at, name) {
                Ok(()) => 1,
                Err(error) => gone(error, &join(self.parent, &path))?,
            };
            path.truncate(parent.len());
            trail.pop();
        }
        Ok(removed_count)
    }

    /// Removes all but folders from a folder, and returns the folders.
    fn empty(&self, path: &[u8], removed_count: &mut u64) -> Result<Vec<Vec<u8>>, Error> {
        let shown = join(self.parent, path);
        let folder = self.open(path, Opening::Purge)?;
        let found = os::stat_handle(&folder).map_err(Error::io("look at", &shown))?;
        if found.id.device != self.device {
            return Err(Error::io("remove", &shown)(io::ErrorKind::CrossesDevices.into()));
        }
        let mut folders = Vec::new();
        for listed in os::list(&folder).map_err(Error::io("list", &shown))? {
            if listed.is_folder {
                folders.push(listed.name);
                continue;
            }
            match os::unlink(&folder, &listed.name) {
                Ok(()) => *removed_count += 1,
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => folders.push(listed.name),
                Err(error) => *removed_count += gone(error, &join(&shown, &listed.name))?,
            }
        }
        Ok(folders)
    }

    fn open(&self, path: &[u8], how: Opening) -> Result<Handle, Error> {
        let shown = join(self.parent, path);
        match os::open_beneath(&self.at, path, self.shared.openat2, how) {
            Ok(handle) => {
                if how == Opening::Purge {
                    self.shared.loosen(&Inode::open(&handle), &shown)?;
                }
                Ok(handle)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && how == Opening::Purge => {
                let parent = self.open(split(path).0, Opening::Look)?;
                Ok(self.shared.step(&parent, &shown, None)?.0)
            }
            Err(error) => Err(Error::io("open folder", &shown)(error)),
        }
    }
}
