//! Extended attributes: in the inode, in a leaf, in leaves below nodes, and values in blocks of their own.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 19 "Extended Attributes".

mod acl;
mod leaf;
mod remote;
mod shortform;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::xfs::extent::extents;
use crate::disk::fs::xfs::inode::Format;
use crate::disk::fs::xfs::inode::Inode;
use crate::disk::fs::xfs::inode::Which;
use crate::disk::fs::xfs::volume::Volume;
use crate::meta::Xattr;

/// Flags of an entry.
const FLAG_LOCAL: u8 = 1;
const FLAG_ROOT: u8 = 2;
const FLAG_SECURE: u8 = 4;
const FLAG_PARENT: u8 = 8;
const FLAG_INCOMPLETE: u8 = 0x80;
/// Together more bytes are not read.
const BYTES_MAX: usize = 16 << 20;

/// The attributes that were found.
struct Found<'a> {
    inode: &'a Inode,
    xattrs: Vec<Xattr>,
    bytes: usize,
}

impl Found<'_> {
    /// Whether an entry with such flags is shown at all, and in which namespace.
    fn namespace(&self, flags: u8) -> Result<Option<&'static str>> {
        if flags & !(FLAG_LOCAL | FLAG_ROOT | FLAG_SECURE | FLAG_PARENT | FLAG_INCOMPLETE) != 0 {
            return Err(Error::unsupported(format!("XFS attribute flags {flags:#x}")));
        }
        // What is being written, and pointers to parents, which no driver lists.
        if flags & (FLAG_INCOMPLETE | FLAG_PARENT) != 0 {
            return Ok(None);
        }
        match flags & (FLAG_ROOT | FLAG_SECURE) {
            0 => Ok(Some("user.")),
            FLAG_ROOT => Ok(Some("trusted.")),
            FLAG_SECURE => Ok(Some("security.")),
            _ => Err(self.inode.damaged("an attribute is in two namespaces")),
        }
    }

    fn push(&mut self, namespace: &'static str, name: &[u8], value: Vec<u8>) -> Result<()> {
        self.bytes = self.bytes.saturating_add(value.len()).saturating_add(name.len());
        if self.bytes > BYTES_MAX {
            return Err(Error::unsupported("more than 16 MiB of XFS attributes"));
        }
        if name.is_empty() || name.contains(&0) {
            return Err(self.inode.damaged("an attribute has no possible name"));
        }
        if namespace == "trusted."
            && let Some(acl_name) = acl::name_of(name)
        {
            let value = acl::of_system_call(&value).ok_or_else(|| self.inode.damaged("its ACL is impossible"))?;
            self.xattrs.push(Xattr { name: acl_name.to_vec(), value });
        }
        self.xattrs.push(Xattr { name: [namespace.as_bytes(), name].concat(), value });
        Ok(())
    }
}

/// All attributes that the driver lists, sorted by name.
pub(super) fn xattrs(volume: &Volume, inode: &Inode) -> Result<Vec<Xattr>> {
    let mut found = Found { inode, xattrs: Vec::new(), bytes: 0 };
    let fork = inode.fork(Which::Attr)?;
    match fork.format {
        Format::Local => shortform::list(&fork.fields, &mut found)?,
        Format::Extents if fork.extents == 0 => {}
        Format::Extents | Format::Btree => leaf::list(volume, inode, &mut found)?,
        Format::Device => return Err(inode.damaged("its attributes have the format of a device")),
    }
    found.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found.xattrs)
}

/// Byte where a block of the attribute fork lies.
fn place(volume: &Volume, inode: &Inode, block: u64) -> Result<u64> {
    let mut found = None;
    extents(volume, inode, Which::Attr, block, &mut |extent| {
        if extent.offset <= block && !extent.is_unwritten {
            found = Some(extent.at + ((block - extent.offset) << volume.superblock.block_log));
        }
        Ok(false)
    })?;
    found.ok_or_else(|| inode.damaged("a block of its attributes is missing"))
}
