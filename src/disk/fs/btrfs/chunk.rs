//! Chunks: which bytes of the devices logical addresses stand for.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::key;
use crate::disk::fs::btrfs::key::Key;
use crate::disk::fs::btrfs::superblock::Superblock;

const STRIPE_BYTES: u64 = 64 << 10;
const HEADER_LEN: usize = 48;
const STRIPE_LEN: usize = 32;
const WHAT: &str = "Btrfs chunk";
/// More than 100 TiB have.
const COUNT_MAX: usize = 1 << 17;

const RAID0: u64 = 1 << 3;
const RAID1: u64 = 1 << 4;
const DUP: u64 = 1 << 5;
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
const RAID1C3: u64 = 1 << 9;
const RAID1C4: u64 = 1 << 10;
/// Data, system and metadata: the same to a reader.
const CONTENT: u64 = 7;

/// A range of logical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) logical: u64,
    len: u64,
    layout: Layout,
    /// First byte of each stripe; `None` on other devices.
    stripes: Box<[Option<u64>]>,
}

/// How stripes make up a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Every stripe is the whole.
    Copies,
    /// Groups of so many stripes, which are copies of each other, take turns.
    Turns(u64),
    /// RAID5 and RAID6.
    Parity,
}

/// Where a logical address is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its copies on this device.
    pub(super) copies: Vec<u64>,
    /// So many bytes lie there together.
    pub(super) len: u64,
}

impl Chunk {
    /// `btrfs_chunk`.
    pub(super) fn read(fields: &Fields<'_>, logical: u64, superblock: &Superblock) -> Result<Chunk> {
        let len = fields.u64(0)?;
        let kind = fields.u64(24)?;
        let (count, sub_count) = (fields.u16(44)?, fields.u16(46)?);
        if len == 0 || logical.checked_add(len).is_none() {
            return Err(fields.damaged("its length is impossible"));
        }
        if fields.u64(16)? != STRIPE_BYTES {
            return Err(Error::unsupported("Btrfs stripes of other than 64 KiB"));
        }
        let layout = Layout::of(kind, count, sub_count)?.ok_or_else(|| fields.damaged("its stripes are too few"))?;
        let mut stripes = Vec::new();
        for index in 0..usize::from(count) {
            let stripe = fields.part(HEADER_LEN.saturating_add(index * STRIPE_LEN), STRIPE_LEN, "Btrfs stripe")?;
            let is_here = stripe.u64(0)? == superblock.device && stripe.bytes(16, 16)? == superblock.device_uuid;
            let start = stripe.u64(8)?;
            if start.checked_add(len).is_none() {
                return Err(stripe.damaged("it begins too late"));
            }
            stripes.push(is_here.then_some(start));
        }
        Ok(Chunk { logical, len, layout, stripes: stripes.into() })
    }

    /// First logical address behind it.
    pub(super) fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }

    /// Where `logical` is, which lies within.
    pub(super) fn place(&self, logical: u64) -> Result<Place> {
        let within = logical.saturating_sub(self.logical);
        let left = self.len.saturating_sub(within);
        let copies = |stripes: &[Option<u64>], at: u64| {
            stripes.iter().flatten().map(|start| start.saturating_add(at)).collect::<Vec<u64>>()
        };
        match self.layout {
            _ if self.stripes.iter().all(Option::is_none) => Ok(Place { copies: Vec::new(), len: left }),
            Layout::Turns(group) if self.stripes.len() as u64 == group => {
                Ok(Place { copies: copies(&self.stripes, within), len: left })
            }
            Layout::Copies => Ok(Place { copies: copies(&self.stripes, within), len: left }),
            Layout::Turns(group) => {
                let groups = (self.stripes.len() as u64 / group).max(1);
                let (turn, rest) = (within / STRIPE_BYTES, within % STRIPE_BYTES);
                let first = (turn % groups * group) as usize;
                let stripes = self.stripes.get(first..first.saturating_add(group as usize)).unwrap_or_default();
                let at = turn / groups * STRIPE_BYTES + rest;
                Ok(Place { copies: copies(stripes, at), len: left.min(STRIPE_BYTES - rest) })
            }
            Layout::Parity => Err(Error::unsupported("Btrfs RAID5 and RAID6")),
        }
    }
}

impl Layout {
    /// `None`: that many stripes are impossible.
    fn of(kind: u64, count: u16, sub_count: u16) -> Result<Option<Layout>> {
        let (layout, is_possible) = match kind & !CONTENT {
            0 => (Layout::Copies, count == 1),
            DUP => (Layout::Copies, count == 2),
            RAID1 => (Layout::Copies, count == 2),
            RAID1C3 => (Layout::Copies, count == 3),
            RAID1C4 => (Layout::Copies, count == 4),
            RAID0 => (Layout::Turns(1), count > 0),
            RAID10 => (Layout::Turns(2), count > 0 && count.is_multiple_of(2) && sub_count == 2),
            RAID5 | RAID6 => (Layout::Parity, count > 0),
            other => return Err(Error::unsupported(format!("Btrfs block group type {other:#x}"))),
        };
        Ok(is_possible.then_some(layout))
    }
}

/// All chunks, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<Chunk>);

