//! From paths to folder handles, one component after the other or all at once by `openat2`.
//!
//! Always: a handle found here lies below the target at that moment, and no symbolic link was followed to it.
//! Never: the result of one walk is trusted for the next; a handle is the only memory of a place.

use crate::meta::Kind;
use crate::path::check_path;
use crate::target::Error;
use crate::target::Existing;
use crate::target::FileId;
use crate::target::Folder;
use crate::target::Obstacle;
use crate::target::Shared;
use crate::target::os;
use crate::target::os::Handle;
use crate::target::os::Opening;
use crate::target::os_meta::Inode;
use std::io;

/// How often one component is tried again while someone else keeps changing it.
const TRIES_MAX: usize = 64;
/// What the owner needs to work in a folder.
const OWNER_ALL: u32 = 0o700;

/// A folder whose permissions were widened so that it could be worked in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loosened {
    pub(super) id: FileId,
    pub(super) mode: u32,
}

pub(super) fn checked(path: &[u8]) -> Result<(), Error> {
    check_path(path).map_err(|source| Error::BadName { path: path.to_vec(), source })
}

/// What a kind of node is called in an error.
pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(_) => "symbolic link",
        Kind::Fifo => "named pipe",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } => "character device",
        Kind::BlockDevice { .. } => "block device",
    }
}

/// A path and each of its ancestors but the root, outermost first: `a`, `a/b`, `a/b/c`.
fn steps(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
    ends.chain(Some(path.len())).filter(|&end| end > 0).map(|end| &path[..end])
}

impl Shared {
    /// A handle to look names up in the folder `path`; `None` if there is none. Changes nothing.
    pub(super) fn look(&self, path: &[u8]) -> Result<Option<Handle>, Error> {
        match os::open_beneath(&self.root, path, self.openat2, Opening::Look) {
            Ok(handle) => Ok(Some(handle)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                io::ErrorKind::NotADirectory => Err(self.obstacle_on(path)),
                _ => Err(Error::io("open folder", path)(error)),
            },
        }
    }

    /// Finds out what stands in the way to `path`.
    fn obstacle_on(&self, path: &[u8]) -> Error {
        let mut at: Option<Handle> = None;
        for step in steps(path) {
            let (from, name) = (at.as_ref().unwrap_or(&self.root), crate::path::split(step).1);
            match os::open_folder(from, name, Opening::Look) {
                Ok(handle) => at = Some(handle),
                Err(_) => return self.obstacle(from, name, step),
            }
        }
        Error::changed(path)
    }

    fn obstacle(&self, at: &Handle, name: &[u8], path: &[u8]) -> Error {
        match os::stat(at, name) {
            Ok(Existing { kind: Kind::Folder, .. }) => Error::changed(path),
            Ok(found) => Error::NotAFolder { path: path.to_vec(), found: kind_name(&found.kind) },
            Err(error) => Error::io("look at", path)(error),
        }
    }

    /// Opens the folder `path` for work, creating it and its parents.
    pub(super) fn enter(&self, path: &[u8], obstacle: Obstacle) -> Result<Folder, Error> {
        checked(path)?;
        if let Ok(handle) = os::open_beneath(&self.root, path, self.openat2, Opening::Work) {
            self.loosen(&Inode::open(&handle), path)?;
            return Ok(Folder { handle, path: path.to_vec(), is_new: false });
        }
        let mut at: Option<Handle> = None;
        let mut is_new = false;
        for step in steps(path) {
            let (handle, created) = self.step(at.as_ref().unwrap_or(&self.root), step, Some(obstacle))?;
            (at, is_new) = (Some(handle), created);
        }
        let handle = at.ok_or_else(|| Error::missing("open folder", path))?;
        Ok(Folder { handle, path: path.to_vec(), is_new })
    }

    /// Opens an existing folder for work, by its path.
    pub(super) fn reopen(&self, path: &[u8]) -> Result<Handle, Error> {
        if path.is_empty() {
            return os::open_folder(&self.root, b".", Opening::Work).map_err(Error::io("open folder", path));
        }
        let parent = self.look(crate::path::split(path).0)?.ok_or_else(|| Error::missing("open folder", path))?;
        Ok(self.step(&parent, path, None)?.0)
    }

    /// Opens the folder `path`, whose parent is `at`, for work; creates it if told what to do with an obstacle.
    /// Also says whether it was created.
    pub(super) fn step(&self, at: &Handle, path: &[u8], create: Option<Obstacle>) -> Result<(Handle, bool), Error> {
        let name = crate::path::split(path).1;
        let mut created = false;
        for _ in 0..TRIES_MAX {
            let error = match os::open_folder(at, name, Opening::Work) {
                Ok(handle) => {
                    self.loosen(&Inode::open(&handle), path)?;
                    return Ok((handle, created));
                }
                Err(error) => error,
            };
            match (error.kind(), create) {
                (io::ErrorKind::NotFound, Some(_)) => match os::make_folder(at, name) {
                    Ok(()) => created = true,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(Error::io("create folder", path)(error)),
                },
                (io::ErrorKind::NotADirectory, Some(Obstacle::Replace)) => match os::unlink(at, name) {
                    Ok(()) => {}
                    // It is gone, or a folder again: look once more.
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
                    Err(error) => return Err(Error::io("replace", path)(error)),
                },
                (io::ErrorKind::NotADirectory, _) => match self.obstacle(at, name, path) {
                    Error::Changed { .. } => {}
                    obstacle => return Err(obstacle),
                },
                (io::ErrorKind::PermissionDenied, _) if self.loosen_closed(at, name, path)? => {}
                _ => return Err(Error::io("open folder", path)(error)),
            }
        }
        Err(Error::changed(path))
    }

    /// Widens the permissions of our own folder that cannot even be opened. True if that helped.
    fn loosen_closed(&self, at: &Handle, name: &[u8], path: &[u8]) -> Result<bool, Error> {
        match os::open_folder(at, name, Opening::Look) {
            Ok(handle) => self.loosen(&Inode::pinned(&handle), path),
            Err(_) => Ok(false),
        }
    }

    /// Lets the owner work in their own folder, and remembers the permissions it had. Root needs no permissions.
    pub(super) fn loosen(&self, inode: &Inode<'_>, path: &[u8]) -> Result<bool, Error> {
        if self.uid == 0 {
            return Ok(false);
        }
        let found = os::stat_handle(inode.handle()).map_err(Error::io("look at", path))?;
        if found.uid != self.uid || found.mode & OWNER_ALL == OWNER_ALL {
            return Ok(false);
        }
        inode.set_mode(found.mode | OWNER_ALL).map_err(Error::io("open folder", path))?;
        let mut loosened = self.loosened.lock().expect("no panic while holding the lock");
        loosened.entry(path.to_vec()).or_insert(Loosened { id: found.id, mode: found.mode });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_lead_from_the_root_to_the_path() {
        let all = |path: &'static [u8]| steps(path).collect::<Vec<_>>();
        assert_eq!(all(b""), Vec::<&[u8]>::new());
        assert_eq!(all(b"a"), [b"a"]);
        assert_eq!(all(b"a/bc/d"), [&b"a"[..], b"a/bc", b"a/bc/d"]);
    }
}
