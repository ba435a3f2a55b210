//! Linux: files and folders through folder handles. Leaf behind [`super::Target`].
//!
//! Always: a name is one validated component, or a path of such components below a handle; symbolic links are
//! never followed. Never: an absolute path except the target's own and `/proc/self/fd/<n>` for a pinned handle.

use crate::meta::Kind;
use crate::meta::Time;
use crate::target::Existing;
use crate::target::FileId;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;
use rustix::io::Errno;
use rustix::io::retry_on_intr;
use std::io;
use std::path::Path;

/// An open file or folder.
pub(super) type Handle = std::os::fd::OwnedFd;

/// Longest path given to the kernel in one call; longer ones are walked in pieces of this size.
const PIECE_BYTES_MAX: usize = 4000;

/// How often a look is repeated while someone else keeps changing what is there.
const TRIES_MAX: usize = 64;

/// What a folder is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// To find names in it: needs no permission to read it.
    Look,
    /// To change it and its metadata.
    Work,
    /// To empty it: never crosses into another mounted file system.
    Purge,
}

impl Opening {
    fn flags(self) -> OFlags {
        let common = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        common | if self == Opening::Look { OFlags::PATH } else { OFlags::RDONLY }
    }

    fn resolve(self) -> ResolveFlags {
        let safe = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if self == Opening::Purge { safe | ResolveFlags::NO_XDEV } else { safe }
    }
}

/// Opens the target itself: the only path that may go through links, because the user typed it.
pub(super) fn open_root(path: &Path) -> io::Result<Handle> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether the kernel, and the sandbox around us, offer `openat2`.
pub(super) fn has_openat2(root: &Handle) -> bool {
    let how = Opening::Look;
    rustix::fs::openat2(root, ".", how.flags(), Mode::empty(), how.resolve()).is_ok()
}

/// The user this process acts as.
pub(super) fn current_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Opens the folder `path` below `root`; a link or file on the way gives [`io::ErrorKind::NotADirectory`].
pub(super) fn open_beneath(root: &Handle, path: &[u8], openat2: bool, how: Opening) -> io::Result<Handle> {
    let mut at: Option<Handle> = None;
    let mut rest = path;
    while !rest.is_empty() {
        let (piece, tail) = cut(rest, if openat2 { PIECE_BYTES_MAX } else { 0 });
        let from = at.as_ref().unwrap_or(root);
        let flags = if tail.is_empty() { how.flags() } else { Opening::Look.flags() };
        let opened = if openat2 {
            rustix::fs::openat2(from, piece, flags, Mode::empty(), how.resolve())
        } else {
            rustix::fs::openat(from, piece, flags, Mode::empty())
        };
        at = Some(opened.map_err(not_a_folder)?);
        rest = tail;
    }
    at.map_or_else(|| open_folder(root, b".", how), Ok)
}

/// Splits off as many components as fit into `bytes_max`, but at least one.
fn cut(path: &[u8], bytes_max: usize) -> (&[u8], &[u8]) {
    if path.len() <= bytes_max {
        return (path, b"");
    }
    let fitting = path.iter().take(bytes_max).rposition(|&b| b == b'/');
    match fitting.or_else(|| path.iter().position(|&b| b == b'/')) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

/// A link in the way is told by different errors; they all mean that no folder is there.
fn not_a_folder(error: Errno) -> io::Error {
    if error == Errno::LOOP { Errno::NOTDIR.into() } else { error.into() }
}

/// Opens one folder in another (`.` for the same again).
pub(super) fn open_folder(at: &Handle, name: &[u8], how: Opening) -> io::Result<Handle> {
    rustix::fs::openat(at, name, how.flags(), Mode::empty()).map_err(not_a_folder)
}

/// Creates a folder only we can enter; its real permissions come when it is complete.
pub(super) fn make_folder(at: &Handle, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(at, name, Mode::RWXU)?)
}

