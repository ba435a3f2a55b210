//! Bygone: backups that open as drives.
#![forbid(unsafe_code)]

pub mod chunker;
pub mod compress;
pub mod crypto;
pub mod extent;
pub mod format;
pub mod id;
pub mod meta;
pub mod monitor;
pub mod path;
pub mod repo;
pub mod state;
pub mod store;
pub mod target;
pub mod tree;
