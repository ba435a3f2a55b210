//! Tags of a descriptor block: where the blocks that follow it belong.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Journal, Descriptor Block.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ext::journal::Header;
use crate::disk::fs::ext::journal::INCOMPAT_CSUM_V2;
use crate::disk::fs::ext::journal::INCOMPAT_CSUM_V3;
use crate::disk::fs::ext::journal::INCOMPAT_WIDE;

const HEADER_BYTES: usize = 12;
const TAIL_BYTES: usize = 4;
const UUID_BYTES: usize = 16;

const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// One tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Block of the volume.
    pub(super) number: u64,
    pub(super) checksum: u32,
    /// Its first four bytes were replaced.
    pub(super) is_escaped: bool,
}

/// The tags of a descriptor block.
pub(super) fn all(header: &Header, f: &Fields) -> Result<Vec<Tag>> {
    let (is_v3, is_wide) = (header.has(INCOMPAT_CSUM_V3), header.has(INCOMPAT_WIDE));
    let len = match (is_v3, header.has(INCOMPAT_CSUM_V2)) {
        (true, _) => 16,
        (false, has_sum) => 8 + if is_wide { 4 } else { 0 } + if has_sum { 2 } else { 0 },
    };
    let end = f.len().saturating_sub(if header.has_checksums() { TAIL_BYTES } else { 0 });
    let mut tags = Vec::new();
    let mut at = HEADER_BYTES;
    while at + len <= end {
        let flags = if is_v3 { f.be32(at + 4)? } else { u32::from(f.be16(at + 6)?) };
        let high = if is_wide { u64::from(f.be32(at + 8)?) } else { 0 };
        let checksum = if is_v3 { f.be32(at + 12)? } else { u32::from(f.be16(at + 4)?) };
        let number = high << 32 | u64::from(f.be32(at)?);
        tags.push(Tag { number, checksum, is_escaped: flags & ESCAPED != 0 });
        at += len + if flags & SAME_UUID == 0 { UUID_BYTES } else { 0 };
        if flags & LAST != 0 {
            break;
        }
    }
    Ok(tags)
}