/// Removes a name that is not a folder.
pub(super) fn unlink(at: &Handle, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(at, name, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(super) fn remove_folder(at: &Handle, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR) {
        // Both numbers are allowed for "not empty".
        Err(Errno::EXIST) => Err(Errno::NOTEMPTY.into()),
        other => Ok(other?),
    }
}

/// What stands under a name.
pub(super) fn stat(at: &Handle, name: &[u8]) -> io::Result<Existing> {
    for _ in 0..TRIES_MAX {
        let mut found = existing(&rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let Kind::Symlink(target) = &mut found.kind else {
            return Ok(found);
        };
        match rustix::fs::readlinkat(at, name, Vec::new()) {
            Ok(read) => {
                *target = read.into_bytes();
                return Ok(found);
            }
            // No link any more: look again.
            Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

/// What a handle is. The target of a symbolic link is left empty.
pub(super) fn stat_handle(handle: &Handle) -> io::Result<Existing> {
    Ok(existing(&rustix::fs::fstat(handle)?))
}

#[allow(clippy::useless_conversion, reason = "the width of the link count differs between processors")]
fn existing(stat: &Stat) -> Existing {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Existing {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Symlink(Vec::new()),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            _ => Kind::File,
        },
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: Time { secs: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        id: FileId { device: stat.st_dev, inode: stat.st_ino },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: u64::from(stat.st_nlink),
    }
}

/// Creates a file that must be new, for reading and writing, readable by us alone; and marks it as being written.
pub(super) fn create_file(at: &Handle, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?;
    // Where the file system has no locks, a leftover cannot be told from a live file, and that is all we lose.
    let _ = lock(&file);
    Ok(file)
}

/// Takes the lock that says "being written"; false if another has it.
pub(super) fn lock(file: &Handle) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file for reading. Does not wait for the other end of a pipe; the caller checks what was opened.
pub(super) fn open_file(at: &Handle, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// Holds on to whatever stands under a name, without opening it.
pub(super) fn pin(at: &Handle, name: &[u8]) -> io::Result<Handle> {
    Ok(rustix::fs::openat(at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Gives a name in the same folder to something, replacing anything but a folder.
pub(super) fn rename(at: &Handle, from: &[u8], to: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(at, from, at, to)?)
}

/// A second name for a file; a symbolic link is linked itself, not what it points to.
pub(super) fn link(from: &Handle, name: &[u8], to: &Handle, new_name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())?)
}

/// Creates a symbolic link.
pub(super) fn symlink(at: &Handle, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, at, name)?)
}

/// Creates a pipe, socket or device nobody may open yet.
pub(super) fn make_node(at: &Handle, name: &[u8], kind: &Kind) -> io::Result<()> {
    let (file_type, major, minor) = match *kind {
        Kind::Fifo => (FileType::Fifo, 0, 0),
        Kind::Socket => (FileType::Socket, 0, 0),
        Kind::CharDevice { major, minor } => (FileType::CharacterDevice, major, minor),
        Kind::BlockDevice { major, minor } => (FileType::BlockDevice, major, minor),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // The kernel would silently cut larger numbers down to another device.
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let device = rustix::fs::makedev(major, minor);
    Ok(rustix::fs::mknodat(at, name, file_type, Mode::empty(), device)?)
}

/// One name of a listing, and whether it is a folder where the file system tells.
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) is_folder: bool,
}

/// Everything in a folder, in no order.
pub(super) fn list(folder: &Handle) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(Listed { name: name.to_vec(), is_folder: entry.file_type() == FileType::Directory });
        }
    }
    Ok(found)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: &Handle, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
pub(super) fn read_at(file: &Handle, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))?)
}

/// Sets the length of a file; new bytes are a hole.
pub(super) fn set_len(file: &Handle, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::ftruncate(file, len))?)
}

/// Reserves space for the whole file. Fine where the file system cannot.
pub(super) fn allocate(file: &Handle, len: u64) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Writes everything on the file system of this handle to its disk.
pub(super) fn sync(handle: &Handle) -> io::Result<()> {
    Ok(rustix::fs::syncfs(handle)?)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn long_paths_are_cut_between_components() {
        assert_eq!(cut(b"a/bb/c", 0), (&b"a"[..], &b"bb/c"[..]));
        assert_eq!(cut(b"a/bb/c", 5), (&b"a/bb"[..], &b"c"[..]));
        assert_eq!(cut(b"a/bb/c", 6), (&b"a/bb/c"[..], &b""[..]));
        assert_eq!(cut(b"aaaa/b", 2), (&b"aaaa"[..], &b"b"[..]));
        assert_eq!(cut(b"aaaa", 2), (&b"aaaa"[..], &b""[..]));
    }
}
