//! Where content lies: references to chunks, and the runs a large file is made of.

use crate::id::ChunkId;
use crate::id::ObjectId;

/// Where an encoded chunk was last seen. A hint: it can be stale (repacked), then the index knows better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Locator {
    /// The pack that holds it.
    pub pack: ObjectId,
    /// First byte within the pack's payload.
    pub offset: u32,
    /// Encoded length in bytes.
    pub len: u32,
}

/// What a chunk holds. Part of its id, so that file content can never pass as metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChunkKind {
    /// File or disk content.
    Data = 1,
    /// A page of a snapshot's tree of nodes.
    NodePage = 2,
    /// A page of a file's tree of extents.
    ExtentPage = 3,
}

impl ChunkKind {
    /// Reads the byte of the format.
    pub fn from_byte(byte: u8) -> Option<ChunkKind> {
        [ChunkKind::Data, ChunkKind::NodePage, ChunkKind::ExtentPage].into_iter().find(|k| k.byte() == byte)
    }

    /// The byte of the format.
    pub fn byte(self) -> u8 {
        match self {
            ChunkKind::Data => 1,
            ChunkKind::NodePage => 2,
            ChunkKind::ExtentPage => 3,
        }
    }

    /// True for everything a browse needs before any content.
    pub fn is_metadata(self) -> bool {
        self != ChunkKind::Data
    }
}

/// A chunk or page: what it is, and where it probably lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// Keyed hash of the plaintext.
    pub id: ChunkId,
    /// Plaintext length in bytes.
    pub len: u32,
    /// Where it was written.
    pub hint: Locator,
}

/// One run of a file: bytes that are there, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The bytes of one chunk.
    Data(ChunkRef),
    /// This many zero bytes that were never stored.
    Hole(u64),
}

impl Extent {
    /// Length in bytes of the file.
    pub fn len(&self) -> u64 {
        match self {
            Extent::Data(chunk) => u64::from(chunk.len),
            Extent::Hole(len) => *len,
        }
    }

    /// True for a run of no bytes (never stored).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
