//! A volume and what is remembered of it: records, files, runs and unpacked data, 8 MiB together at most.

use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::fs::ntfs::boot::Boot;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::mft::Mft;
use crate::disk::fs::ntfs::record::Record;
use crate::disk::fs::ntfs::runlist::Extent;
use crate::disk::fs::ntfs::upcase::Upcase;
use lru::LruCache;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// 256 KiB of records of 4096 bytes.
const RECORDS_KEPT: usize = 64;
/// Index blocks: some hundred of the usual size.
const BLOCKS_BYTES_MAX: usize = 1 << 20;
/// Unpacked parts of files.
const UNITS_BYTES_MAX: usize = 1 << 20;
/// Parts of runlists: up to 1 MiB, as one record holds fewer than 2000 runs of 32 bytes.
const SEGMENTS_KEPT: usize = 16;
/// Files of up to [`INODE_PARTS_MAX`] parts, each of up to 0.5 KiB with its name.
const INODES_KEPT: usize = 16;
/// A file in more parts is remembered alone.
const INODE_PARTS_MAX: usize = 256;

/// A volume.
pub(super) struct Volume {
    pub(super) source: Source,
    pub(super) boot: Boot,
    pub(super) mft: Mft,
    /// `None` if `$UpCase` is damaged.
    pub(super) upcase: Option<Upcase>,
    records: LruCache<u64, Arc<Record>>,
    pub(super) inodes: Inodes,
    /// By record and instance.
    pub(super) segments: LruCache<(u64, u16), Arc<Vec<Extent>>>,
    /// Index blocks, by record and number.
    pub(super) blocks: Pieces<(u64, u64)>,
    /// Unpacked parts of files, by record, attribute and number.
    pub(super) units: Pieces<(u64, usize, u64)>,
}

/// Bytes that took work, as many as a limit allows.
pub(super) struct Pieces<K: Hash + Eq> {
    kept: LruCache<K, Arc<Vec<u8>>>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Hash + Eq> Pieces<K> {
    fn new(bytes_max: usize) -> Pieces<K> {
        Pieces { kept: LruCache::unbounded(), bytes: 0, bytes_max }
    }

    /// What was remembered.
    pub(super) fn get(&mut self, key: K) -> Option<Arc<Vec<u8>>> {
        self.kept.get(&key).cloned()
    }

    /// Remembers bytes, and forgets others for them.
    pub(super) fn put(&mut self, key: K, bytes: Arc<Vec<u8>>) {
        self.bytes += bytes.len();
        if let Some(before) = self.kept.put(key, bytes) {
            self.bytes -= before.len();
        }
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.kept.pop_lru() else { break };
            self.bytes -= oldest.len();
        }
    }
}

/// Files that were looked at last.
pub(super) struct Inodes {
    small: LruCache<u64, Arc<Inode>>,
    large: Option<Arc<Inode>>,
}

impl Inodes {
    /// The file of a record.
    pub(super) fn get(&mut self, number: &u64) -> Option<&Arc<Inode>> {
        let large = self.large.as_ref().filter(|large| large.number() == *number);
        large.or_else(|| self.small.get(number))
    }

    /// Remembers a file.
    pub(super) fn put(&mut self, inode: Arc<Inode>) {
        if inode.weight() > INODE_PARTS_MAX {
            self.large = Some(inode);
        } else {
            self.small.put(inode.number(), inode);
        }
    }
}

fn cache<K: Hash + Eq, V>(count: usize) -> LruCache<K, V> {
    LruCache::new(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN))
}

impl Volume {
    /// A volume of which only the file table is known yet.
    pub(super) fn new(source: Source, boot: Boot, mft: Mft) -> Volume {
        Volume {
            source,
            boot,
            mft,
            upcase: None,
            records: cache(RECORDS_KEPT),
            inodes: Inodes { small: cache(INODES_KEPT), large: None },
            segments: cache(SEGMENTS_KEPT),
            blocks: Pieces::new(BLOCKS_BYTES_MAX),
            units: Pieces::new(UNITS_BYTES_MAX),
        }
    }

    /// The record of a number.
    pub(super) fn record(&mut self, number: u64) -> Result<Arc<Record>> {
        if let Some(record) = self.records.get(&number) {
            return Ok(record.clone());
        }
        let record = Arc::new(self.mft.read(&self.source, &self.boot, number)?);
        self.records.put(number, record.clone());
        Ok(record)
    }
}
