//! Nodes of trees: leaves of items, and nodes of pointers above them.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::checksum;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::superblock::Superblock;

/// Largest node.
pub(super) const BYTES_MAX: u32 = 64 << 10;
/// Trees have fewer levels.
pub(super) const LEVEL_END: u8 = 8;
const HEADER_LEN: usize = 101;
const ITEM_LEN: usize = 25;
const POINTER_LEN: usize = 33;
const WHAT: &str = "Btrfs node";

/// Where a node is, and what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    /// Logical address.
    pub(super) logical: u64,
    /// The transaction that wrote it.
    pub(super) generation: u64,
    /// 0: leaf.
    pub(super) level: u8,
    /// Its first key; not known of roots.
    first: Option<Key>,
}

impl Pointer {
    /// To a root.
    pub(super) fn to_root(logical: u64, generation: u64, level: u8) -> Pointer {
        Pointer { logical, generation, level, first: None }
    }
}

/// A node whose checksum, bounds and order were checked.
#[derive(Debug)]
pub(super) struct Node {
    bytes: Vec<u8>,
    /// Where it was read.
    at: u64,
    generation: u64,
    level: u8,
    count: usize,
}

impl Node {
    /// The node `pointer` leads to, read from byte `at`.
    pub(super) fn open(bytes: Vec<u8>, at: u64, pointer: &Pointer, superblock: &Superblock) -> Result<Node> {
        let fields = Fields::new(&bytes, WHAT, at);
        let (sum, rest) = (fields.bytes(0, checksum::LEN_MAX)?, fields.rest(checksum::LEN_MAX)?);
        if !superblock.checksum.matches(rest, sum) {
            return Err(fields.damaged("its checksum is wrong"));
        }
        if fields.u64(48)? != pointer.logical || fields.bytes(32, 16)? != superblock.metadata_uuid {
            return Err(fields.damaged("it is another one"));
        }
        let (generation, level) = (fields.u64(80)?, fields.u8(100)?);
        if level >= LEVEL_END {
            return Err(fields.damaged("its level is too high"));
        }
        let count = fields.u32(96)? as usize;
        let entry_len = if level == 0 { ITEM_LEN } else { POINTER_LEN };
        let fits = count.checked_mul(entry_len).is_some_and(|len| len <= bytes.len().saturating_sub(HEADER_LEN));
        if !fits || (level > 0 && count == 0) {
            return Err(fields.damaged("the number of its items is impossible"));
        }
        let node = Node { bytes, at, generation, level, count };
        node.check_items()?;
        node.check(pointer, None)?;
        Ok(node)
    }

    /// Keys grow, items lie inside.
    fn check_items(&self) -> Result<()> {
        let mut last = None;
        for index in 0..self.count {
            let key = self.key(index)?;
            if last.is_some_and(|last| last >= key) {
                return Err(self.damaged("its keys are not in order"));
            }
            last = Some(key);
            if self.level == 0 {
                self.item(index, WHAT)?;
            }
        }
        Ok(())
    }

    /// Whether it is what `pointer` says, and all its keys are before `end`: what keeps a tree a tree, so that walks
    /// come to an end.
    pub(super) fn check(&self, pointer: &Pointer, end: Option<&Key>) -> Result<()> {
        if self.generation != pointer.generation || self.level != pointer.level {
            return Err(self.damaged("it is older or newer than its tree"));
        }
        let Some(last) = self.count.checked_sub(1) else {
            return if pointer.first.is_none() { Ok(()) } else { Err(self.damaged("it is empty")) };
        };
        if pointer.first.is_some() && pointer.first != Some(self.key(0)?) {
            return Err(self.damaged("its first key is another one"));
        }
        if end.is_some_and(|end| self.key(last).is_ok_and(|last| last >= *end)) {
            return Err(self.damaged("its last key belongs into the next one"));
        }
        Ok(())
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(&self.bytes, WHAT, self.at)
    }

    pub(super) fn damaged(&self, why: &'static str) -> Error {
        self.fields().damaged(why)
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.level == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn entry(&self, index: usize) -> usize {
        // `count` entries fit, see above; what is beyond them is refused by the reads.
        index.saturating_mul(if self.level == 0 { ITEM_LEN } else { POINTER_LEN }).saturating_add(HEADER_LEN)
    }

    /// Key of an item or pointer.
    pub(super) fn key(&self, index: usize) -> Result<Key> {
        Key::read(&self.fields(), self.entry(index))
    }

    /// Bytes of an item.
    pub(super) fn item(&self, index: usize, what: &'static str) -> Result<Fields<'_>> {
        let fields = self.fields();
        let header = fields.part(self.entry(index), ITEM_LEN, WHAT)?;
        let start = (header.u32(17)? as usize).saturating_add(HEADER_LEN);
        fields.part(start, header.u32(21)? as usize, what)
    }

    /// A pointer.
    pub(super) fn pointer(&self, index: usize) -> Result<Pointer> {
        let level = self.level.checked_sub(1).ok_or_else(|| self.damaged("it is a leaf"))?;
        let entry = self.fields().part(self.entry(index), POINTER_LEN, WHAT)?;
        Ok(Pointer { logical: entry.u64(17)?, generation: entry.u64(25)?, level, first: Some(self.key(index)?) })
    }

    /// How many of its keys satisfy `is_before`, which those at its start do.
    pub(super) fn partition(&self, is_before: impl Fn(&Key) -> bool) -> Result<usize> {
        let (mut start, mut end) = (0, self.count);
        while start < end {
            let middle = start.midpoint(end);
            if is_before(&self.key(middle)?) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(start)
    }
}
