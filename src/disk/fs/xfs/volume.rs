//! Reading of metadata, checked, with what was read last kept.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::Source;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::overlay::Overlay;
use crate::disk::fs::xfs::superblock::Superblock;
use lru::LruCache;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Most bytes of blocks that are kept.
const BLOCKS_BYTES_MAX: u32 = 4 << 20;
/// Most inodes that are kept, of 2 KiB at most each.
const INODES_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not 0");

/// Part of a block that does not lie in one piece: byte and length.
pub(super) type Piece = (u64, u32);

/// Byte, what it was checked as, and for which owner.
type BlockKey = (u64, Header, u64);

/// Source and superblock, and what was read last.
pub(super) struct Volume {
    source: Source,
    pub(super) superblock: Superblock,
    /// What the log changes.
    overlay: Overlay,
    blocks: RefCell<LruCache<BlockKey, Arc<[u8]>>>,
    inodes: RefCell<LruCache<NodeId, Arc<Inode>>>,
}

impl Volume {
    pub(super) fn new(source: Source, superblock: Superblock) -> Volume {
        let largest = superblock.dir_block_bytes().max(1);
        let count = NonZeroUsize::new((BLOCKS_BYTES_MAX / largest).min(512) as usize).unwrap_or(NonZeroUsize::MIN);
        let blocks = RefCell::new(LruCache::new(count));
        let inodes = RefCell::new(LruCache::new(INODES_MAX));
        Volume { source, superblock, overlay: Overlay::default(), blocks, inodes }
    }

    /// The same with what the log changes.
    pub(super) fn with_overlay(self, overlay: Overlay) -> Result<Volume> {
        let mut volume = Volume { overlay, ..self };
        let (sector, is_changed) = volume.read(0, volume.superblock.sector_bytes)?;
        if is_changed {
            volume.superblock = Superblock::parse(&sector, false)?;
        }
        Ok(Volume { overlay: volume.overlay, ..Volume::new(volume.source, volume.superblock) })
    }

    /// Bytes of the source.
    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    /// `len` bytes, at most those of a few blocks, and whether the log changed some: then no checksum is right.
    pub(super) fn read(&self, at: u64, len: u32) -> Result<(Vec<u8>, bool)> {
        let mut bytes = vec![0; len as usize];
        self.source.read_at(at, &mut bytes)?;
        let is_changed = self.overlay.apply(at, &mut bytes);
        Ok((bytes, is_changed))
    }

    /// One block at `at`, checked.
    pub(super) fn block(&self, at: u64, header: Header, owner: u64) -> Result<Arc<[u8]>> {
        self.pieces(&[(at, self.superblock.block_bytes)], header, owner)
    }

    /// A block of several pieces, checked. Its place is that of the first.
    pub(super) fn pieces(&self, pieces: &[Piece], header: Header, owner: u64) -> Result<Arc<[u8]>> {
        let Some((at, _)) = pieces.first() else {
            return Err(Error::damaged(header.what(), 0, "it lies nowhere"));
        };
        let key = (*at, header, owner);
        if let Some(block) = self.blocks.borrow_mut().get(&key) {
            return Ok(block.clone());
        }
        let (mut bytes, mut is_sealed) = (Vec::new(), true);
        for (at, len) in pieces {
            let (piece, is_changed) = self.read(*at, *len)?;
            bytes.extend_from_slice(&piece);
            is_sealed &= !is_changed;
        }
        header.check(&self.superblock, &bytes, is_sealed, *at, owner)?;
        let block: Arc<[u8]> = bytes.into();
        self.blocks.borrow_mut().put(key, block.clone());
        Ok(block)
    }

    /// An inode that is in use.
    pub(super) fn inode(&self, id: NodeId) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.borrow_mut().get(&id) {
            return Ok(inode.clone());
        }
        let at = self.superblock.byte_of_inode(id).ok_or(Error::NotFound)?;
        let (bytes, is_changed) = self.read(at, self.superblock.inode_bytes)?;
        let inode = Arc::new(Inode::parse(bytes, !is_changed, id, at, &self.superblock)?);
        self.inodes.borrow_mut().put(id, inode.clone());
        Ok(inode)
    }
}
