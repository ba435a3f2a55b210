//! The superblock and its mirrors.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::checksum;
use crate::disk::fs::btrfs::checksum::Checksum;
use crate::disk::fs::btrfs::node;
use crate::disk::fs::btrfs::node::Pointer;

/// Bytes of a superblock.
pub(super) const LEN: u64 = 4096;
/// Where they are.
pub(super) const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const MAGIC: &[u8] = b"_BHRfS_M";
const MAGIC_AT: u64 = 0x40;
const WHAT: &str = "Btrfs superblock";

/// Incompatible features that change nothing of what is read here, or are understood.
const INCOMPAT_KNOWN: u64 = MIXED_BACKREF
    | DEFAULT_SUBVOL
    | MIXED_GROUPS
    | COMPRESS_LZO
    | COMPRESS_ZSTD
    | BIG_METADATA
    | EXTENDED_IREF
    | RAID56
    | SKINNY_METADATA
    | NO_HOLES
    | METADATA_UUID
    | RAID1C34
    | SIMPLE_QUOTA;
const MIXED_BACKREF: u64 = 1;
const DEFAULT_SUBVOL: u64 = 1 << 1;
const MIXED_GROUPS: u64 = 1 << 2;
const COMPRESS_LZO: u64 = 1 << 3;
const COMPRESS_ZSTD: u64 = 1 << 4;
const BIG_METADATA: u64 = 1 << 5;
const EXTENDED_IREF: u64 = 1 << 6;
const RAID56: u64 = 1 << 7;
const SKINNY_METADATA: u64 = 1 << 8;
const NO_HOLES: u64 = 1 << 9;
const METADATA_UUID: u64 = 1 << 10;
const RAID1C34: u64 = 1 << 11;
const SIMPLE_QUOTA: u64 = 1 << 16;
/// Incompatible features that have a name, and are not understood.
const INCOMPAT_NAMED: [(u64, &str); 3] =
    [(1 << 12, "a zoned Btrfs"), (1 << 13, "the Btrfs extent tree v2"), (1 << 14, "the Btrfs RAID stripe tree")];

/// Flags under which the trees are not what they seem.
const FLAGS_REFUSED: [(u64, &str); 6] = [
    (1 << 33, "a Btrfs metadata dump"),
    (1 << 34, "a Btrfs metadata dump"),
    (1 << 35, "a Btrfs whose UUID is being changed"),
    (1 << 36, "a Btrfs whose UUID is being changed"),
    (1 << 39, "a Btrfs whose checksums are being changed"),
    (1 << 40, "a Btrfs whose checksums are being changed"),
];

/// `btrfs_super_block`, as far as reading needs it.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// UUID as people see it.
    pub(super) fsid: [u8; 16],
    /// UUID that stands in the nodes.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) generation: u64,
    /// Root of the root tree.
    pub(super) root: Pointer,
    /// Root of the chunk tree.
    pub(super) chunk_root: Pointer,
    /// Whether there is a log tree.
    pub(super) has_log: bool,
    /// Logical bytes that are allocated.
    pub(super) bytes_used: u64,
    /// Inode of the folder of the root tree that names the default subvolume.
    pub(super) root_dir: u64,
    pub(super) device_count: u64,
    pub(super) sector_bytes: u32,
    pub(super) node_bytes: u32,
    pub(super) checksum: Checksum,
    /// This device among the devices.
    pub(super) device: u64,
    pub(super) device_uuid: [u8; 16],
    /// Bytes of this device.
    pub(super) device_bytes: u64,
    pub(super) label: Vec<u8>,
    /// `sys_chunk_array`: the chunks that hold the chunk tree.
    pub(super) system_chunks: Vec<u8>,
}

/// Whether a superblock stands in the first place. A mirror alone says nothing: what is formatted anew keeps those of
/// the file system before.
pub(super) fn is_there(source: &dyn BlockSource) -> Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if source.len() < PLACES[0] + LEN {
        return Ok(false);
    }
    source.read_at(PLACES[0] + MAGIC_AT, &mut magic)?;
    Ok(magic == MAGIC)
}

