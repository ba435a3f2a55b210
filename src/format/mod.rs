//! The bytes of a repository, version 1. `FORMAT.md` beside this file is the one truth; these modules follow it.
//!
//! Everything here is pure and total: whatever bytes come in, the answer is a value or one precise [`FormatError`],
//! and no more memory is taken than the bytes that are there or a declared limit allow.
#![doc = include_str!("FORMAT.md")]

pub mod chunk;
pub mod config;
pub mod disk;
pub mod draft;
pub mod extents;
pub mod group;
pub mod index;
pub mod later;
pub mod node;
pub mod page;
pub mod parity;
pub mod record;
pub mod sealed;
pub mod slot;
pub mod wire;

pub use wire::FormatError;

/// First bytes of every object with a clear header. The line end shows damage by text-mode transfers.
pub const MAGIC: &[u8; 8] = b"BYGONE\r\n";
/// The version this program writes and the newest it reads.
pub const FORMAT_VERSION: u16 = 1;