impl Chunks {
    /// The chunks of the superblock, which are enough to read the chunk tree.
    pub(super) fn of_superblock(superblock: &Superblock) -> Result<Chunks> {
        let all = Fields::new(&superblock.system_chunks, WHAT, 0);
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < all.len() {
            let key = Key::read(&all, at)?;
            if !key.is(key::CHUNK_OBJECT, key::CHUNK_ITEM) {
                return Err(all.damaged("its key is another one"));
            }
            at = at.saturating_add(Key::LEN);
            let count = Fields::new(all.rest(at)?, WHAT, 0).u16(44)?;
            let len = usize::from(count) * STRIPE_LEN + HEADER_LEN;
            chunks.push(Chunk::read(&all.part(at, len, WHAT)?, key.offset, superblock)?);
            at = at.saturating_add(len);
        }
        chunks.sort_by_key(|chunk| chunk.logical);
        let mut sorted = Chunks::default();
        chunks.into_iter().try_for_each(|chunk| sorted.push(chunk))?;
        Ok(sorted)
    }

    /// Adds a chunk, which has to lie behind the last.
    pub(super) fn push(&mut self, chunk: Chunk) -> Result<()> {
        if self.0.last().is_some_and(|last| last.end() > chunk.logical) {
            return Err(Error::damaged(WHAT, 0, "it overlaps another one"));
        }
        if self.0.len() >= COUNT_MAX {
            return Err(Error::unsupported(format!("a Btrfs of more than {COUNT_MAX} chunks")));
        }
        self.0.push(chunk);
        Ok(())
    }

    /// The chunk of a logical address.
    pub(super) fn of(&self, logical: u64) -> Result<&Chunk> {
        let index = self.0.partition_point(|chunk| chunk.logical <= logical);
        let chunk = index.checked_sub(1).and_then(|index| self.0.get(index)).filter(|chunk| logical < chunk.end());
        chunk.ok_or(Error::Damaged { what: "Btrfs logical address", at: logical, why: "no chunk holds it" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunk(layout: Layout, stripes: &[Option<u64>]) -> Chunk {
        Chunk { logical: 1 << 30, len: 1 << 20, layout, stripes: stripes.into() }
    }

    fn place(chunk: &Chunk, within: u64) -> (Vec<u64>, u64) {
        let place = chunk.place((1 << 30) + within).unwrap();
        (place.copies, place.len)
    }

    #[test]
    fn copies_and_turns() {
        let raid1 = chunk(Layout::Copies, &[Some(1000), None, Some(9000)]);
        assert_eq!(place(&raid1, 70_000), (vec![71_000, 79_000], (1 << 20) - 70_000));
        let raid0 = chunk(Layout::Turns(1), &[Some(0), None, Some(5 << 20)]);
        assert_eq!(place(&raid0, 10), (vec![10], 65_526));
        assert_eq!(place(&raid0, 65_536), (vec![], 65_536));
        assert_eq!(place(&raid0, 65_536 * 5 + 1), (vec![(5 << 20) + 65_537], 65_535));
        let raid10 = chunk(Layout::Turns(2), &[Some(0), None, None, Some(5 << 20)]);
        assert_eq!(place(&raid10, 65_536 * 2 + 7), (vec![65_543], 65_529));
        assert_eq!(place(&raid10, 65_536 * 3 + 7), (vec![(5 << 20) + 65_543], 65_529));
        let single = chunk(Layout::Turns(1), &[Some(7)]);
        assert_eq!(place(&single, 100_000), (vec![100_007], (1 << 20) - 100_000), "nobody else has a turn");
        let elsewhere = chunk(Layout::Turns(1), &[None, None]);
        assert_eq!(place(&elsewhere, 100_000), (vec![], (1 << 20) - 100_000));
        assert!(chunk(Layout::Parity, &[Some(0)]).place(1 << 30).is_err());
    }

    #[test]
    fn layouts_need_their_stripes() {
        for (kind, count, sub_count, is_possible) in [
            (1, 1, 1, true),
            (1, 2, 1, false),
            (2 | DUP, 2, 1, true),
            (4 | RAID1, 1, 1, false),
            (4 | RAID1C3, 3, 1, true),
            (1 | RAID10, 4, 2, true),
            (1 | RAID10, 3, 2, false),
            (1 | RAID10, 4, 1, false),
            (1 | RAID0, 0, 1, false),
        ] {
            assert_eq!(Layout::of(kind, count, sub_count).unwrap().is_some(), is_possible, "{kind} {count}");
        }
        assert!(Layout::of(1 | 1 << 11, 1, 1).is_err());
        assert!(Layout::of(1 | RAID1 | DUP, 2, 1).is_err());
    }

    #[test]
    fn chunks_lie_apart() {
        let mut chunks = Chunks::default();
        chunks.push(chunk(Layout::Copies, &[Some(0)])).unwrap();
        assert!(chunks.push(chunk(Layout::Copies, &[Some(0)])).is_err());
        assert!(chunks.of((1 << 30) - 1).is_err());
        assert!(chunks.of((1 << 30) + (1 << 20)).is_err());
        assert_eq!(chunks.of((1 << 30) + (1 << 20) - 1).unwrap().logical, 1 << 30);
    }
}
