//! What is known of a file, put together from its attributes.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::ntfs::attribute::Body;
use crate::disk::fs::ntfs::extended_attributes;
use crate::disk::fs::ntfs::extended_attributes::Wsl;
use crate::disk::fs::ntfs::file_name;
use crate::disk::fs::ntfs::file_name::FileName;
use crate::disk::fs::ntfs::index::I30;
use crate::disk::fs::ntfs::inode;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::interix;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::reparse;
use crate::disk::fs::ntfs::reparse::Special;
use crate::disk::fs::ntfs::standard_information;
use crate::disk::fs::ntfs::standard_information::ATTRIBUTE_HIDDEN;
use crate::disk::fs::ntfs::standard_information::ATTRIBUTE_SYSTEM;
use crate::disk::fs::ntfs::standard_information::StandardInformation;
use crate::disk::fs::ntfs::stream;
use crate::disk::fs::ntfs::stream::Stream;
use crate::disk::fs::ntfs::volume::Volume;
use std::sync::Arc;

const INFORMATION_BYTES_MAX: u64 = 4 << 10;

impl Volume {
    /// What is known of a node.
    pub(super) fn describe(&mut self, id: NodeId) -> Result<Node> {
        let inode = self.inode(id)?;
        let information = self.information(&inode)?;
        let wsl = match self.value(&inode, kind::EA, &[], extended_attributes::EA_BYTES_MAX)? {
            Some(value) => extended_attributes::parse(&value)?,
            None => Wsl::default(),
        };
        let mut node = Node {
            kind: if inode.is_folder { NodeKind::Folder } else { NodeKind::File },
            size: 0,
            allocated: None,
            mode: wsl.mode.map(|mode| mode & 0o7777),
            uid: wsl.uid,
            gid: wsl.gid,
            links: Some(1),
            device: None,
            mtime: Some(information.mtime),
            ctime: Some(information.ctime),
            btime: Some(information.btime),
        };
        if let (_, Some(index)) = inode::split_id(id) {
            let stream = self.named_stream(&inode, index)?;
            (node.kind, node.size, node.allocated) = (NodeKind::File, stream.sizes.size, Some(stream.sizes.allocated));
            return Ok(node);
        }
        let mut links = 0;
        self.names(&inode, &mut |_| links += 1)?;
        node.links = Some(links);
        let special = self.special(&inode)?;
        (node.kind, node.device) = match &special {
            Special::Symlink(_) => (NodeKind::Symlink, None),
            Special::Fifo => (NodeKind::Fifo, None),
            Special::Socket => (NodeKind::Socket, None),
            Special::CharDevice(device) => (NodeKind::CharDevice, device.or(wsl.device)),
            Special::BlockDevice(device) => (NodeKind::BlockDevice, device.or(wsl.device)),
            Special::Plain | Special::Packed(_) | Special::Cloud | Special::Opaque(_) => (node.kind, None),
        };
        let content = match inode.is_folder {
            true => self.find_stream(&inode, kind::INDEX_ALLOCATION, I30)?,
            false => self.find_stream(&inode, kind::DATA, &[])?,
        };
        node.allocated = Some(content.as_ref().map_or(0, |content| content.sizes.allocated));
        node.size = match (&special, node.kind) {
            (Special::Symlink(target), _) => self.target(&inode, target)?.len() as u64,
            (_, NodeKind::File) => content.map_or(0, |content| content.sizes.size),
            _ => 0,
        };
        Ok(node)
    }

    fn information(&mut self, inode: &Arc<Inode>) -> Result<StandardInformation> {
        let value = self.value(inode, kind::STANDARD_INFORMATION, &[], INFORMATION_BYTES_MAX)?;
        let value = value.ok_or_else(|| inode.record.fields().damaged("it has no standard information"))?;
        standard_information::parse(&Fields::new(&value, "NTFS standard information", 0))
    }

    /// Calls `take` with all names of a file but 8.3 aliases.
    pub(super) fn names(&mut self, inode: &Inode, take: &mut dyn FnMut(&FileName<'_>)) -> Result<()> {
        for held in inode.attributes.iter().filter(|held| held.kind == kind::FILE_NAME) {
            for part in &held.parts {
                let record = self.record_of(inode, part)?;
                let attribute = stream::attribute(&record, held.kind, part)?;
                let Body::Resident(value) = attribute.body else {
                    return Err(record.fields().damaged("a name is not resident"));
                };
                let name = file_name::parse(&value)?;
                if !name.is_alias {
                    take(&name);
                }
            }
        }
        Ok(())
    }

    /// What a file is instead of what it seems.
    pub(super) fn special(&mut self, inode: &Arc<Inode>) -> Result<Special> {
        if let Some(value) = self.value(inode, kind::REPARSE_POINT, &[], reparse::REPARSE_BYTES_MAX + 8)? {
            return reparse::parse(&value);
        }
        let attributes = self.information(inode)?.attributes;
        if inode.is_folder || attributes & ATTRIBUTE_SYSTEM == 0 {
            return Ok(Special::Plain);
        }
        match self.find_stream(inode, kind::DATA, &[])? {
            Some(content) if content.sizes.size <= interix::CONTENT_BYTES_MAX && !content.is_encrypted() => {
                let bytes = self.read_stream(&content, 0..interix::CONTENT_BYTES_MAX)?;
                Ok(interix::parse(&bytes, attributes & ATTRIBUTE_HIDDEN != 0))
            }
            _ => Ok(Special::Plain),
        }
    }

    /// Places of the named streams of a file among its attributes.
    pub(super) fn named_streams(inode: &Inode) -> impl Iterator<Item = usize> + '_ {
        let all = inode.attributes.iter().zip(0..);
        all.filter(|(held, _)| held.kind == kind::DATA && !held.name.is_empty()).map(|(_, index)| index)
    }

    /// The stream of an index among those with names.
    pub(super) fn named_stream(&mut self, inode: &Arc<Inode>, index: usize) -> Result<Stream> {
        let index = Volume::named_streams(inode).nth(index).ok_or(Error::NotFound)?;
        self.stream(inode, index)
    }
}
