//! Targets of Windows links as a Unix system can follow them.
//!
//! A relative target gets slashes, and the case that its names have on the disk, as far as they are there. An absolute
//! one on a drive letter becomes relative if this volume has such a path (which letter it had is told nowhere); if not,
//! it stays `X:/path`, and leads nowhere. ntfs-3g does the same with its mount point in front.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::ntfs::folder::Case;
use crate::disk::fs::ntfs::inode;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::reparse::Target;
use crate::disk::fs::ntfs::utf16;
use crate::disk::fs::ntfs::volume::Volume;
use std::sync::Arc;

/// Record of the root folder.
pub(super) const ROOT: NodeId = 5;

/// A path has no more folders above each other: it has 32767 units.
const DEPTH_MAX: usize = 16 << 10;

/// Corrects the case of a path; `None` from where on nothing is there.
struct Walk {
    at: Option<NodeId>,
    names: Vec<Vec<u8>>,
    is_whole: bool,
}

impl Volume {
    /// The target of the link `inode`.
    pub(super) fn target(&mut self, inode: &Arc<Inode>, target: &Target) -> Result<Vec<u8>> {
        let (path, is_relative) = match target {
            Target::Unix(path) => return Ok(path.clone()),
            Target::Windows { path, is_relative } => (path, *is_relative),
        };
        let slashed = path.iter().map(|unit| if *unit == u16::from(b'\\') { u16::from(b'/') } else { *unit });
        let text = utf16::to_wtf8(slashed);
        if is_relative && !path.starts_with(&[u16::from(b'\\')]) {
            let above = self.folders_above(inode)?;
            return Ok(self.follow(above, &text)?.names.join(&b'/'));
        }
        let bare = text.strip_prefix(b"/??/").unwrap_or(&text);
        match bare {
            [b'U' | b'u', b'N' | b'n', b'C' | b'c', b'/', rest @ ..] => Ok([b"//", rest].concat()),
            [b'A'..=b'Z' | b'a'..=b'z', b':', rest @ ..] => self.on_this_volume(inode, rest, bare),
            [b'/', ..] if is_relative => self.on_this_volume(inode, bare, bare),
            _ => Ok(bare.to_vec()),
        }
    }

    /// The way from a link to a path from the root, or `otherwise` if there is no such path.
    fn on_this_volume(&mut self, inode: &Arc<Inode>, path: &[u8], otherwise: &[u8]) -> Result<Vec<u8>> {
        let above = self.folders_above(inode)?;
        let walk = self.follow(vec![ROOT], path)?;
        if !walk.is_whole {
            return Ok(otherwise.to_vec());
        }
        let ups = above.len().saturating_sub(1);
        let names: Vec<Vec<u8>> = std::iter::repeat_n(b"..".to_vec(), ups).chain(walk.names).collect();
        Ok(if names.is_empty() { b".".to_vec() } else { names.join(&b'/') })
    }

    /// The folders above a file, the root first.
    fn folders_above(&mut self, inode: &Arc<Inode>) -> Result<Vec<NodeId>> {
        let (mut above, mut at) = (Vec::new(), inode.clone());
        while at.number() != ROOT {
            let parent = self.parent(&at)?;
            above.push(parent);
            if above.len() > DEPTH_MAX {
                return Err(inode.record.fields().damaged("its folders are a circle"));
            }
            at = self.inode(parent)?;
        }
        above.reverse();
        Ok(above)
    }

    fn parent(&mut self, inode: &Inode) -> Result<NodeId> {
        let mut parent = None;
        self.names(inode, &mut |name| parent = parent.or(Some(name.parent)))?;
        inode::node_id(parent.ok_or_else(|| inode.record.fields().damaged("it has no name"))?)
    }

    /// Follows a path with slashes from the last of some folders; names that are there get their case.
    fn follow(&mut self, mut above: Vec<NodeId>, path: &[u8]) -> Result<Walk> {
        let at = above.pop();
        let mut walk = Walk { at, names: Vec::new(), is_whole: true };
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            match name {
                b"." => {}
                b".." => {
                    // A file has no way up that leads on; the root's leads to itself.
                    let is_below_root = !above.is_empty();
                    if is_below_root && walk.at.is_some() {
                        walk.at = above.pop();
                    }
                }
                name => {
                    let found = self.step(walk.at, name)?;
                    walk.is_whole &= found.is_some();
                    above.extend(walk.at);
                    walk.at = found.as_ref().map(|(node, _)| *node);
                    walk.names.push(found.map_or_else(|| name.to_vec(), |(_, name)| name));
                    continue;
                }
            }
            walk.names.push(name.to_vec());
        }
        Ok(walk)
    }

    fn step(&mut self, folder: Option<NodeId>, name: &[u8]) -> Result<Option<(NodeId, Vec<u8>)>> {
        let (Some(folder), Some(name)) = (folder, utf16::from_wtf8(name)) else { return Ok(None) };
        let found = self.inode(folder).and_then(|inode| self.find(&inode, &name, Case::Any));
        match found {
            Ok(found) => Ok(found.map(|found| (found.node, utf16::to_wtf8(found.name)))),
            // The link can still be told if what it leads through cannot be read.
            Err(Error::NotAFolder | Error::Damaged { .. } | Error::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
