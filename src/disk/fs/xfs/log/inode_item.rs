//! An inode in the log: numbers in the order of the machine that wrote them, forks as they stand on the disk, but for
//! the roots of trees, which stand as in memory.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log": inode updates; `xfs_bmbt` roots in
//! chapter 17 "Data Extents".

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::log::transaction::Item;
use crate::disk::fs::xfs::superblock::Superblock;

const WHAT: &str = "XFS log inode";

/// Which parts of the inode follow.
const CORE: u32 = 0x001;
const DATA: [u32; 2] = [0x002, 0x004];
const DATA_ROOT: u32 = 0x008;
const DEVICE: u32 = 0x010;
const ATTR: [u32; 2] = [0x040, 0x080];
const ATTR_ROOT: u32 = 0x100;

const FLAG2_BIGTIME: u64 = 8;
const FLAG2_NREXT64: u64 = 16;
/// Bytes of the fixed part in version 3, and before (without what links inodes that have no name).
const CORE_BYTES: usize = 176;
const CORE_BYTES_V2: usize = 96;
const FORKS_AT_V2: usize = 100;
/// Bytes of the item's first region: 64-bit and 32-bit machines.
const FORMAT_BYTES: usize = 56;
const FORMAT_BYTES_32: usize = 52;

/// Where the numbers of the fixed part stand, and of how many bytes: they are turned around.
const NUMBERS: [(usize, usize); 17] = [
    (0, 2),
    (2, 2),
    (6, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (56, 8),
    (64, 8),
    (72, 4),
    (76, 4),
    (80, 2),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
];
/// More of them in version 3.
const NUMBERS_V3: [(usize, usize); 4] = [(104, 8), (120, 8), (128, 4), (152, 8)];
const TIMES: [usize; 3] = [32, 40, 48];
const CREATION_AT: usize = 144;

/// Where an inode lies, and its parts.
pub(super) struct InodeItem<'a> {
    item: &'a Item,
    fields: u32,
    device: u32,
    /// First of the sectors of the block of inodes it is in, and their number: what may have been cancelled.
    pub(super) buffer: (u64, u32),
    /// Byte where it lies.
    pub(super) at: u64,
}

impl<'a> InodeItem<'a> {
    pub(super) fn parse(item: &'a Item) -> Result<InodeItem<'a>> {
        let format = item.region(0)?;
        let (device_at, place_at) = match format.len() {
            FORMAT_BYTES => (24, 40),
            FORMAT_BYTES_32 => (20, 36),
            _ => return Err(format.damaged("its length is unknown")),
        };
        let (sector, within) = (format.u64(place_at)?, u64::from(format.u32(place_at + 12)?));
        let at = sector.checked_mul(512).and_then(|at| at.checked_add(within));
        Ok(InodeItem {
            item,
            fields: format.u32(4)?,
            device: format.u32(device_at)?,
            buffer: (sector, format.u32(place_at + 8)?),
            at: at.ok_or_else(|| format.damaged("it lies outside"))?,
        })
    }

    /// Changes the inode as it was.
    pub(super) fn apply(&self, superblock: &Superblock, inode: &mut [u8]) -> Result<()> {
        if self.fields & CORE != 0 {
            core(&self.item.region(1)?, inode)?;
        }
        let (split, start) = split_of(inode)?;
        let (data, attr) = inode.split_at_mut(split);
        let data = data.get_mut(start..).unwrap_or_default();
        if self.fields & DEVICE != 0 {
            put(data, 0, &self.device.swap_bytes().to_le_bytes())?;
        }
        let mut region = 2;
        if self.fields & (DATA[0] | DATA[1] | DATA_ROOT) != 0 {
            let bytes = self.item.region(region)?;
            fork(superblock, data, &bytes, self.fields & DATA_ROOT != 0)?;
            region += 1;
        }
        if self.fields & (ATTR[0] | ATTR[1] | ATTR_ROOT) != 0 {
            let bytes = self.item.region(region)?;
            fork(superblock, attr, &bytes, self.fields & ATTR_ROOT != 0)?;
        }
        Ok(())
    }
}

fn put(room: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    let room = at.checked_add(bytes.len()).and_then(|end| room.get_mut(at..end));
    room.ok_or(Error::damaged(WHAT, 0, "a part does not fit"))?.copy_from_slice(bytes);
    Ok(())
}

/// Where the attribute fork begins, or the end, and where the data fork does.
fn split_of(inode: &[u8]) -> Result<(usize, usize)> {
    let fields = Fields::new(inode, WHAT, 0);
    let start = if fields.u8(4)? >= 3 { CORE_BYTES } else { FORKS_AT_V2 };
    let split = match usize::from(fields.u8(82)?) * 8 {
        0 => inode.len(),
        offset => start + offset,
    };
    if split > inode.len() { Err(fields.damaged("its attribute fork begins outside")) } else { Ok((split, start)) }
}

/// The fixed part: bytes as they are, then each number turned around.
fn core(logged: &Fields<'_>, inode: &mut [u8]) -> Result<()> {
    let is_v3 = logged.u8(4)? >= 3;
    let mut turned = logged.bytes(0, if is_v3 { CORE_BYTES } else { CORE_BYTES_V2 })?.to_vec();
    let flags2 = if is_v3 { logged.u64(120)? } else { 0 };
    let mut turn = |at: usize, len: usize| {
        if let Some(number) = turned.get_mut(at..at + len) {
            number.reverse();
        }
    };
    let is_wide = flags2 & FLAG2_NREXT64 != 0;
    NUMBERS.iter().chain(NUMBERS_V3.iter().filter(|_| is_v3)).for_each(|(at, len)| turn(*at, *len));
    // The counters of extents have another place if they are large; if not, a counter of flushes is there.
    if is_wide {
        turn(24, 8)
    } else {
        turn(30, 2)
    }
    for at in TIMES.into_iter().chain(is_v3.then_some(CREATION_AT)) {
        match flags2 & FLAG2_BIGTIME {
            0 => (turn(at, 4), turn(at + 4, 4)),
            _ => (turn(at, 8), ()),
        };
    }
    put(inode, 0, &turned)
}

/// A fork: list, bytes, or the root of a tree with a header as blocks of it have.
fn fork(superblock: &Superblock, room: &mut [u8], logged: &Fields<'_>, is_root: bool) -> Result<()> {
    if !is_root {
        return put(room, 0, logged.all());
    }
    let header_bytes = Header::Bmap.bytes(superblock);
    let (level, count) = (logged.array::<2>(4)?, usize::from(logged.be16(6)?));
    let capacity_logged = logged.len().saturating_sub(header_bytes) / 16;
    let capacity = room.len().saturating_sub(4) / 16;
    if count > capacity_logged || count > capacity {
        return Err(logged.damaged("the root of its extent tree does not fit"));
    }
    let keys = logged.bytes(header_bytes, count * 8)?;
    let pointers = logged.bytes(header_bytes + capacity_logged * 8, count * 8)?;
    put(room, 0, &level)?;
    put(room, 2, logged.bytes(6, 2)?)?;
    put(room, 4, keys)?;
    put(room, 4 + capacity * 8, pointers)
}
