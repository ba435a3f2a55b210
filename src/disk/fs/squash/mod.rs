//! SquashFS 4.0, as the kernel's `Documentation/filesystems/squashfs.rst` describes it. A node's number is the reference
//! of its inode.

mod compressor;
mod directory;
mod file;
mod inode;
mod metadata;
mod superblock;
mod table;
#[cfg(test)]
mod tests;
mod xattr;

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::About;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::disk::fs::Source;
use crate::disk::fs::squash::directory::Folder;
use crate::disk::fs::squash::file::Contents;
use crate::disk::fs::squash::inode::Body;
use crate::disk::fs::squash::inode::Inode;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;
use crate::disk::fs::squash::superblock::SUPERBLOCK_BYTES;
use crate::disk::fs::squash::superblock::Superblock;
use crate::disk::fs::squash::table::Table;
use crate::disk::fs::squash::xattr::Xattrs;
use crate::meta::Time;
use crate::meta::Xattr;
use std::iter;
use std::ops::Range;

/// mksquashfs fills up to whole ones of these.
const PADDING_BYTES: u64 = 4 << 10;

/// A SquashFS.
struct Squash {
    source: Source,
    superblock: Superblock,
    metadata: Metadata,
    contents: Contents,
    ids: Table,
    xattrs: Option<Xattrs>,
}

/// The SquashFS on `source`, if there is one.
pub(super) fn open(source: &Source) -> Result<Option<Box<dyn FileSystem>>> {
    let Some(superblock) = Superblock::read(source)? else { return Ok(None) };
    let Superblock { compressor, block_bytes, bytes_used, .. } = superblock;
    let fragments = Table {
        what: "SquashFS fragment",
        start: superblock.fragment_table.unwrap_or_default(),
        count: superblock.fragments.into(),
        entry_bytes: 16,
    };
    let ids =
        Table { what: "SquashFS owner", start: superblock.id_table, count: superblock.ids.into(), entry_bytes: 4 };
    let xattrs = superblock.xattr_table.map(|start| Xattrs::read(start, source)).transpose()?;
    let metadata = Metadata::new(source.clone(), compressor, bytes_used);
    let contents = Contents::new(source.clone(), compressor, block_bytes, bytes_used, fragments);
    let source = source.clone();
    Ok(Some(Box::new(Squash { source, superblock, metadata, contents, ids, xattrs })))
}

impl Squash {
    fn inode(&mut self, id: NodeId) -> Result<Inode> {
        let Superblock { inode_table, directory_table, block_bytes, .. } = self.superblock;
        if id >= NODE_ID_END {
            return Err(Error::NotFound);
        }
        let place = Place::from_reference(inode_table, id)?;
        inode::read(place, directory_table, block_bytes, &mut self.metadata)
    }

    fn folder(&mut self, id: NodeId) -> Result<Folder> {
        match self.inode(id)?.body {
            Body::Folder(folder) => Ok(folder),
            _ => Err(Error::NotAFolder),
        }
    }

    fn owner(&mut self, index: u16) -> Result<u32> {
        let entry = self.ids.entry(index.into(), &self.source, &mut self.metadata)?;
        Fields::new(&entry, self.ids.what, self.ids.start).u32(0)
    }
}

/// Major and minor number out of one, in the order Linux keeps them.
fn device(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
}

impl FileSystem for Squash {
    fn about(&self) -> About {
        let bytes = self.superblock.bytes_used;
        About { kind: "SquashFS".to_owned(), bytes, used_bytes: Some(bytes), ..About::default() }
    }

    fn root(&self) -> NodeId {
        self.superblock.root
    }

    fn node(&mut self, id: NodeId) -> Result<Node> {
        let inode = self.inode(id)?;
        let (kind, size, allocated, device) = match &inode.body {
            Body::Folder(_) => (NodeKind::Folder, 0, None, None),
            Body::File(file) => (NodeKind::File, file.size, Some(file.size.saturating_sub(file.sparse)), None),
            Body::Symlink { len, .. } => (NodeKind::Symlink, u64::from(*len), None, None),
            Body::BlockDevice(number) => (NodeKind::BlockDevice, 0, None, Some(device(*number))),
            Body::CharDevice(number) => (NodeKind::CharDevice, 0, None, Some(device(*number))),
            Body::Fifo => (NodeKind::Fifo, 0, None, None),
            Body::Socket => (NodeKind::Socket, 0, None, None),
        };
        Ok(Node {
            kind,
            size,
            allocated,
            mode: Some(inode.mode.into()),
            uid: Some(self.owner(inode.uid_index)?),
            gid: Some(self.owner(inode.gid_index)?),
            links: Some(inode.links),
            device,
            mtime: Some(Time { secs: inode.mtime.into(), nanos: 0 }),
            ctime: None,
            btime: None,
        })
    }

    fn list(&mut self, folder: NodeId, cursor: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
        let folder = self.folder(folder)?;
        folder.list(self.superblock.directory_table, cursor, &mut self.metadata, take)
    }

    fn lookup(&mut self, folder: NodeId, name: &[u8]) -> Result<NodeId> {
        let folder = self.folder(folder)?;
        folder.lookup(self.superblock.directory_table, name, &mut self.metadata)
    }

    fn map(&mut self, file: NodeId, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        match self.inode(file)?.body {
            Body::File(content) => self.contents.map(file, &content, range, &mut self.metadata, runs),
            _ => Err(Error::WrongKind),
        }
    }

    fn link(&mut self, node: NodeId) -> Result<Vec<u8>> {
        match self.inode(node)?.body {
            Body::Symlink { len, mut target } => self.metadata.read(&mut target, len as usize),
            _ => Err(Error::WrongKind),
        }
    }

    fn xattrs(&mut self, node: NodeId) -> Result<Vec<Xattr>> {
        match (self.inode(node)?.xattrs, &self.xattrs) {
            (None, _) => Ok(Vec::new()),
            (Some(index), Some(xattrs)) => xattrs.set(index, &self.source, &mut self.metadata),
            (Some(_), None) => Err(Error::damaged("SquashFS inode", 0, "it has attributes, but there is no table")),
        }
    }

    fn used(&mut self) -> Result<Option<Vec<Range<u64>>>> {
        // Made once and never changed, it has no gaps. What follows closer than a page is padding; if there is more, it
        // belongs to someone: a tree of hashes, a file system for what was changed since.
        let end = self.superblock.bytes_used;
        let is_alone = self.source.len().saturating_sub(end) < PADDING_BYTES;
        Ok(is_alone.then(|| iter::once(0..end).collect()))
    }

    fn metadata(&mut self, take: &mut dyn FnMut(Range<u64>) -> bool) -> Result<()> {
        let Superblock { root, inode_table, bytes_used, .. } = self.superblock;
        let root_inode = self.metadata.range(Place::from_reference(inode_table, root)?.block)?;
        let listing = self.folder(root)?.first_block();
        let listing = self.metadata.range(listing).ok();
        let first = [Some(0..SUPERBLOCK_BYTES as u64), Some(root_inode), listing, Some(inode_table..bytes_used)];
        // All tables stand together behind the content of files.
        first.into_iter().flatten().all(take);
        Ok(())
    }
}
