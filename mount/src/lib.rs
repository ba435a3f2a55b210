//! Show any read-only tree as a drive.
//!
//! [`Drive`] is the seam: ids, not paths; positions, not handles. A drive never changes while it is shown, so the
//! kernel may remember every answer for ever. Adapters ([`fuse`]) translate and do nothing else; [`memory`] is a
//! drive for tests. This crate knows nothing of backups.

pub mod drive;
#[cfg(target_os = "linux")]
pub mod fuse;
pub mod memory;

pub use drive::Answer;
pub use drive::Attr;
pub use drive::Drive;
pub use drive::DriveError;
