//! Bygone: backups that open as drives.
//!
//! # Bird's eye
//! A *writer* takes snapshots of folders into a *repository* (any object storage); a *drive* shows a snapshot
//! as a read-only file system within a few round trips. The bytes are described in `src/format/FORMAT.md`.
//!
//! # Floors
//! A module uses lower floors only; equals do not know each other; `tests/tidy.rs` keeps it so.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 0 words | [`id`] [`path`] [`meta`] [`extent`] [`monitor`] | values; no I/O, no clock, no async |
//! | 1 bytes | | pure functions, total on hostile input, sync |
//! | 2 edges | [`store`] [`source`] | the only code that touches the world |
#![forbid(unsafe_code)]

pub mod extent;
pub mod id;
pub mod meta;
pub mod monitor;
pub mod path;
pub mod source;
pub mod store;
