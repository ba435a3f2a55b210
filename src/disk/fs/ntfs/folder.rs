//! Folders: listing by blocks, and looking up by descending the tree.
//!
//! A listing gives the entries of the root, then those of each block in use in the order of the blocks. So its cursor,
//! block and place in it, leads back without a search, and damaged links between blocks hide nothing.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Entry;
use crate::disk::fs::NodeId;
use crate::disk::fs::ntfs::file_name::FileName;
use crate::disk::fs::ntfs::index;
use crate::disk::fs::ntfs::index::I30;
use crate::disk::fs::ntfs::index::IndexEntry;
use crate::disk::fs::ntfs::index::Shape;
use crate::disk::fs::ntfs::inode;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::record::Reference;
use crate::disk::fs::ntfs::stream::Stream;
use crate::disk::fs::ntfs::upcase::Upcase;
use crate::disk::fs::ntfs::utf16;
use crate::disk::fs::ntfs::volume::Volume;
use std::cmp::Ordering;
use std::sync::Arc;

/// Records below are the volume's own, and not shown.
const FIRST_USER_RECORD: u64 = 16;
/// An index root is inside a record.
const ROOT_BYTES_MAX: u64 = 64 << 10;
/// For 32 million blocks.
const BITMAP_BYTES_MAX: u64 = 4 << 20;
/// Each level has many times the entries of the one above.
const DEPTH_MAX: u32 = 16;
/// A cursor is a block, counted from 1 with the root as 0, above the place in it.
const CURSOR_PLACE_BITS: u32 = 17;

/// A folder that is open.
pub(super) struct Folder {
    number: u64,
    root: Vec<u8>,
    shape: Shape,
    blocks: Option<Stream>,
}

/// How a name has to be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Same,
    Any,
}

/// A name that was looked for.
pub(super) struct Found {
    pub(super) node: NodeId,
    pub(super) name: Vec<u16>,
}

struct Search<'a> {
    name: &'a [u16],
    case: Case,
    blocks_left: u64,
    found: Option<Found>,
}

impl Folder {
    fn block_count(&self) -> u64 {
        self.blocks.as_ref().map_or(0, |blocks| blocks.sizes.size / self.shape.block_bytes)
    }
}

/// True if an entry is one that people see.
fn is_shown(reference: Reference, name: &FileName<'_>) -> bool {
    !name.is_alias && reference.record >= FIRST_USER_RECORD
}

fn shown(entry: &IndexEntry<'_>, block: u64) -> Result<Option<Entry>> {
    let Some(name) = entry.name.as_ref().filter(|name| is_shown(entry.reference, name)) else { return Ok(None) };
    let bytes = utf16::to_wtf8(utf16::units(name.name));
    let is_impossible = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|b| b"/\0".contains(b));
    if is_impossible {
        return Err(Error::damaged("NTFS index entry", 0, "its name is one that no file can have"));
    }
    let cursor = block << CURSOR_PLACE_BITS | entry.at as u64;
    Ok(Some(Entry { name: bytes, node: inode::node_id(entry.reference)?, cursor }))
}

impl Volume {
    /// Opens a folder.
    pub(super) fn folder(&mut self, inode: &Arc<Inode>) -> Result<Folder> {
        if !inode.is_folder {
            return Err(Error::NotAFolder);
        }
        let root = self.value(inode, kind::INDEX_ROOT, I30, ROOT_BYTES_MAX)?;
        let root = root.ok_or_else(|| inode.record.fields().damaged("a folder has no index"))?;
        let shape = index::shape(&root)?;
        let blocks = match shape.has_blocks {
            true => {
                let blocks = self.find_stream(inode, kind::INDEX_ALLOCATION, I30)?;
                Some(blocks.ok_or_else(|| inode.record.fields().damaged("a folder's blocks are missing"))?)
            }
            false => None,
        };
        Ok(Folder { number: inode.number(), root, shape, blocks })
    }

