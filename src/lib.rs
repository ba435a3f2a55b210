//! Bygone: backups that open as drives.
//!
//! # Bird's eye
//! A *writer* takes snapshots of folders into a *repository* (any object storage); a *drive* shows a snapshot
//! as a read-only file system within a few round trips. The bytes are described in [`mod@format`].
//!
//! # Floors
//! A module uses lower floors only; equals do not know each other; `tests/tidy.rs` keeps it so.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | words | [`id`] [`path`] [`meta`] [`extent`] [`monitor`] | values; no I/O, no clock, no async |
//! | bytes | [`compress`] [`chunker`] [`crypto`], on them [`mod@format`], [`disk`] and [`plan`], on it [`tree`] | pure, total on hostile input, sync |
//! | edges | [`store`] [`cache`] [`source`] [`target`] [`image`] [`state`] | the only code that touches the world |
//! | repo | [`repo`] | open, find a chunk, fill a pack, the log |
//! | browse | [`browse`] | a snapshot as a tree |
//! | deeds | [`backup`] [`restore`] [`check`] [`history`] [`pin`] [`drive`] | what people ask for |
//! | repair | [`repair`] | puts right what a check finds |
//! | faces | [`cli`] | how they ask |
//!
//! Deeds are functions: `backup(&repo, &options, monitor)`. The library never prints, and never reads the
//! environment or the home folder; that is the business of [`cli`].
#![forbid(unsafe_code)]

pub mod backup;
pub mod browse;
pub mod cache;
pub mod check;
pub mod chunker;
pub mod cli;
pub mod compress;
pub mod crypto;
pub mod disk;
pub mod drive;
pub mod extent;
pub mod format;
pub mod history;
pub mod id;
pub mod image;
pub mod meta;
pub mod monitor;
pub mod path;
pub mod pin;
pub mod plan;
pub mod prune;
pub mod repair;
pub mod repo;
pub mod restore;
pub mod source;
pub mod state;
pub mod store;
pub mod target;
pub mod tree;
