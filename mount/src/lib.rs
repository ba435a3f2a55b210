//! Show any read-only tree as a drive.
//!
//! [`Drive`] is the seam: ids, not paths; positions, not handles. A drive never changes while it is shown, so the
//! kernel may remember every answer for ever. Adapters ([`fuse`]) translate and do nothing else; [`memory`] is a
//! drive for tests. This crate knows nothing of backups.
//!
//! What a drive is asked, and how often (a warm second time is free everywhere):
//!
//! - A walk asks [`Drive::list`] twice per folder and buffer-full, never [`Drive::lookup`] or [`Drive::attr`] per file.
//! - A name, found or missing, is looked up once.
//! - Content is read once as long as the system has memory; nothing is asked when a file is opened or closed, unless
//!   the drive wants to judge who opens it ([`Drive::asks_open`]).
//! - Extended attributes are not remembered; ACLs are where the kernel judges by them.
//!
//! A drive answers [`Answer::Now`] from memory and [`Answer::Later`] when it must wait; whoever shows it sets a
//! deadline. Mounting and unmounting block, so they belong outside of async code.

pub mod drive;
#[cfg(target_os = "linux")]
pub mod fuse;
pub mod memory;

pub use drive::Answer;
pub use drive::Attr;
pub use drive::Drive;
pub use drive::DriveError;
