//! Header of qcow2 and its extensions.

use super::read_up_to;
use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::container::inflate::Packing;
use std::ops::RangeInclusive;

/// The first bytes.
pub(in crate::disk::container) const MAGIC: &[u8] = b"QFI\xfb";

const WHAT: &str = "qcow2 header";
const CLUSTER_BITS: RangeInclusive<u32> = 9..=21;
/// With 32 parts to a cluster, each has a sector at least.
const CLUSTER_BITS_SPLIT_MIN: u32 = 14;
const HEADER_BYTES_V2: usize = 72;
const HEADER_BYTES_V3: usize = 104;
/// Header, extensions and the name of a backing file lie in the first cluster; no more of it is looked at.
const READ_BYTES_MAX: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 1023;

mod incompatible {
    pub(super) const DIRTY: u64 = 1;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
}
const AUTOCLEAR_BITMAPS: u64 = 1;
const EXTENSION_END: u32 = 0;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;

/// What the header says.
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) bytes: u64,
    pub(super) l1_at: u64,
    pub(super) l1_count: u64,
    pub(super) snapshot_count: u32,
    pub(super) is_dirty: bool,
    pub(super) is_corrupt: bool,
    pub(super) has_split_clusters: bool,
    pub(super) packing: Packing,
    /// Where the directory of bitmaps is, how long, and how many it holds; only if they were kept up to date.
    pub(super) bitmaps: Option<(u64, u64, u32)>,
}

impl Header {
    pub(super) fn read(source: &dyn BlockSource) -> Result<Header> {
        let bytes = read_up_to(source, 0, READ_BYTES_MAX)?;
        let fields = Fields::new(&bytes, WHAT, 0);
        let version = fields.be32(4)?;
        if !matches!(version, 2 | 3) {
            return Err(Error::unsupported(format!("version {version} of qcow2")));
        }
        let cluster_bits = fields.be32(20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(fields.damaged("its clusters have a size that cannot be"));
        }
        refuse_what_lies_elsewhere(&fields)?;
        let is_v3 = version == 3;
        let incompatible = if is_v3 { fields.be64(72)? } else { 0 };
        let has_split_clusters = incompatible & incompatible::EXTENDED_L2 != 0;
        if has_split_clusters && cluster_bits < CLUSTER_BITS_SPLIT_MIN {
            return Err(fields.damaged("its clusters are too small to be divided"));
        }
        let header_bytes = if is_v3 { fields.be32(100)? as usize } else { HEADER_BYTES_V2 };
        if is_v3 && header_bytes < HEADER_BYTES_V3 {
            return Err(fields.damaged("it is too short"));
        }
        let bitmaps = match is_v3 && fields.be64(88)? & AUTOCLEAR_BITMAPS != 0 {
            true => bitmaps(&fields, header_bytes)?,
            false => None,
        };
        Ok(Header {
            version,
            cluster_bits,
            bytes: fields.be64(24)?,
            l1_at: fields.be64(40)?,
            l1_count: u64::from(fields.be32(36)?),
            snapshot_count: fields.be32(60)?,
            is_dirty: incompatible & incompatible::DIRTY != 0,
            is_corrupt: incompatible & incompatible::CORRUPT != 0,
            has_split_clusters,
            packing: packing(&fields, incompatible, header_bytes)?,
            bitmaps,
        })
    }
}

fn refuse_what_lies_elsewhere(fields: &Fields) -> Result<()> {
    let (name_at, name_len) = (fields.be64(8)?, fields.be32(16)?);
    if name_at != 0 {
        let name_at = usize::try_from(name_at).unwrap_or(usize::MAX);
        let name = fields.bytes(name_at, (name_len as usize).min(NAME_BYTES_MAX)).unwrap_or_default();
        return Err(Error::unsupported(format!("qcow2 on the backing file {:?}", String::from_utf8_lossy(name))));
    }
    match fields.be32(32)? {
        0 => {}
        1 => return Err(Error::unsupported("encrypted qcow2 (AES)")),
        2 => return Err(Error::unsupported("encrypted qcow2 (LUKS)")),
        _ => return Err(Error::unsupported("encrypted qcow2")),
    }
    if fields.be32(4)? < 3 {
        return Ok(());
    }
    let incompatible = fields.be64(72)?;
    if incompatible & incompatible::DATA_FILE != 0 {
        return Err(Error::unsupported("qcow2 with an external data file"));
    }
    let unknown = incompatible >> 5;
    if unknown != 0 {
        let bit = u64::from(unknown.trailing_zeros()) + 5;
        return Err(Error::unsupported(format!("feature {bit} of qcow2")));
    }
    Ok(())
}

fn packing(fields: &Fields, incompatible: u64, header_bytes: usize) -> Result<Packing> {
    let has_type = header_bytes > HEADER_BYTES_V3;
    let is_other = incompatible & incompatible::COMPRESSION != 0;
    match if has_type { fields.u8(104)? } else { 0 } {
        0 if !is_other => Ok(Packing::Deflate),
        1 if is_other => Ok(Packing::Zstd),
        0 | 1 => Err(fields.damaged("its kind of compression contradicts its features")),
        kind => Err(Error::unsupported(format!("compression {kind} of qcow2"))),
    }
}

fn bitmaps(fields: &Fields, header_bytes: usize) -> Result<Option<(u64, u64, u32)>> {
    let mut at = header_bytes;
    // Each extension is 8 bytes at least, within what was read.
    while at < fields.len() {
        let (kind, len) = (fields.be32(at)?, fields.be32(at + 4)? as usize);
        if kind == EXTENSION_END {
            return Ok(None);
        }
        let data = fields.part(at + 8, len, "qcow2 header extension")?;
        if kind == EXTENSION_BITMAPS {
            return Ok(Some((data.be64(16)?, data.be64(8)?, data.be32(0)?)));
        }
        at += 8 + len.next_multiple_of(8);
    }
    Ok(None)
}
