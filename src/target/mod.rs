//! A folder that files are restored into, from data that may be hostile, while others may be changing it.
//!
//! # Always
//! - Nothing is written, linked, changed or removed outside the target, whatever names, symbolic links or hard
//!   links the snapshot or the target holds: names are validated, and every call is made through a handle of a
//!   folder found below the target without following any link (`openat2`, or component by component).
//! - A thing appears under its name only when it is complete; the previous file stays until then.
//! - Folders are closed to others until [`Target::finish_folder`].
//!
//! # Never
//! - Checks on strings stand for safety; a path is not trusted because it was good a moment ago.
//! - A privilege is restored (owner, setuid, capability, device) unless [`Options::privileged`] asks for it.
//!
//! A [`Folder`] is a handle. If somebody who may do so moves that folder elsewhere, what is still written through
//! the handle goes with the folder; the folder was theirs to move.
//!
//! # Order of a restore
//! [`Target::folder`] -> files, links, specials in it -> hard links -> [`Target::finish_folder`] bottom-up ->
//! [`Target::settle`] -> [`Target::sync`]. Several threads may share a target.

mod disk;
mod error;
mod file;
mod metadata;
#[cfg(target_os = "linux")]
#[path = "os_linux.rs"]
mod os;
#[cfg(target_os = "linux")]
#[path = "os_linux_meta.rs"]
mod os_meta;
mod owners;
mod part;
mod place;
mod remove;
mod walk;

#[cfg(test)]
mod tests;

pub use self::disk::DiskFault;
pub use self::disk::DiskTarget;
pub use self::error::Error;
pub use self::error::Missed;
pub use self::error::What;
pub use self::file::ExistingFile;
pub use self::file::NewFile;
pub use self::metadata::MTIME_UNKNOWN;
pub use self::part::is_part_name;

use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Time;
use crate::path::check_name;
use crate::path::join;
use crate::path::split;
use crate::target::os::Handle;
use crate::target::os::Opening;
use crate::target::os_meta::Inode;
use crate::target::owners::Owners;
use crate::target::walk::Loosened;
use crate::target::walk::checked;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

/// How things are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Restore what gives power: owners, setuid and setgid bits, capabilities and other attributes outside `user.`,
    /// devices, immutable and append-only flags. Only for snapshots whose every byte is trusted, and takes root.
    pub privileged: bool,
    /// Restore owners by number even where their names are known here.
    pub numeric_ids: bool,
    /// Leave holes where nothing is written; otherwise space is reserved for whole files.
    pub sparse: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { privileged: false, numeric_ids: false, sparse: true }
    }
}

/// Which file, whatever its name: as long as it exists, no other on this system has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

impl FileId {
    /// Of what stands at a path of this machine. Links are followed.
    pub fn of(path: &Path) -> io::Result<FileId> {
        let found = std::fs::metadata(path)?;
        Ok(FileId { device: found.dev(), inode: found.ino() })
    }
}

/// What stands at a place in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// What it is; a symbolic link with its target.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime: Time,
    /// Its identity.
    pub id: FileId,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Number of names.
    pub links: u64,
}

/// Something restored.
#[derive(Debug)]
pub struct Placed {
    /// Its identity: what [`Target::hard_link`] wants to see again.
    pub id: FileId,
    /// Metadata it lacks.
    pub missed: Vec<Missed>,
}

/// What to do with a file or link where a folder should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Leave it and fail with [`Error::NotAFolder`].
    Report,
    /// Remove it (a link itself, never what it points to) and create the folder.
    Replace,
}

/// How much to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// One node; a folder only if it is empty.
    Node,
    /// A folder with everything in it.
    Tree,
}

/// A folder of the target, open to be filled. Does not keep its path: the handle stays with the folder.
#[derive(Debug)]
pub struct Folder {
    handle: Handle,
    path: Vec<u8>,
    is_new: bool,
}

impl Folder {
    /// The path by which it was found.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// True if it was just created: nothing in it needs to be looked at.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

/// Flags that wait until a file has all its names.
#[derive(Debug)]
struct Later {
    path: Vec<u8>,
    id: FileId,
    flags: u32,
}

#[derive(Debug)]
struct Shared {
    root: Handle,
    options: Options,
    owners: Owners,
    openat2: bool,
    uid: u32,
    /// Part of the names of unfinished files, so that our own are not taken for leftovers.
    run: u64,
    parts_count: AtomicU32,
    loosened: Mutex<BTreeMap<Vec<u8>, Loosened>>,
    flags_later: Mutex<Vec<Later>>,
}

/// The folder restored into. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Target {
    shared: Arc<Shared>,
}

