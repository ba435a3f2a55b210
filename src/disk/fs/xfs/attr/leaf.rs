//! Leaves of attributes: sorted by hash, names and small values from the end of the block on.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::xfs::attr::FLAG_LOCAL;
use crate::disk::fs::xfs::attr::Found;
use crate::disk::fs::xfs::attr::place;
use crate::disk::fs::xfs::attr::remote;
use crate::disk::fs::xfs::block::Header;
use crate::disk::fs::xfs::hash::Chain;
use crate::disk::fs::xfs::hash::HashBlock;
use crate::disk::fs::xfs::hash::descend;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::volume::Volume;

/// A leaf: version 4 and 5.
const MAGIC_LEAF: [u16; 2] = [0xfbee, 0x3bee];
/// Where entries begin.
const ENTRIES_AT: [usize; 2] = [32, 80];
const ENTRY_BYTES: usize = 8;
/// Before the name of an entry whose value stands after it, and of one whose value has blocks of its own.
const LOCAL_BYTES: usize = 3;
const REMOTE_BYTES: usize = 9;

/// Lists all leaves from the first on.
pub(super) fn list(volume: &Volume, inode: &Inode, found: &mut Found<'_>) -> Result<()> {
    let version = usize::from(volume.superblock.has_crc);
    let read = |number: u32| {
        let at = place(volume, inode, u64::from(number))?;
        HashBlock::parse(volume.block(at, Header::Hash, inode.id)?, at, &volume.superblock)
    };
    let (mut leaf, mut chain) = (descend(0, 0, &read)?, Chain::new());
    loop {
        if leaf.magic != MAGIC_LEAF[version] {
            return Err(leaf.fields().damaged("it is no leaf of attributes"));
        }
        let fields = leaf.fields();
        for n in 0..leaf.count {
            let entry = fields.part(ENTRIES_AT[version] + n * ENTRY_BYTES, ENTRY_BYTES, "XFS attribute")?;
            one(volume, inode, &fields, &entry, found)?;
        }
        match chain.next(&leaf, &read)? {
            Some(next) => leaf = next,
            None => return Ok(()),
        }
    }
}

fn one(volume: &Volume, inode: &Inode, leaf: &Fields<'_>, entry: &Fields<'_>, found: &mut Found<'_>) -> Result<()> {
    let (at, flags) = (usize::from(entry.be16(4)?), entry.u8(6)?);
    let Some(namespace) = found.namespace(flags)? else {
        return Ok(());
    };
    if flags & FLAG_LOCAL != 0 {
        let (value_bytes, name_bytes) = (usize::from(leaf.be16(at)?), usize::from(leaf.u8(at + 2)?));
        let name = leaf.bytes(at + LOCAL_BYTES, name_bytes)?;
        let value = leaf.bytes(at + LOCAL_BYTES + name_bytes, value_bytes)?;
        return found.push(namespace, name, value.to_vec());
    }
    let (block, value_bytes) = (leaf.be32(at)?, leaf.be32(at + 4)?);
    let name = leaf.bytes(at + REMOTE_BYTES, usize::from(leaf.u8(at + 8)?))?;
    let value = remote::value(volume, inode, block, value_bytes)?;
    found.push(namespace, name, value)
}
