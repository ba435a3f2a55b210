//! The blocks of a file system: those of the source, with what its journal has not yet put in place laid over them.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::ext::group::Group;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::journal::Journal;
use crate::disk::fs::ext::superblock;
use crate::disk::fs::ext::superblock::Superblock;
use lru::LruCache;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Groups and inodes that are kept. An inode may be as large as a block: at most 4 MiB.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).expect("not 0");

/// Source, superblock and journal.
pub(super) struct Volume {
    source: Source,
    superblock: Superblock,
    journal: Option<Journal>,
    groups: RefCell<LruCache<u32, Group>>,
    inodes: RefCell<LruCache<u32, Arc<Inode>>>,
}

impl Volume {
    /// The volume as it lies there, without its journal.
    pub(super) fn open(source: Source) -> Result<Volume> {
        let mut bytes = [0; superblock::BYTES];
        source.read_at(superblock::AT, &mut bytes)?;
        let superblock = Superblock::parse(&bytes)?;
        let (groups, inodes) = (RefCell::new(LruCache::new(KEPT)), RefCell::new(LruCache::new(KEPT)));
        Ok(Volume { source, superblock, journal: None, groups, inodes })
    }

    /// Lays the journal over the blocks. The superblock itself may be in it.
    pub(super) fn replay(&mut self, journal: Journal) -> Result<()> {
        self.journal = Some(journal);
        let mut bytes = [0; superblock::BYTES];
        let read = self.read(superblock::AT, &mut bytes).and_then(|()| Superblock::parse(&bytes));
        let fits = |new: &Superblock| new.block_bytes == self.superblock.block_bytes;
        match read {
            Ok(new) if fits(&new) => self.superblock = new,
            Ok(_) => {
                return self.unplay(Error::damaged("ext4 superblock", superblock::AT, "it changes its block size"));
            }
            Err(error) => return self.unplay(error),
        }
        self.groups.get_mut().clear();
        self.inodes.get_mut().clear();
        Ok(())
    }

    fn unplay(&mut self, error: Error) -> Result<()> {
        self.journal = None;
        Err(error)
    }

    /// What the superblock says.
    pub(super) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The source.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What lies over the blocks.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Fills `buf` with the bytes from `at` on.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let Some(journal) = &self.journal else { return self.source.read_at(at, buf) };
        let block_bytes = self.superblock.block_bytes;
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let within = at % block_bytes;
            let len = rest.len().min((block_bytes - within) as usize);
            let (part, next) = rest.split_at_mut(len);
            match journal.block(&self.source, at / block_bytes)? {
                Some(block) => part.copy_from_slice(
                    block.get(within as usize..).and_then(|b| b.get(..len)).ok_or(Error::damaged(
                        "ext4 journal",
                        at,
                        "a block of it is too short",
                    ))?,
                ),
                None => self.source.read_at(at, part)?,
            }
            at = at.saturating_add(len as u64);
            rest = next;
        }
        Ok(())
    }

    /// One whole block of the file system.
    pub(super) fn block(&self, number: u64) -> Result<Vec<u8>> {
        let sb = &self.superblock;
        if number < sb.first_block || number >= sb.blocks {
            return Err(Error::damaged("ext4 block number", self.byte(number), "it is outside of the file system"));
        }
        let mut block = vec![0; sb.block_bytes as usize];
        self.read(self.byte(number), &mut block)?;
        Ok(block)
    }

    /// First byte of a block.
    pub(super) fn byte(&self, block: u64) -> u64 {
        block.saturating_mul(self.superblock.block_bytes)
    }

    /// The descriptor of a group.
    pub(super) fn group(&self, number: u32) -> Result<Group> {
        if let Some(group) = self.groups.borrow_mut().get(&number) {
            return Ok(*group);
        }
        let group = Group::read(self, number)?;
        self.groups.borrow_mut().put(number, group);
        Ok(group)
    }

    /// An inode by number.
    pub(super) fn inode(&self, number: u32) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.borrow_mut().get(&number) {
            return Ok(inode.clone());
        }
        let inode = Arc::new(Inode::read(self, number)?);
        self.inodes.borrow_mut().put(number, inode.clone());
        Ok(inode)
    }
}