impl Target {
    /// Opens the folder `root`, creating it and its parents. Links in `root` itself are followed: the user typed it.
    pub fn open(root: &Path, options: Options) -> Result<Target, Error> {
        Target::open_with(root, options, true)
    }

    /// Opens the folder `root` to look around ([`Target::state`], [`Target::listing`]): nothing is created or changed.
    /// `None` if it is not there.
    pub fn inspect(root: &Path, options: Options) -> Result<Option<Target>, Error> {
        match Target::attach(root, options, true) {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    fn open_with(root: &Path, options: Options, try_openat2: bool) -> Result<Target, Error> {
        let path = root.as_os_str().as_bytes();
        std::fs::create_dir_all(root).map_err(Error::io("create folder", path))?;
        let target = Target::attach(root, options, try_openat2)?;
        target.shared.loosen(&Inode::open(&target.shared.root), b"")?;
        Ok(target)
    }

    fn attach(root: &Path, options: Options, try_openat2: bool) -> Result<Target, Error> {
        let path = root.as_os_str().as_bytes();
        let handle = os::open_root(root).map_err(Error::io("open folder", path))?;
        let run = getrandom::u64().map_err(io::Error::from).map_err(Error::io("choose random names for", path))?;
        let shared = Shared {
            openat2: try_openat2 && os::has_openat2(&handle),
            root: handle,
            options,
            owners: Owners::new(options.numeric_ids),
            uid: os::current_uid(),
            run,
            parts_count: AtomicU32::new(0),
            loosened: Mutex::default(),
            flags_later: Mutex::default(),
        };
        Ok(Target { shared: Arc::new(shared) })
    }

    /// What stands at `path`, or `None`. A link or file among its parents is [`Error::NotAFolder`].
    pub fn state(&self, path: &[u8]) -> Result<Option<Existing>, Error> {
        checked(path)?;
        if path.is_empty() {
            return os::stat_handle(&self.shared.root).map(Some).map_err(Error::io("look at", path));
        }
        let (parent, name) = split(path);
        match self.shared.look(parent)? {
            Some(at) => state_of(&at, name, path),
            None => Ok(None),
        }
    }

    /// The same for a name in an open folder: one system call.
    pub fn state_in(&self, folder: &Folder, name: &[u8]) -> Result<Option<Existing>, Error> {
        let path = checked_in(folder, name)?;
        state_of(&folder.handle, name, &path)
    }

    /// Opens the folder `path` to fill it, creating it and its parents where they are missing. New folders are
    /// closed to others, existing ones of ours are opened to us (`u+rwx`), until [`Target::finish_folder`] sets
    /// their permissions or [`Target::settle`] gives them back the old ones.
    pub fn folder(&self, path: &[u8], obstacle: Obstacle) -> Result<Arc<Folder>, Error> {
        self.shared.enter(path, obstacle).map(Arc::new)
    }

    /// All names in a folder, in no order.
    pub fn names(&self, folder: &Folder) -> Result<Vec<Vec<u8>>, Error> {
        let listed = os::list(&folder.handle).map_err(Error::io("list", &folder.path))?;
        Ok(listed.into_iter().map(|listed| listed.name).collect())
    }

    /// All names in the folder `path`, in no order. Unlike [`Target::folder`] this changes nothing on the way.
    pub fn listing(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        checked(path)?;
        let opened = os::open_beneath(&self.shared.root, path, self.shared.openat2, Opening::Work);
        let listed = opened.and_then(|handle| os::list(&handle)).map_err(Error::io("list", path))?;
        Ok(listed.into_iter().map(|listed| listed.name).collect())
    }

    /// Removes what a killed restore left unfinished in this folder; how many files. Never the files of this target
    /// or of another restore that is still running.
    pub fn remove_leftovers(&self, folder: &Folder) -> Result<u64, Error> {
        part::remove_leftovers(&self.shared, folder)
    }

    /// Begins a file of `size` bytes under a passing name in the folder; [`NewFile::finish`] gives it its own.
    pub fn begin_file(&self, folder: &Arc<Folder>, name: &[u8], size: u64) -> Result<NewFile, Error> {
        checked_in(folder, name)?;
        NewFile::begin(&self.shared, folder, name, size)
    }

    /// Opens the regular file at `path` for reading; `None` if there is none.
    pub fn open_existing(&self, path: &[u8]) -> Result<Option<ExistingFile>, Error> {
        checked(path)?;
        let (parent, name) = split(path);
        let Some(at) = self.shared.look(parent)? else {
            return Ok(None);
        };
        // Opening a device can do things; so only what is a file is opened, and checked again.
        if !state_of(&at, name, path)?.is_some_and(|found| found.kind == Kind::File) {
            return Ok(None);
        }
        let handle = os::open_file(&at, name).map_err(Error::io("open", path))?;
        let found = os::stat_handle(&handle).map_err(Error::io("look at", path))?;
        let path = path.to_vec();
        Ok((found.kind == Kind::File).then_some(ExistingFile { handle, found, path }))
    }

    /// A further name for something restored before at `existing`, as [`Placed::id`] identifies it. Anything else
    /// found there is [`Error::Changed`] and gets no name. Replaces like [`NewFile::finish`].
    pub fn hard_link(&self, existing: &[u8], id: FileId, folder: &Arc<Folder>, name: &[u8]) -> Result<(), Error> {
        checked(existing)?;
        checked_in(folder, name)?;
        place::hard_link(&self.shared, existing, id, folder, name)
    }

    /// A symbolic link to `target`, stored as it is. Replaces like [`NewFile::finish`].
    pub fn symlink(&self, folder: &Arc<Folder>, name: &[u8], target: &[u8], meta: &Meta) -> Result<Placed, Error> {
        checked_in(folder, name)?;
        place::symlink(&self.shared, folder, name, target, meta)
    }

    /// A pipe, socket or device (devices only if privileged). Replaces like [`NewFile::finish`].
    pub fn special(&self, folder: &Arc<Folder>, name: &[u8], kind: &Kind, meta: &Meta) -> Result<Placed, Error> {
        checked_in(folder, name)?;
        place::special(&self.shared, folder, name, kind, meta)
    }

    /// Sets the metadata (but no flags) of what stands there already, if it still is what `id` says and has this one
    /// name only: with several, the others may lie outside. Never a folder. Anything else is [`Error::Changed`].
    pub fn refresh(&self, folder: &Folder, name: &[u8], id: FileId, meta: &Meta) -> Result<Vec<Missed>, Error> {
        checked_in(folder, name)?;
        place::refresh(&self.shared, folder, name, id, meta)
    }

    /// Sets the metadata of a folder that gets no more content: after everything below it, before its parent.
    pub fn finish_folder(&self, path: &[u8], meta: &Meta) -> Result<Vec<Missed>, Error> {
        checked(path)?;
        let handle = self.shared.reopen(path)?;
        let inode = Inode::open(&handle);
        let mut missed = metadata::apply(&self.shared, &inode, meta, false);
        missed.extend(metadata::apply_flags(&self.shared, &inode, meta.flags));
        self.shared.loosened.lock().expect("no panic while holding the lock").remove(path);
        Ok(missed)
    }

    /// Removes what stands at `path` (not the target itself); how many nodes are gone, 0 if nothing was there.
    pub fn remove(&self, path: &[u8], removal: Removal) -> Result<u64, Error> {
        remove::remove(&self.shared, path, removal)
    }

    /// To be called when everything is in place: sets the flags of files with several names, and gives folders that
    /// were entered but never finished their permissions back. Returns what failed, by path.
    pub fn settle(&self) -> Vec<(Vec<u8>, Missed)> {
        place::settle(&self.shared)
    }

    /// Returns when everything written is on disk.
    pub fn sync(&self) -> Result<(), Error> {
        os::sync(&self.shared.root).map_err(Error::io("sync", b""))
    }
}

/// Checks a name, and the path it makes.
fn checked_in(folder: &Folder, name: &[u8]) -> Result<Vec<u8>, Error> {
    let path = join(&folder.path, name);
    match check_name(name) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::BadName { path: [&folder.path, &b"/"[..], name].concat(), source }),
    }
}

fn state_of(at: &Handle, name: &[u8], path: &[u8]) -> Result<Option<Existing>, Error> {
    match os::stat(at, name) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}
