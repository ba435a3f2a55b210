//! NTFS, versions 1.2 to 3.1.
//!
//! Format: the documentation of the Linux-NTFS project (<https://flatcap.github.io/linux-ntfs/ntfs/>), Microsoft's
//! [MS-FSCC] for reparse points and extended attributes, and [MS-XCA] for compression.
//!
//! ```text
//! boot ── mft ── record ── attribute ── runlist       what lies on the disk
//!          └──── inode (attribute_list) ── stream      a file, and the values of its attributes
//!                  ├── folder (index, upcase)          names
//!                  ├── node (reparse, interix, …)      what it is
//!                  └── compressed (lznt1), wof         content that has to be unpacked
//! ```
//! A node is a file record; its number is the record's, with eight bits of the count of how often that was given away.
//! Alternate data streams are attributes `user.NAME` up to 64 KiB, and files `name:stream` of any length that are found
//! but not listed. What NTFS calls attributes of a file, and security descriptors, is not shown.

mod attribute;
mod attribute_list;
mod boot;
mod compressed;
mod extended_attributes;
mod file_name;
mod fixup;
mod folder;
mod health;
mod huffman;
mod index;
mod inode;
mod interix;
mod kind;
mod link;
mod log_file;
mod lznt1;
mod lzx;
mod mft;
mod node;
mod record;
mod reparse;
mod runlist;
mod space;
mod standard_information;
mod stream;
#[cfg(test)]
mod tests;
mod upcase;
mod utf16;
mod volume;
mod wof;
mod xpress;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::Source;
use crate::disk::fs::ntfs::boot::Claim;
use crate::disk::fs::ntfs::folder::Case;
use crate::disk::fs::ntfs::health::Health;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::mft::Mft;
use crate::disk::fs::ntfs::reparse::Special;
use crate::disk::fs::ntfs::volume::Volume;
use crate::meta::Xattr;
use std::ops::Range;
use std::sync::Arc;

/// Streams up to this length are extended attributes too: the most that Linux lets one have.
const XATTR_BYTES_MAX: u64 = 64 << 10;

/// True if an NTFS volume lies here, or one inside BitLocker. A volume that has lost its first sector is known by the
/// copy at its end; as that may outlive a new file system, this is to be asked after all others.
pub fn is_ntfs(source: &Source) -> Result<bool> {
    Ok(match boot::claim(source)? {
        Claim::Ntfs | Claim::BitLocker => true,
        Claim::Neither => boot::backup(source).is_some_and(|boot| Mft::open(source, &boot).is_ok()),
    })
}

/// Opens the volume on a source.
pub fn open(source: Source) -> Result<Box<dyn FileSystem>> {
    if boot::claim(&source)? == Claim::BitLocker {
        return Err(Error::unsupported("BitLocker"));
    }
    let mut notes = Vec::new();
    let boot = match boot::first(&source) {
        Err(Error::Damaged { what, at, why }) => {
            notes.push("The boot sector is damaged; its copy at the end of the volume was used.".to_owned());
            boot::backup(&source).ok_or(Error::Damaged { what, at, why })?
        }
        boot => boot?,
    };
    let mft = Mft::open(&source, &boot)?;
    let mut volume = Volume::new(source, boot, mft);
    let Health { label, faults } = health::examine(&mut volume)?;
    notes.extend(faults);
    if volume.mft.mirror_used {
        notes.push("The start of the file table is damaged; its mirror was used.".to_owned());
    }
    if volume.is_cut_off() {
        notes.push("The volume is longer than what it lies on; its end is missing.".to_owned());
    }
    Ok(Box::new(Ntfs { volume, label, notes }))
}

/// An open volume.
struct Ntfs {
    volume: Volume,
    label: String,
    /// Empty if nothing is wrong with it.
    notes: Vec<String>,
}