/// The superblock: of the sound ones of this file system and device, the newest.
pub(super) fn read(source: &dyn BlockSource) -> Result<Superblock> {
    let mut found: Option<Superblock> = None;
    let mut fault = None;
    for place in PLACES {
        if place.checked_add(LEN).is_none_or(|end| end > source.len()) {
            break;
        }
        let mut bytes = vec![0; LEN as usize];
        let read = source.read_at(place, &mut bytes).and_then(|()| Superblock::open(&bytes, place));
        match (read, &found) {
            (Ok(new), Some(old)) if !new.is_mirror_of(old) || new.generation <= old.generation => {}
            (Ok(new), _) => found = Some(new),
            // A mirror that is understood would be an older state.
            (Err(error @ Error::Unsupported { .. }), None) => return Err(error),
            (Err(error), _) => fault = fault.or(Some(error)),
        }
    }
    found.ok_or_else(|| fault.unwrap_or_else(|| Error::damaged(WHAT, PLACES[0], "there is none")))
}

impl Superblock {
    fn is_mirror_of(&self, other: &Superblock) -> bool {
        self.fsid == other.fsid && self.device_uuid == other.device_uuid
    }

    fn open(bytes: &[u8], place: u64) -> Result<Superblock> {
        let fields = Fields::new(bytes, WHAT, place);
        if fields.bytes(MAGIC_AT as usize, MAGIC.len())? != MAGIC {
            return Err(fields.damaged("its magic is missing"));
        }
        let checksum = Checksum::of_type(fields.u16(0xc4)?)?;
        if !checksum.matches(fields.rest(checksum::LEN_MAX)?, fields.bytes(0, checksum::LEN_MAX)?) {
            return Err(fields.damaged("its checksum is wrong"));
        }
        if fields.u64(0x30)? != place {
            return Err(fields.damaged("it belongs elsewhere"));
        }
        let incompat = check_features(&fields)?;
        let generation = fields.u64(0x48)?;
        let fsid = fields.array(0x20)?;
        let label = fields.bytes(0x12b, 256)?;
        let superblock = Superblock {
            fsid,
            metadata_uuid: if incompat & METADATA_UUID != 0 { fields.array(0x23b)? } else { fsid },
            generation,
            root: Pointer::to_root(fields.u64(0x50)?, generation, fields.u8(0xc6)?),
            chunk_root: Pointer::to_root(fields.u64(0x58)?, fields.u64(0xa4)?, fields.u8(0xc7)?),
            has_log: fields.u64(0x60)? != 0,
            bytes_used: fields.u64(0x78)?,
            root_dir: fields.u64(0x80)?,
            device_count: fields.u64(0x88)?,
            sector_bytes: fields.u32(0x90)?,
            node_bytes: fields.u32(0x94)?,
            checksum,
            device: fields.u64(0xc9)?,
            device_bytes: fields.u64(0xc9 + 8)?,
            device_uuid: fields.array(0xc9 + 66)?,
            label: label.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            system_chunks: fields.bytes(0x32b, system_chunks_len(&fields)?)?.to_vec(),
        };
        superblock.check_sizes(&fields)?;
        Ok(superblock)
    }

    /// Later sums rely on these.
    fn check_sizes(&self, fields: &Fields<'_>) -> Result<()> {
        let is_size = |bytes: u32, min: u32| bytes.is_power_of_two() && (min..=node::BYTES_MAX).contains(&bytes);
        if !is_size(self.sector_bytes, 2048) {
            return Err(fields.damaged("its sectors have no possible size"));
        }
        if !is_size(self.node_bytes, self.sector_bytes) {
            return Err(fields.damaged("its nodes have no possible size"));
        }
        Ok(())
    }
}

/// The incompatible features, if all of them are understood.
fn check_features(fields: &Fields<'_>) -> Result<u64> {
    let flags = fields.u64(0x38)?;
    let incompat = fields.u64(0xbc)?;
    let refused = FLAGS_REFUSED.iter().filter(|(bit, _)| flags & bit != 0);
    let named = INCOMPAT_NAMED.iter().filter(|(bit, _)| incompat & bit != 0);
    if let Some((_, name)) = refused.chain(named).next() {
        return Err(Error::unsupported(*name));
    }
    match incompat & !INCOMPAT_KNOWN {
        0 => Ok(incompat),
        unknown => Err(Error::unsupported(format!("Btrfs feature incompat {unknown:#x}"))),
    }
}

fn system_chunks_len(fields: &Fields<'_>) -> Result<usize> {
    const LEN_MAX: u32 = 2048;
    match fields.u32(0xa0)? {
        len @ 0..=LEN_MAX => Ok(len as usize),
        _ => Err(fields.damaged("its chunk array is too long")),
    }
}
