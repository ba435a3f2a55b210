//! Extended attributes: in the rest of the inode, in a block, and with values in inodes of their own.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Extended Attributes.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::acl;
use crate::disk::fs::ext::blocks;
use crate::disk::fs::ext::inode::BASE_BYTES;
use crate::disk::fs::ext::inode::Inode;
use crate::disk::fs::ext::inode::MAP_BYTES;
use crate::disk::fs::ext::volume::Volume;
use crate::meta::Xattr;

const MAGIC: u32 = 0xea02_0000;
const BLOCK: &str = "ext4 extended attribute block";
const INSIDE: &str = "ext4 extended attributes of an inode";
const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
/// Longest value.
const VALUE_BYTES_MAX: u32 = 1 << 24;

const SYSTEM: u8 = 7;
/// Name of the attribute that holds what of a file does not fit into its inode.
const DATA: &[u8] = b"data";

/// One attribute as it is stored.
struct Stored<'a> {
    index: u8,
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Here(&'a [u8]),
    Inode { number: u32, len: u32 },
}

/// All attributes that the system's driver would show, sorted by name.
pub(super) fn all(volume: &Volume, inode: &Inode) -> Result<Vec<Xattr>> {
    let mut found = Vec::new();
    each(volume, inode, &mut |stored| {
        let Some(prefix) = prefix(stored.index) else { return Ok(()) };
        let value = value(volume, &stored.value)?;
        let value = if matches!(stored.index, 2 | 3) { acl::for_system_call(&value)? } else { value };
        found.push(Xattr { name: [prefix, stored.name].concat(), value });
        Ok(())
    })?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name)) {
        return Err(inode.fields().damaged("it has an attribute twice"));
    }
    Ok(found)
}

/// What of the content of an inode with inline data follows on the first 60 bytes.
pub(super) fn inline_rest(volume: &Volume, inode: &Inode) -> Result<Vec<u8>> {
    let mut found = None;
    in_inode(inode, &mut |stored| {
        if stored.index == SYSTEM && stored.name == DATA {
            found = Some(value(volume, &stored.value)?);
        }
        Ok(())
    })?;
    match found {
        None if inode.size > MAP_BYTES as u64 => {
            Err(inode.fields().damaged("the attribute of its inline data is missing"))
        }
        found => Ok(found.unwrap_or_default()),
    }
}

/// Prefixes by index. The rest (inline data, the context of encryption, what has no driver) is hidden.
fn prefix(index: u8) -> Option<&'static [u8]> {
    Some(match index {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        10 => b"gnu.",
        _ => return None,
    })
}

fn value(volume: &Volume, value: &Value) -> Result<Vec<u8>> {
    let (number, len) = match value {
        Value::Here(bytes) => return Ok(bytes.to_vec()),
        Value::Inode { number, len } => (*number, *len),
    };
    let inode = Inode::read(volume, number)?;
    if !inode.is_xattr_value() || inode.size != u64::from(len) || len > VALUE_BYTES_MAX {
        return Err(inode.fields().damaged("it is not the value of the attribute that names it"));
    }
    blocks::read(volume, &inode, 0..u64::from(len))
}

fn each(volume: &Volume, inode: &Inode, take: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
    in_inode(inode, take)?;
    if inode.xattr_block == 0 {
        return Ok(());
    }
    let block = volume.block(inode.xattr_block)?;
    let f = Fields::new(&block, BLOCK, volume.byte(inode.xattr_block));
    if f.u32(0)? != MAGIC || f.u32(8)? != 1 {
        return Err(f.damaged("the header is wrong"));
    }
    let sb = volume.superblock();
    if sb.has_checksums() {
        let parts = [&inode.xattr_block.to_le_bytes()[..], f.bytes(0, 0x10)?, &[0; 4], f.rest(0x14)?];
        if parts.iter().fold(sb.checksum_seed, |crc, part| crc32c_running(crc, part)) != f.u32(0x10)? {
            return Err(f.damaged("the checksum is wrong"));
        }
    }
    entries(&f, BLOCK_HEADER_BYTES, &f, take)
}

fn in_inode(inode: &Inode, take: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
    let f = inode.fields();
    let at = BASE_BYTES + inode.extra_bytes()?;
    if f.len() <= BASE_BYTES || f.len().saturating_sub(at) < 4 || f.u32(at)? != MAGIC {
        return Ok(());
    }
    // Values are counted from the first entry on.
    let rest = f.part(at + 4, f.len() - at - 4, INSIDE)?;
    entries(&rest, 0, &rest, take)
}

/// Entries of `f` from `at` on, with offsets of values in `values`.
fn entries(f: &Fields, at: usize, values: &Fields, take: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
    let mut at = at;
    // Four bytes of zeros end the list; so does the end of the space.
    while f.len().saturating_sub(at) >= 4 && f.u32(at)? != 0 {
        let name_len = usize::from(f.u8(at)?);
        let (inode, len) = (f.u32(at + 4)?, f.u32(at + 8)?);
        let value = match inode {
            0 => Value::Here(values.bytes(if len == 0 { 0 } else { usize::from(f.u16(at + 2)?) }, len as usize)?),
            number => Value::Inode { number, len },
        };
        take(Stored { index: f.u8(at + 1)?, name: f.bytes(at + ENTRY_BYTES, name_len)?, value })?;
        at += ENTRY_BYTES + name_len.next_multiple_of(4);
    }
    Ok(())
}
