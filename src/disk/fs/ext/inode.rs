//! Inodes: everything about a node but its name.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Index Nodes; Inode Timestamps.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::Node;
use crate::disk::fs::NodeKind;
use crate::disk::fs::ext::feature::incompat;
use crate::disk::fs::ext::feature::ro_compat;
use crate::disk::fs::ext::superblock::Superblock;
use crate::disk::fs::ext::volume::Volume;
use crate::meta::Time;

const WHAT: &str = "ext4 inode";
/// Length of what all inodes have.
pub(super) const BASE_BYTES: usize = 128;
/// Where the map of blocks (or what stands in its place) begins, and its length.
const MAP_AT: usize = 0x28;
/// Length of the map of blocks.
pub(super) const MAP_BYTES: usize = 60;

const ENCRYPT: u32 = 0x800;
const INDEX: u32 = 0x1000;
const HUGE_FILE: u32 = 0x4_0000;
const EXTENTS: u32 = 0x8_0000;
const EA_INODE: u32 = 0x20_0000;
const INLINE_DATA: u32 = 0x1000_0000;
const CASEFOLD: u32 = 0x4000_0000;

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Its number.
    pub(super) number: u32,
    /// Type and permissions.
    mode: u16,
    /// Bytes of content.
    pub(super) size: u64,
    /// Number of names.
    pub(super) links: u16,
    flags: u32,
    /// Units of 512 bytes that it takes up.
    sectors: u64,
    /// The block of extended attributes; 0: none.
    pub(super) xattr_block: u64,
    /// What the checksums of all its blocks begin with.
    pub(super) checksum_seed: u32,
    /// Where it lies.
    pub(super) at: u64,
    raw: Vec<u8>,
}

impl Inode {
    /// Where inode `number` lies, in bytes.
    pub(super) fn place(volume: &Volume, number: u32) -> Result<u64> {
        let sb = volume.superblock();
        let index = number.checked_sub(1).filter(|_| number <= sb.inodes).ok_or(Error::NotFound)?;
        let group = volume.group(index / sb.inodes_per_group)?;
        let within = u64::from(index % sb.inodes_per_group) * sb.inode_bytes;
        Ok(volume.byte(group.inode_table).saturating_add(within))
    }

    /// Reads inode `number`, used or not.
    pub(super) fn read(volume: &Volume, number: u32) -> Result<Inode> {
        let at = Inode::place(volume, number)?;
        let mut raw = vec![0; volume.superblock().inode_bytes as usize];
        volume.read(at, &mut raw)?;
        Inode::parse(volume.superblock(), number, at, raw)
    }

    /// Reads the bytes of inode `number`.
    pub(super) fn parse(sb: &Superblock, number: u32, at: u64, raw: Vec<u8>) -> Result<Inode> {
        let f = Fields::new(&raw, WHAT, at);
        let (mode, flags) = (f.u16(0x0)?, f.u32(0x20)?);
        let seed = [number, f.u32(0x64)?].iter().fold(sb.checksum_seed, |crc, n| crc32c_running(crc, &n.to_le_bytes()));
        if sb.has_checksums() {
            check_sum(&f, seed)?;
        }
        let has_high_size = mode >> 12 == 8 || sb.has_incompat(incompat::LARGEDIR);
        let high_size = if has_high_size { u64::from(f.u32(0x6c)?) } else { 0 };
        let size = high_size << 32 | u64::from(f.u32(0x4)?);
        if size > i64::MAX as u64 {
            return Err(f.damaged("the size is impossible"));
        }
        let has_huge = sb.has_ro_compat(ro_compat::HUGE_FILE);
        let high_count = if has_huge { u64::from(f.u16(0x74)?) } else { 0 };
        let count = high_count << 32 | u64::from(f.u32(0x1c)?);
        let unit = if has_huge && flags & HUGE_FILE != 0 { sb.block_bytes / 512 } else { 1 };
        let xattr_block = u64::from(f.u16(0x76)?) << 32 | u64::from(f.u32(0x68)?);
        Ok(Inode {
            number,
            mode,
            size,
            links: f.u16(0x1a)?,
            flags,
            sectors: count.saturating_mul(unit),
            xattr_block,
            checksum_seed: seed,
            at,
            raw,
        })
    }