impl Ntfs {
    fn stream_of_name(&mut self, folder: &Arc<Inode>, name: &[u8]) -> Result<NodeId> {
        // No name of a stream has a colon, but a file that Unix made may.
        let at = name.iter().rposition(|byte| *byte == b':').ok_or(Error::NotFound)?;
        let (file, stream) = (name.get(..at).unwrap_or_default(), name.get(at + 1..).unwrap_or_default());
        let (Some(file), Some(stream)) = (utf16::from_wtf8(file), utf16::from_wtf8(stream)) else {
            return Err(Error::NotFound);
        };
        let found = self.volume.find(folder, &file, Case::Same)?.ok_or(Error::NotFound)?;
        let inode = self.volume.inode(found.node)?;
        let mut names = Volume::named_streams(&inode).filter_map(|index| inode.attributes.get(index));
        let index = names.position(|held| held.name == stream).ok_or(Error::NotFound)?;
        inode::stream_id(found.node, index)
    }
}

impl FileSystem for Ntfs {
    fn about(&self) -> About {
        let boot = &self.volume.boot;
        About {
            kind: "NTFS".to_owned(),
            label: self.label.clone(),
            uuid: format!("{:016X}", boot.serial),
            bytes: boot.sectors.saturating_add(1).saturating_mul(boot.sector_bytes),
            notes: self.notes.clone(),
            ..About::default()
        }
    }

    fn root(&self) -> NodeId {
        link::ROOT
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        self.volume.describe(id)
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let inode = self.open_folder(folder)?;
        self.volume.list_folder(&inode, cursor, take)
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let inode = self.open_folder(folder)?;
        let units = utf16::from_wtf8(name).ok_or(Error::NotFound)?;
        match self.volume.find(&inode, &units, Case::Same)? {
            Some(found) => Ok(found.node),
            None => self.stream_of_name(&inode, name),
        }
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let inode = self.volume.inode(file)?;
        if let (_, Some(index)) = inode::split_id(file) {
            let stream = self.volume.named_stream(&inode, index)?;
            return self.volume.map_stream(&stream, range, runs);
        }
        if inode.is_folder {
            return Err(Error::WrongKind);
        }
        let special = self.volume.special(&inode)?;
        let Some(content) = self.volume.find_stream(&inode, kind::DATA, &[])? else { return Ok(()) };
        match special {
            Special::Plain => self.volume.map_stream(&content, range, runs),
            Special::Packed(algorithm) => self.volume.map_packed(&inode, algorithm, content.sizes.size, range, runs),
            Special::Cloud => self.volume.map_here(&content, range, runs),
            Special::Opaque(what) => Err(Error::Unsupported { what }),
            _ => Err(Error::WrongKind),
        }
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.volume.inode(node)?;
        match (inode::split_id(node).1, self.volume.special(&inode)?) {
            (None, Special::Symlink(target)) => self.volume.target(&inode, &target),
            _ => Err(Error::WrongKind),
        }
    }

    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>> {
        let inode = self.volume.inode(node)?;
        let mut found = Vec::new();
        if inode::split_id(node).1.is_some() {
            return Ok(found);
        }
        for index in Volume::named_streams(&inode) {
            let stream = self.volume.stream(&inode, index)?;
            let name = inode.attributes.get(index).map(|held| held.name.as_slice()).unwrap_or_default();
            if wof::is_packed_stream(name) && matches!(self.volume.special(&inode)?, Special::Packed(_)) {
                continue;
            }
            // Longer ones, and those without a key, are found by their names.
            if stream.sizes.size <= XATTR_BYTES_MAX && !stream.is_encrypted() {
                let value = self.volume.read_stream(&stream, 0..XATTR_BYTES_MAX)?;
                let name = [&b"user."[..], &utf16::to_wtf8(name.iter().copied())].concat();
                found.push(Xattr { name, value });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        if !self.notes.is_empty() || self.volume.mft.mirror_used {
            return Ok(None);
        }
        self.volume.used_ranges()
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        self.volume.metadata_ranges(take)
    }
}

impl Ntfs {
    /// The file of a folder that is shown as one.
    fn open_folder(&mut self, id: NodeId) -> Result<Arc<Inode>> {
        let inode = self.volume.inode(id)?;
        let is_stream = inode::split_id(id).1.is_some();
        if is_stream || !inode.is_folder || matches!(self.volume.special(&inode)?, Special::Symlink(_)) {
            return Err(Error::NotAFolder);
        }
        Ok(inode)
    }
}
