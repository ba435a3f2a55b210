//! Tables of qcow2, of two levels: the first leads to tables of the second, and they to clusters.

use super::header::Header;
use super::read_up_to;
use crate::disk::BlockSource;
use crate::disk::Cached;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::container::clusters::Clusters;
use crate::disk::container::clusters::Place;
use crate::disk::container::clusters::TABLES_BYTES;
use crate::disk::container::inflate::inflate;
use crate::disk::fs::Source;

const WHAT: &str = "qcow2 table";
/// Bits of an entry that say where a table or cluster lies.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whether it lies somewhere or not.
const ZERO: u64 = 1;
/// Parts of a divided cluster; others have one.
const SPLIT_PARTS: u64 = 32;
/// Entries that are looked at together.
const ENTRIES_AT_ONCE: u64 = 512;

/// Both levels.
pub(super) struct Tables {
    header: Header,
    below: Source,
    tables: Cached<Source>,
}

/// An entry of the second level, and which parts of its cluster are there.
struct Entry {
    word: u64,
    parts_there: u32,
    parts_zero: u32,
}

impl Tables {
    pub(super) fn new(below: Source, header: Header) -> Result<Tables> {
        let tables = Tables { tables: Cached::new(below.clone(), TABLES_BYTES), below, header };
        let l1 = Fields::new(&[], "qcow2 header", 0);
        let covered = u128::from(tables.header.l1_count) * u128::from(tables.l2_reach());
        if covered < u128::from(tables.header.bytes) {
            return Err(l1.damaged("its table of the first level is too short"));
        }
        let l1_end = tables.header.l1_at.checked_add(tables.header.l1_count * 8);
        if !tables.header.l1_at.is_multiple_of(512) || l1_end.is_none_or(|end| end > tables.below.len()) {
            return Err(l1.damaged("its table of the first level is not within the file"));
        }
        Ok(tables)
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    fn parts(&self) -> u64 {
        if self.header.has_split_clusters { SPLIT_PARTS } else { 1 }
    }

    fn part_bytes(&self) -> u64 {
        self.cluster_bytes() / self.parts()
    }

    fn entry_bytes(&self) -> u64 {
        if self.header.has_split_clusters { 16 } else { 8 }
    }

    fn l2_count(&self) -> u64 {
        self.cluster_bytes() / self.entry_bytes()
    }

    /// Bytes of the disk that one table of the second level covers.
    fn l2_reach(&self) -> u64 {
        self.l2_count() * self.cluster_bytes()
    }

    fn table(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        if at.checked_add(len).is_none_or(|end| end > self.below.len()) {
            return Err(Error::damaged(WHAT, at, "it is not within the file"));
        }
        let mut bytes = vec![0; len as usize];
        self.tables.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Where the table of the second level for `at` lies; if there is none, how many bytes lead to none.
    fn l2(&self, at: u64) -> Result<std::result::Result<u64, u64>> {
        let first = at / self.l2_reach();
        let count = self.header.l1_count.saturating_sub(first).min(ENTRIES_AT_ONCE);
        let bytes = self.table(self.header.l1_at + first * 8, count * 8)?;
        let fields = Fields::new(&bytes, WHAT, self.header.l1_at + first * 8);
        let l2 = fields.be64(0)? & OFFSET;
        if l2 != 0 {
            self.check_aligned(l2)?;
            return Ok(Ok(l2));
        }
        let entries = bytes.chunks_exact(8).take_while(|entry| **entry == [0; 8]).count().max(1);
        Ok(Err((first + entries as u64).saturating_mul(self.l2_reach()) - at))
    }

    fn check_aligned(&self, at: u64) -> Result<()> {
        match at % self.cluster_bytes() {
            0 => Ok(()),
            _ => Err(Error::damaged(WHAT, at, "it points into the middle of a cluster")),
        }
    }

    fn entry(&self, fields: &Fields, index: usize) -> Result<Entry> {
        let at = index * self.entry_bytes() as usize;
        let word = fields.be64(at)?;
        if self.header.has_split_clusters {
            let parts = fields.be64(at + 8)?;
            let entry = Entry { word, parts_there: parts as u32, parts_zero: (parts >> 32) as u32 };
            if word & COMPRESSED == 0 && entry.parts_there & entry.parts_zero != 0 {
                return Err(fields.damaged("a part of a cluster is there and is not"));
            }
            if word & COMPRESSED == 0 && word & ZERO != 0 {
                return Err(fields.damaged("a divided cluster is marked as zeros"));
            }
            return Ok(entry);
        }
        let is_zero = word & COMPRESSED == 0 && word & ZERO != 0;
        if is_zero && self.header.version < 3 {
            return Err(fields.damaged("clusters of zeros are unknown to this version"));
        }
        let is_there = !is_zero && word & OFFSET != 0;
        Ok(Entry { word, parts_there: if is_there { u32::MAX } else { 0 }, parts_zero: 0 })
    }

    /// Where a part of an entry's cluster lies.
    fn place(&self, entry: &Entry, part: u64) -> Result<Place> {
        if entry.word & COMPRESSED != 0 {
            return Ok(Place::Unit { key: entry.word & (COMPRESSED - 1), within: part * self.part_bytes() });
        }
        if entry.parts_there >> part & 1 == 0 {
            return Ok(Place::Zero);
        }
        let host = entry.word & OFFSET;
        if host == 0 {
            return Err(Error::damaged(WHAT, 0, "a cluster that is there lies nowhere"));
        }
        self.check_aligned(host)?;
        Ok(Place::Below(host + part * self.part_bytes()))
    }
}

impl Clusters for Tables {
    fn len(&self) -> u64 {
        self.header.bytes
    }

    fn find(&self, at: u64, wanted: u64) -> Result<(Place, u64)> {
        let l2 = match self.l2(at)? {
            Ok(l2) => l2,
            Err(none) => return Ok((Place::Zero, none)),
        };
        let first = at / self.cluster_bytes() % self.l2_count();
        let enough = (wanted / self.cluster_bytes()).saturating_add(2).min(ENTRIES_AT_ONCE);
        let count = (self.l2_count() - first).min(enough);
        let table_at = l2 + first * self.entry_bytes();
        let bytes = self.table(table_at, count * self.entry_bytes())?;
        let fields = Fields::new(&bytes, WHAT, table_at);
        let first_part = at % self.cluster_bytes() / self.part_bytes();
        let skipped = at % self.part_bytes();
        let mut found: Option<(Place, u64)> = None;
        for index in 0..count {
            let entry = self.entry(&fields, index as usize)?;
            for part in if index == 0 { first_part } else { 0 }..self.parts() {
                let place = self.place(&entry, part)?;
                found = match found {
                    None => Some((place.advanced(skipped), self.part_bytes() - skipped)),
                    Some((start, len)) if len < wanted && start.advanced(len) == place => {
                        Some((start, len + self.part_bytes()))
                    }
                    Some(found) => return Ok(found),
                };
            }
        }
        found.ok_or(Error::damaged(WHAT, table_at, "it is empty"))
    }

    fn unpack(&self, key: u64) -> Result<Vec<u8>> {
        // The longer clusters are, the more bits tell the number of sectors, and the fewer where they are.
        let offset_bits = 62 - (self.header.cluster_bits - 8);
        let at = key & ((1 << offset_bits) - 1);
        let sectors = (key >> offset_bits) + 1;
        let len = (sectors * 512).saturating_sub(at % 512);
        let stored = read_up_to(&self.below, at, len as usize)?;
        let cluster_bytes = self.cluster_bytes() as usize;
        let cluster = inflate(self.header.packing, &stored, cluster_bytes, at)?;
        if cluster.len() != cluster_bytes {
            return Err(Error::damaged("compressed cluster", at, "it is too short"));
        }
        Ok(cluster)
    }
}