    /// The bytes, checked where they are read.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.raw, WHAT, self.at)
    }

    /// The map of blocks, or what stands in its place.
    pub(super) fn map(&self) -> Result<Fields<'_>> {
        self.fields().part(MAP_AT, MAP_BYTES, WHAT)
    }

    /// What it is.
    pub(super) fn kind(&self) -> Result<NodeKind> {
        Ok(match self.mode >> 12 {
            1 => NodeKind::Fifo,
            2 => NodeKind::CharDevice,
            4 => NodeKind::Folder,
            6 => NodeKind::BlockDevice,
            8 => NodeKind::File,
            10 => NodeKind::Symlink,
            12 => NodeKind::Socket,
            _ => return Err(self.fields().damaged("its type is unknown")),
        })
    }

    /// True for a folder, used or not.
    pub(super) fn is_folder(&self) -> bool {
        self.mode >> 12 == 4
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPT != 0
    }

    /// A folder with a tree of hashes.
    pub(super) fn is_indexed(&self) -> bool {
        self.flags & INDEX != 0
    }

    pub(super) fn is_casefolded(&self) -> bool {
        self.flags & CASEFOLD != 0
    }

    /// The value of an extended attribute.
    pub(super) fn is_xattr_value(&self) -> bool {
        self.flags & EA_INODE != 0
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    pub(super) fn has_inline_data(&self) -> bool {
        self.flags & INLINE_DATA != 0
    }

    /// True for a link whose target stands in place of the map of blocks.
    pub(super) fn is_fast_symlink(&self, sb: &Superblock) -> bool {
        if sb.has_incompat(incompat::EA_INODE) {
            return self.size < MAP_BYTES as u64 && !self.has_inline_data();
        }
        let attributes = if self.xattr_block != 0 { sb.block_bytes * sb.cluster_blocks / 512 } else { 0 };
        !self.has_inline_data() && self.sectors == attributes
    }

    /// Bytes beyond the first 128 that hold fields.
    pub(super) fn extra_bytes(&self) -> Result<usize> {
        if self.raw.len() <= BASE_BYTES {
            return Ok(0);
        }
        let extra = usize::from(self.fields().u16(0x80)?);
        if extra % 4 != 0 || BASE_BYTES.saturating_add(extra) > self.raw.len() {
            return Err(self.fields().damaged("the size of its extra fields is impossible"));
        }
        Ok(extra)
    }

    /// Whether it may be reached by name.
    pub(super) fn check_in_use(&self) -> Result<()> {
        if self.links == 0 {
            return Err(self.fields().damaged("it is named, but not in use"));
        }
        if self.is_xattr_value() {
            return Err(self.fields().damaged("it is named, but it is the value of an attribute"));
        }
        Ok(())
    }

    /// What is known of the node.
    pub(super) fn node(&self) -> Result<Node> {
        let f = self.fields();
        let kind = self.kind()?;
        let extra = self.extra_bytes()?;
        let low_high =
            |low: usize, high: usize| Ok::<u32, Error>(u32::from(f.u16(high)?) << 16 | u32::from(f.u16(low)?));
        let is_device = matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        let has_content = matches!(kind, NodeKind::File | NodeKind::Folder | NodeKind::Symlink);
        Ok(Node {
            kind,
            size: if has_content { self.size } else { 0 },
            allocated: Some(self.sectors.saturating_mul(512)),
            mode: Some(u32::from(self.mode & 0o7777)),
            uid: Some(low_high(0x2, 0x78)?),
            gid: Some(low_high(0x18, 0x7a)?),
            links: Some(u32::from(self.links)),
            device: if is_device { Some(self.device()?) } else { None },
            mtime: time(&f, 0x10, (extra >= 0xc).then_some(0x88))?,
            ctime: time(&f, 0xc, (extra >= 0x8).then_some(0x84))?,
            btime: if extra >= 0x14 { time(&f, 0x90, (extra >= 0x18).then_some(0x94))? } else { None },
        })
    }

    /// Major and minor number, in the old or the new encoding.
    fn device(&self) -> Result<(u32, u32)> {
        let (old, new) = (self.map()?.u32(0)?, self.map()?.u32(4)?);
        if old != 0 {
            return Ok((old >> 8 & 0xff, old & 0xff));
        }
        Ok((new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xfff00))
    }
}

/// Seconds are signed; two bits of the extra field add multiples of 2^32 to them.
fn time(f: &Fields, at: usize, extra_at: Option<usize>) -> Result<Option<Time>> {
    let secs = i64::from(f.u32(at)?.cast_signed());
    let Some(extra_at) = extra_at else { return Ok(Some(Time { secs, nanos: 0 })) };
    let extra = f.u32(extra_at)?;
    let nanos = extra >> 2;
    let time = Time { secs: secs + (i64::from(extra & 3) << 32), nanos };
    Ok((nanos < 1_000_000_000).then_some(time))
}

fn check_sum(f: &Fields, seed: u32) -> Result<()> {
    let mut raw = f.all().to_vec();
    let mut stored = u32::from(f.u16(0x7c)?);
    let mut mask = 0xffff;
    raw.get_mut(0x7c..0x7e).unwrap_or_default().fill(0);
    if raw.len() > BASE_BYTES && f.u16(0x80)? >= 4 {
        stored |= u32::from(f.u16(0x82)?) << 16;
        mask = u32::MAX;
        raw.get_mut(0x82..0x84).unwrap_or_default().fill(0);
    }
    if crc32c_running(seed, &raw) & mask != stored {
        return Err(f.damaged("the checksum is wrong"));
    }
    Ok(())
}
