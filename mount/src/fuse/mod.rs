//! FUSE: shows a [`Drive`] at a folder of a Linux system.
//!
//! [`mount`] checks the mount point, clears away a dead drive of ours, mounts and serves in threads of its own until
//! someone unmounts. The drive is always `ro,nosuid,nodev,noatime,default_permissions` and private to the mounting
//! user unless asked otherwise. The parts:
//!
//! | file | does |
//! |---|---|
//! | `adapter` | each FUSE request to one [`Drive`] call and back; never waits |
//! | `reply` | the words of a drive in the words of FUSE, the one table of error numbers |
//! | `listing` | fills the buffer of one `readdir` |
//! | `patience` | how long requests may wait |
//! | `follow` | on which processor questions are answered |
//! | `counts` | how many requests of each kind were made |
//! | `session` | the life of one mount |
//! | `point` | may a drive be shown at this folder? |
//! | `attach` | asks the system for the mount |
//! | `table` | the system's table of mounts; unmounting |
//!
//! Nothing here holds a system handle per node, and nothing is remembered between two requests.

mod adapter;
mod attach;
mod counts;
mod error;
mod follow;
mod gift;
mod listing;
mod patience;
mod point;
mod reply;
mod session;
mod table;

pub use counts::Counts;
pub use error::MountError;
pub use error::UnmountError;
pub use session::MountOptions;
pub use session::Session;
pub use session::Unmounted;
pub use session::mount;
pub use table::MountInfo;
pub use table::Pulse;
pub use table::mounts;
pub use table::pulses;
pub use table::unmount;

/// Marks our mounts in the system's table.
const SUBTYPE: &str = "bygone";

#[cfg(doc)]
use crate::drive::Drive;
