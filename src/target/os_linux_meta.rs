//! Linux: setting the metadata of one inode through its handle. Leaf behind [`super::metadata`].
//!
//! Always: what is changed is the inode the handle holds, whatever its name has become.
//! Never: a name is looked up; policy (what may be set at all) is not decided here.

use crate::meta::Time;
use crate::target::os::Handle;
use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::IFlags;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsRawFd;

/// Largest list of attribute names Linux gives.
const XATTR_LIST_BYTES_MAX: usize = 64 * 1024;

/// An inode whose metadata is being set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode<'a> {
    handle: &'a Handle,
    /// Held but not opened: calls on handles are refused, the name of the handle in `/proc` works.
    pinned: bool,
}

impl<'a> Inode<'a> {
    /// Of an open file or folder.
    pub(super) fn open(handle: &'a Handle) -> Inode<'a> {
        Inode { handle, pinned: false }
    }

    /// Of something that is only pinned.
    pub(super) fn pinned(handle: &'a Handle) -> Inode<'a> {
        Inode { handle, pinned: true }
    }

    /// The handle.
    pub(super) fn handle(&self) -> &Handle {
        self.handle
    }

    /// Leads to exactly the inode held, even to a symbolic link itself.
    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }

    /// Changes user and group; `None` leaves one as it is.
    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        // This number means "leave it" to the kernel.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(self.handle, "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Sets permission bits.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        Ok(if self.pinned { rustix::fs::chmod(self.proc_path(), mode) } else { rustix::fs::fchmod(self.handle, mode) }?)
    }

    /// Names of all attributes; none where the file system has no attributes.
    pub(super) fn xattr_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let read = |buffer: &mut [u8]| {
            if self.pinned {
                rustix::fs::listxattr(self.proc_path(), buffer)
            } else {
                rustix::fs::flistxattr(self.handle, buffer)
            }
        };
        let mut small = [0; 512];
        let mut large = Vec::new();
        let list = match read(&mut small) {
            Ok(len) => &small[..len],
            Err(Errno::OPNOTSUPP) => &[],
            Err(Errno::RANGE) => {
                large.resize(XATTR_LIST_BYTES_MAX, 0);
                let len = read(&mut large)?;
                &large[..len]
            }
            Err(error) => return Err(error.into()),
        };
        Ok(list.split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Sets one attribute.
    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(if self.pinned {
            rustix::fs::setxattr(self.proc_path(), name, value, XattrFlags::empty())
        } else {
            rustix::fs::fsetxattr(self.handle, name, value, XattrFlags::empty())
        }?)
    }

    /// Removes one attribute.
    pub(super) fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        Ok(if self.pinned {
            rustix::fs::removexattr(self.proc_path(), name)
        } else {
            rustix::fs::fremovexattr(self.handle, name)
        }?)
    }

    /// Sets the time of the last change of content, and leaves the time of access alone.
    pub(super) fn set_mtime(&self, time: Time) -> io::Result<()> {
        // Larger values are no times but orders ("now", "leave it").
        if time.nanos >= 1_000_000_000 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
        };
        if !self.pinned {
            return Ok(rustix::fs::futimens(self.handle, &times)?);
        }
        match rustix::fs::utimensat(self.handle, "", &times, AtFlags::EMPTY_PATH) {
            // Before Linux 5.8.
            Err(Errno::INVAL) => {
                Ok(rustix::fs::utimensat(rustix::fs::CWD, self.proc_path(), &times, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    /// Adds `chattr` flags to those the inode has. Not for pinned inodes.
    pub(super) fn add_flags(&self, flags: u32) -> io::Result<()> {
        let has = rustix::fs::ioctl_getflags(self.handle)?;
        let wanted = has | IFlags::from_bits_retain(flags);
        if wanted != has {
            rustix::fs::ioctl_setflags(self.handle, wanted)?;
        }
        Ok(())
    }
}
