//! Extents of files.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::btrfs::compression::Compression;
use std::ops::Range;

const INLINE: u8 = 0;
const REGULAR: u8 = 1;
const PREALLOCATED: u8 = 2;
const INLINE_AT: usize = 21;
/// Compressed extents are not longer, before and after.
pub(super) const COMPRESSED_BYTES_MAX: u64 = 128 << 10;

/// `btrfs_file_extent_item`: where a range of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileExtent<'a> {
    /// Nowhere: zeros.
    Zeros {
        len: u64,
    },
    /// In the item itself.
    Inline {
        data: &'a [u8],
        compression: Option<Compression>,
        /// Length of the plain bytes.
        len: u64,
    },
    /// At these logical addresses.
    Plain(Range<u64>),
    Packed(Packed),
}

/// A compressed extent, and the part of it that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) compression: Compression,
    /// Logical address.
    pub(super) logical: u64,
    pub(super) len: u64,
    /// Length of the plain bytes.
    pub(super) plain_len: u64,
    /// Which of the plain bytes.
    pub(super) used: Range<u64>,
}

impl<'a> FileExtent<'a> {
    pub(super) fn read(fields: &Fields<'a>, sector_bytes: u32) -> Result<FileExtent<'a>> {
        let plain_len = fields.u64(8)?;
        let compression = Compression::of_type(fields.u8(16)?)?;
        if fields.u8(17)? != 0 {
            return Err(Error::unsupported("Btrfs encryption"));
        }
        if fields.u16(18)? != 0 {
            return Err(Error::unsupported("Btrfs encoding of data"));
        }
        let kind = fields.u8(20)?;
        if kind == INLINE {
            return read_inline(fields, compression, plain_len);
        }
        let (logical, disk_len) = (fields.u64(21)?, fields.u64(29)?);
        let (offset, len) = (fields.u64(37)?, fields.u64(45)?);
        let used_end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
        let used_end = used_end.ok_or_else(|| fields.damaged("its length is impossible"))?;
        match (kind, compression) {
            (REGULAR, _) if logical == 0 => Ok(FileExtent::Zeros { len }),
            (PREALLOCATED, _) => Ok(FileExtent::Zeros { len }),
            (REGULAR, None) => {
                let start = logical.checked_add(offset).ok_or_else(|| fields.damaged("it begins too late"))?;
                let end = start.checked_add(len).filter(|_| used_end <= disk_len);
                Ok(FileExtent::Plain(start..end.ok_or_else(|| fields.damaged("it is longer than its extent"))?))
            }
            (REGULAR, Some(compression)) => {
                if used_end > plain_len || plain_len > COMPRESSED_BYTES_MAX || disk_len > COMPRESSED_BYTES_MAX {
                    return Err(fields.damaged("it is longer than a compressed extent"));
                }
                if disk_len == 0 || disk_len % u64::from(sector_bytes) != 0 || logical.checked_add(disk_len).is_none() {
                    return Err(fields.damaged("it is not of whole sectors"));
                }
                let used = offset..used_end;
                Ok(FileExtent::Packed(Packed { compression, logical, len: disk_len, plain_len, used }))
            }
            _ => Err(Error::unsupported(format!("Btrfs file extent type {kind}"))),
        }
    }

    /// Bytes of the file it stands for.
    pub(super) fn len(&self) -> u64 {
        match self {
            FileExtent::Zeros { len } | FileExtent::Inline { len, .. } => *len,
            FileExtent::Plain(range) => range.end.saturating_sub(range.start),
            FileExtent::Packed(packed) => packed.used.end.saturating_sub(packed.used.start),
        }
    }
}

fn read_inline<'a>(fields: &Fields<'a>, compression: Option<Compression>, len: u64) -> Result<FileExtent<'a>> {
    let data = fields.rest(INLINE_AT)?;
    if len > COMPRESSED_BYTES_MAX || (compression.is_none() && len != data.len() as u64) {
        return Err(fields.damaged("its length is impossible"));
    }
    Ok(FileExtent::Inline { data, compression, len })
}
