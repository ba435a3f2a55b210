//! The superblock: geometry, and where the tables begin.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::squash::compressor::Compressor;
use std::ops::Range;

/// Bytes of a superblock.
pub(super) const SUPERBLOCK_BYTES: usize = 96;
const WHAT: &str = "SquashFS superblock";
const MAGIC: u32 = 0x7371_7368;
const BLOCK_BYTES: Range<u32> = 4 << 10..(1 << 20) + 1;
/// A table that is not there.
const NONE: u64 = u64::MAX;

/// The superblock, once it has been checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Bytes of a data block.
    pub(super) block_bytes: u32,
    pub(super) fragments: u32,
    pub(super) compressor: Compressor,
    pub(super) ids: u16,
    /// Reference of the root's inode.
    pub(super) root: u64,
    /// Bytes of the whole.
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: Option<u64>,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: Option<u64>,
}

impl Superblock {
    /// The superblock of `source`, if there is one.
    pub(super) fn read(source: &Source) -> Result<Option<Superblock>> {
        if source.len() < SUPERBLOCK_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        source.read_at(0, &mut bytes)?;
        let fields = Fields::new(&bytes, WHAT, 0);
        if fields.be32(0)? == MAGIC {
            return Err(Error::unsupported("SquashFS of big-endian machines"));
        }
        if fields.u32(0)? != MAGIC {
            return Ok(None);
        }
        let block = Superblock::parse(&fields)?;
        if block.bytes_used > source.len() {
            return Err(fields.damaged("it is longer than the disk"));
        }
        Ok(Some(block))
    }

    fn parse(fields: &Fields<'_>) -> Result<Superblock> {
        let (major, minor) = (fields.u16(28)?, fields.u16(30)?);
        if (major, minor) != (4, 0) {
            return Err(Error::unsupported(format!("SquashFS {major}.{minor}")));
        }
        let table = |at| fields.u64(at).map(|start| (start != NONE).then_some(start));
        let block = Superblock {
            block_bytes: fields.u32(12)?,
            fragments: fields.u32(16)?,
            compressor: Compressor::from_number(fields.u16(20)?)?,
            ids: fields.u16(26)?,
            root: fields.u64(32)?,
            bytes_used: fields.u64(40)?,
            id_table: fields.u64(48)?,
            xattr_table: table(56)?,
            inode_table: fields.u64(64)?,
            directory_table: fields.u64(72)?,
            fragment_table: table(80)?,
        };
        let log = u32::from(fields.u16(22)?);
        if !BLOCK_BYTES.contains(&block.block_bytes) || 1u32.checked_shl(log) != Some(block.block_bytes) {
            return Err(fields.damaged("no such size of a block"));
        }
        if block.ids == 0 {
            return Err(fields.damaged("it has no owners"));
        }
        block.check_order(fields)?;
        Ok(block)
    }

    /// The tables stand in this order, so that each can be read without meeting the next.
    fn check_order(&self, fields: &Fields<'_>) -> Result<()> {
        let fragments = self.fragment_table.filter(|_| self.fragments > 0);
        let places = [Some(self.inode_table), Some(self.directory_table), fragments, Some(self.id_table)];
        let places = [SUPERBLOCK_BYTES as u64 - 1].into_iter().chain(places.into_iter().flatten());
        let places: Vec<u64> = places.chain(self.xattr_table).chain([self.bytes_used]).collect();
        if !places.is_sorted_by(|a, b| a < b) {
            return Err(fields.damaged("its tables are not in order"));
        }
        if self.fragments > 0 && fragments.is_none() {
            return Err(fields.damaged("it has fragments but no table of them"));
        }
        Ok(())
    }
}
