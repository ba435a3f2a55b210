//! Disks in a snapshot, looked at: what is on them, behind a passphrase too.
//!
//! A snapshot knows what is on the disks it was taken of, but not what an encrypted part holds; of an image that was
//! backed up as a file it knows nothing. Then the image itself is asked.

use crate::browse::Browse;
use crate::browse::ImageAt;
use crate::browse::Inside;
use crate::browse::InsideError;
use crate::disk::WHOLE_NUMBERS;
use crate::format::disk::DISK_XATTR;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::image;
use crate::image::Part;
use crate::meta::Node;
use crate::repo;
use crate::tree::Found;
use std::sync::Arc;

/// Most nodes of a snapshot of disks.
const DISK_NODES_MAX: u64 = 65;

/// A disk image in a snapshot, and what is on it.
#[derive(Debug, Clone)]
pub struct OpenedDisk {
    /// Its node.
    pub found: Found,
    /// What is on it.
    pub disk: Disk,
    /// Bytes of the disk, which are not those of the file if that is a container.
    pub bytes: u64,
    /// True if its bytes are the disk as it is.
    pub is_raw: bool,
}

/// The description of the disk whose bytes a node holds, if it holds a disk.
pub fn disk_of(node: &Node) -> Option<Disk> {
    let xattr = node.meta.xattrs.iter().find(|xattr| xattr.name == DISK_XATTR)?;
    // A newer program may have described it in another way: then it is a file.
    Disk::decode(&xattr.value).ok()
}

impl OpenedDisk {
    /// Looks at the image in a file, unless the snapshot knows what is on it.
    pub fn open(
        browse: &Browse,
        found: Found,
        passphrase: &[u8],
    ) -> impl Future<Output = Result<OpenedDisk, InsideError>> + Send + use<> {
        let known = disk_of(found.node());
        let is_raw = known.is_some();
        let image = ImageAt { rank: found.rank, node: found.node(), is_raw };
        let inside = Inside::new(browse, image, None, passphrase);
        let is_enough = passphrase.is_empty();
        async move {
            let known = match known {
                Some(disk) if is_enough => {
                    let bytes = found.node().size();
                    return Ok(OpenedDisk { found, disk, bytes, is_raw });
                }
                other => other,
            };
            let layout = inside.ask(async |reader| reader.layout().await).await?;
            let looked = image::describe(&layout);
            let container = if layout.is_contained() { looked.container.clone() } else { "raw".to_owned() };
            let disk = match known {
                Some(known) => Disk { parts: looked.parts, ..known },
                None => Disk { container, ..looked },
            };
            Ok(OpenedDisk { found, disk, bytes: layout.bytes, is_raw })
        }
    }

    /// A part, open.
    pub fn part(&self, browse: &Browse, part: &DiskPart, passphrase: &[u8]) -> Arc<Inside> {
        let image = ImageAt { rank: self.found.rank, node: self.found.node(), is_raw: self.is_raw };
        Inside::new(browse, image, Some(Part::Number(part.number)), passphrase)
    }

    /// With owner, permissions and time of the root folders, where a snapshot does not have them. What cannot be looked
    /// at tells so when it is opened.
    pub fn with_roots(mut self, browse: &Browse, passphrase: &[u8]) -> impl Future<Output = OpenedDisk> + Send + use<> {
        let is_known = self.is_raw && passphrase.is_empty();
        let parts = self.disk.parts.iter().enumerate().filter(|(_, part)| part.fs.is_some() && !is_known);
        let parts: Vec<_> = parts.map(|(at, part)| (at, self.part(browse, part, passphrase))).collect();
        async move {
            for (at, inside) in parts {
                if let (Ok((_, root)), Some(fs)) = (inside.root().await, &mut self.disk.parts[at].fs) {
                    fs.root = (root.mode_or_usual(), root.uid.unwrap_or(0), root.gid.unwrap_or(0));
                    fs.root_mtime = root.mtime.unwrap_or_default();
                }
            }
            self
        }
    }

    /// With how many bytes are used, where file systems had to be looked through for that. What cannot be known stays
    /// unknown.
    pub async fn with_use(mut self, browse: &Browse, passphrase: &[u8]) -> OpenedDisk {
        let is_known = self.is_raw && passphrase.is_empty();
        let parts = self.disk.parts.iter().enumerate().filter(|(_, part)| is_use_unknown(part) && !is_known);
        let parts: Vec<_> = parts.map(|(at, part)| (at, self.part(browse, part, passphrase))).collect();
        for (at, inside) in parts {
            let used = inside.ask(async |reader| reader.used_bytes().await).await;
            if let (Ok(used), Some(fs)) = (used, &mut self.disk.parts[at].fs) {
                fs.used_bytes = used;
            }
        }
        self
    }

    /// True if the passphrase has opened a part of it.
    pub fn is_unlocked(&self) -> bool {
        self.disk.parts.iter().any(|part| part.kind.contains(" in LUKS"))
    }

    /// The first encrypted part that is not open.
    pub fn locked(&self) -> Option<&DiskPart> {
        self.disk.parts.iter().find(|part| is_locked(part))
    }
}

/// True if a file system has to be looked through to know how much of it is used.
pub fn is_use_unknown(part: &DiskPart) -> bool {
    // All of a part that is shown twice is counted with the other.
    part.number < WHOLE_NUMBERS && part.fs.as_ref().is_some_and(|fs| fs.used_bytes.is_none())
}

/// True for an encrypted part that is not open.
pub fn is_locked(part: &DiskPart) -> bool {
    part.fs.is_none() && part.kind.starts_with("LUKS")
}

impl Browse {
    /// True if nothing but disks may be in the snapshot: it is small, and something in it has a description.
    pub fn may_hold_disks(&self) -> bool {
        self.tree.nodes <= DISK_NODES_MAX && self.snapshot.with_xattrs > 0
    }

    /// The disks at the top of the snapshot, those of a snapshot of disks.
    pub async fn disks(&self) -> repo::Result<Vec<Found>> {
        let mut disks = Vec::new();
        if !self.may_hold_disks() {
            return Ok(disks);
        }
        let mut walk = self.walk(self.children(b"").await?);
        while let Some(found) = walk.next().await? {
            if disk_of(found.node()).is_some() {
                disks.push(found);
            }
        }
        Ok(disks)
    }
}
