//! Blocks of VHDX and the table that tells where they are.
//!
//! Source of the format: MS-VHDX, section 2.5.

use super::metadata::Metadata;
use super::overlay::Overlay;
use super::overlay::PIECE_BYTES;
use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::container::clusters::Clusters;
use crate::disk::container::clusters::Place;
use crate::disk::container::clusters::TABLES_BYTES;
use std::ops::Range;
use std::sync::Arc;

const WHAT: &str = "VHDX block table";
const ENTRY_BYTES: u64 = 8;
const OFFSET: u64 = !0xf_ffff;
/// After the entries of as many blocks as hold this number of sectors comes one for a bitmap.
const SECTORS_PER_CHUNK: u64 = 1 << 23;

/// The table.
pub(super) struct Blocks {
    file: Arc<Overlay>,
    table: Cached<Arc<Overlay>>,
    table_at: u64,
    metadata: Metadata,
    blocks_per_chunk: u64,
}

impl Blocks {
    pub(super) fn new(file: Arc<Overlay>, metadata: Metadata, region: &Range<u64>) -> Result<Blocks> {
        let table = Cached::new(file.clone(), TABLES_BYTES);
        let blocks_per_chunk = SECTORS_PER_CHUNK * metadata.sector_bytes / metadata.block_bytes;
        let blocks = Blocks { file, table, table_at: region.start, metadata, blocks_per_chunk };
        let count = blocks.metadata.disk_bytes.div_ceil(blocks.metadata.block_bytes);
        let needed = count.checked_sub(1).map_or(0, |last| (blocks.entry_index(last) + 1) * ENTRY_BYTES);
        if needed > region.end - region.start {
            return Err(Error::damaged(WHAT, region.start, "it is too short"));
        }
        Ok(blocks)
    }

    fn entry_index(&self, block: u64) -> u64 {
        block + block / self.blocks_per_chunk
    }
}

impl Clusters for Blocks {
    fn len(&self) -> u64 {
        self.metadata.disk_bytes
    }

    fn find(&self, at: u64, _wanted: u64) -> Result<(Place, u64)> {
        let (block, within) = (at / self.metadata.block_bytes, at % self.metadata.block_bytes);
        let left = self.metadata.block_bytes - within;
        let entry_at = self.table_at + self.entry_index(block) * ENTRY_BYTES;
        let mut bytes = [0; ENTRY_BYTES as usize];
        self.table.read_at(entry_at, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, entry_at);
        let entry = fields.u64(0)?;
        match entry & 7 {
            // Not present, undefined, zero, unmapped.
            0..=3 => Ok((Place::Zero, left)),
            6 if entry & OFFSET == 0 => Err(fields.damaged("a block that is there lies nowhere")),
            6 => {
                let file_at = (entry & OFFSET).saturating_add(within);
                let (place, len) = self.file.find(file_at);
                Ok((place, len.min(left)))
            }
            7 => Err(Error::unsupported("a differencing VHDX")),
            _ => Err(fields.damaged("a block is in a state that is not known")),
        }
    }

    fn unpack(&self, key: u64) -> Result<Vec<u8>> {
        let piece = self.file.piece(key).map(<[u8]>::to_vec);
        piece.filter(|piece| piece.len() as u64 == PIECE_BYTES).ok_or(Error::damaged(WHAT, key, "it leads nowhere"))
    }
}