    /// Lists a folder; see [`crate::disk::fs::FileSystem::list`].
    pub(super) fn list_folder(
        &mut self,
        inode: &Arc<Inode>,
        cursor: u64,
        take: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<()> {
        let folder = self.folder(inode)?;
        let first = cursor >> CURSOR_PLACE_BITS;
        if first == 0 {
            for entry in index::root_entries(&folder.root)? {
                let Some(entry) = shown(&entry, 0)?.filter(|entry| entry.cursor > cursor) else { continue };
                if !take(entry) {
                    return Ok(());
                }
            }
        }
        if folder.blocks.is_none() {
            return Ok(());
        }
        let in_use = self.value(inode, kind::BITMAP, I30, BITMAP_BYTES_MAX)?;
        let in_use = in_use.ok_or_else(|| inode.record.fields().damaged("a folder has blocks, but no bitmap"))?;
        for number in first.saturating_sub(1)..folder.block_count() {
            let byte = usize::try_from(number / 8).ok().and_then(|byte| in_use.get(byte));
            let byte = byte.ok_or_else(|| inode.record.fields().damaged("a folder's bitmap is too short"))?;
            if byte >> (number % 8) & 1 == 0 {
                continue;
            }
            let block = self.block(&folder, number)?;
            for entry in index::block_entries(&block)? {
                let Some(entry) = shown(&entry, number + 1)?.filter(|entry| entry.cursor > cursor) else { continue };
                if !take(entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Looks up a name by descending the tree, or without `$UpCase` by looking at all.
    pub(super) fn find(&mut self, inode: &Arc<Inode>, name: &[u16], case: Case) -> Result<Option<Found>> {
        let Some(upcase) = self.upcase.take() else { return self.find_slowly(inode, name) };
        let found = self.descend(inode, name, case, &upcase);
        self.upcase = Some(upcase);
        found
    }

    fn find_slowly(&mut self, inode: &Arc<Inode>, name: &[u16]) -> Result<Option<Found>> {
        let (wanted, mut found) = (utf16::to_wtf8(name.iter().copied()), None);
        self.list_folder(inode, 0, &mut |entry| {
            if entry.name == wanted {
                found = Some(Found { node: entry.node, name: name.to_vec() });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    fn descend(&mut self, inode: &Arc<Inode>, name: &[u16], case: Case, upcase: &Upcase) -> Result<Option<Found>> {
        let folder = self.folder(inode)?;
        let mut search = Search { name, case, blocks_left: folder.block_count(), found: None };
        let entries = index::root_entries(&folder.root)?;
        self.search_node(&folder, &entries, &mut search, upcase, 0)?;
        Ok(search.found)
    }

    /// Searches a node and what is below it; true if the search is over.
    fn search_node(
        &mut self,
        folder: &Folder,
        entries: &[IndexEntry<'_>],
        search: &mut Search<'_>,
        upcase: &Upcase,
        depth: u32,
    ) -> Result<bool> {
        // Names that differ only in case lie side by side, in an order that nobody promises: all are looked at.
        for entry in entries {
            let order = entry.name.as_ref().map(|name| upcase.compare(search.name, name.name));
            if order == Some(Ordering::Greater) {
                continue;
            }
            if let Some(vcn) = entry.child
                && self.search_child(folder, vcn, search, upcase, depth + 1)?
            {
                return Ok(true);
            }
            let Some(name) = entry.name.as_ref().filter(|_| order == Some(Ordering::Equal)) else { return Ok(false) };
            let is_same = utf16::units(name.name).eq(search.name.iter().copied());
            if is_shown(entry.reference, name) && (is_same || search.case == Case::Any) {
                let name = utf16::units(name.name).collect();
                search.found = Some(Found { node: inode::node_id(entry.reference)?, name });
                if is_same {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn search_child(
        &mut self,
        folder: &Folder,
        vcn: u64,
        search: &mut Search<'_>,
        upcase: &Upcase,
        depth: u32,
    ) -> Result<bool> {
        let left = search.blocks_left.checked_sub(1).filter(|_| depth <= DEPTH_MAX);
        search.blocks_left = left.ok_or_else(|| Error::damaged("NTFS index", 0, "its tree is no tree"))?;
        let number = vcn.checked_mul(self.vcn_bytes(folder)).map(|at| at / folder.shape.block_bytes);
        let number = number.ok_or_else(|| Error::damaged("NTFS index", 0, "a block lies nowhere"))?;
        let block = self.block(folder, number)?;
        let entries = index::block_entries(&block)?;
        self.search_node(folder, &entries, search, upcase, depth)
    }

    /// What numbers of blocks count: clusters, or sectors where a cluster is larger than a block.
    fn vcn_bytes(&self, folder: &Folder) -> u64 {
        if self.boot.cluster_bytes <= folder.shape.block_bytes { self.boot.cluster_bytes } else { 512 }
    }

    fn block(&mut self, folder: &Folder, number: u64) -> Result<Arc<Vec<u8>>> {
        let key = (folder.number, number);
        if let Some(block) = self.blocks.get(key) {
            return Ok(block);
        }
        let outside = || Error::damaged("NTFS index", 0, "a block lies outside of it");
        let stream = folder.blocks.as_ref().filter(|_| number < folder.block_count()).ok_or_else(outside)?;
        let start = number * folder.shape.block_bytes;
        let bytes = self.read_stream(stream, start..start + folder.shape.block_bytes)?;
        let block = Arc::new(index::open_block(bytes, start / self.vcn_bytes(folder))?);
        self.blocks.put(key, block.clone());
        Ok(block)
    }
}
