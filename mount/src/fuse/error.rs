//! What can go wrong when a drive comes and goes. Each message says what to do.

use std::io;
use std::path::PathBuf;

/// Why a drive could not be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// `/dev/fuse` is missing or may not be opened.
    #[error("FUSE is not available: /dev/fuse cannot be opened (try `modprobe fuse`; in a container pass the device)")]
    NoFuse {
        /// What the system said.
        source: io::Error,
    },
    /// Only root mounts without the helper program.
    #[error("the program fusermount3 is missing; install it with `apt install fuse3`")]
    NoHelper,
    /// The mount point does not exist.
    #[error("the mount point '{}' does not exist; create the folder first", path.display())]
    Missing {
        /// The mount point.
        path: PathBuf,
    },
    /// The mount point is not a folder.
    #[error("the mount point '{}' is not a folder", path.display())]
    NotAFolder {
        /// The mount point.
        path: PathBuf,
    },
    /// The mount point holds files, which the drive would hide.
    #[error("the mount point '{}' is not empty; choose an empty folder", path.display())]
    NotEmpty {
        /// The mount point.
        path: PathBuf,
    },
    /// Another user's access was asked for, and the system forbids it.
    #[error("other users may be let in only if /etc/fuse.conf contains the line user_allow_other")]
    AllowOtherRefused,
    /// A drive of ours is shown here and alive.
    #[error("{source_name} is already mounted at '{}'; unmount it first", path.display())]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
        /// What is shown there.
        source_name: String,
    },
    /// A file system of another program whose server is gone.
    #[error("a dead mount of another program is at '{}'; remove it with `fusermount3 -u`", path.display())]
    DeadMount {
        /// The mount point.
        path: PathBuf,
    },
    /// Anything else the system refused.
    #[error("cannot mount at '{}'", path.display())]
    Io {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a drive could not be unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// No drive of ours is mounted there.
    #[error("no drive is mounted at '{}'", path.display())]
    NotMounted {
        /// The path asked for.
        path: PathBuf,
    },
    /// Programs still use it.
    #[error("the drive at '{}' is in use; close what uses it, or unmount lazily", path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// Somebody else has mounted it.
    #[error("the drive at '{}' was mounted by user {user}; only that user or root can unmount it", path.display())]
    NotYours {
        /// The mount point.
        path: PathBuf,
        /// The number of that user.
        user: u32,
    },
    /// Only root unmounts without the helper program.
    #[error("the program fusermount3 is missing; install it with `apt install fuse3`")]
    NoHelper,
    /// Anything else the system refused.
    #[error("cannot unmount '{}'", path.display())]
    Io {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
