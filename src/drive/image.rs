//! One disk image as a drive: a folder for each of its parts.

use crate::browse::Browse;
use crate::browse::OpenedDisk;
use crate::drive::DriveOptions;
use crate::drive::attr::virtual_folder;
use crate::drive::parts::DiskAt;
use crate::drive::parts::PartFolder;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::with_parts::WithParts;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listed;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bytes::Bytes;
use std::sync::Arc;

struct ImageDrive {
    root: Attr,
    parts: Vec<Arc<PartFolder>>,
    volume: Volume,
}

/// The disk image in a file of a snapshot as a drive.
pub fn image_drive(browse: &Browse, opened: &OpenedDisk, options: DriveOptions) -> Arc<dyn Drive> {
    let OpenedDisk { found, disk, bytes, is_raw } = opened;
    let node = found.node();
    let parts = Parts::new(&options);
    let at = DiskAt { slot: 0, rank: found.rank, browse, node, is_raw: *is_raw, parent: ROOT };
    let drive = ImageDrive {
        root: virtual_folder(ROOT, options.owner, node.meta.mtime),
        parts: parts.of_disk(disk, &at, ""),
        volume: Volume { bytes: *bytes, nodes: disk.parts.len() as u64 + 1 },
    };
    Arc::new(WithParts { drive, parts, watch: options.watch, store: options.store })
}

impl ImageDrive {
    fn only_root<T>(ino: Ino, answer: bygone_mount::drive::Result<T>) -> Answer<T> {
        if ino == ROOT { Answer::Now(answer) } else { refuse(DriveError::NotFound) }
    }
}

impl Drive for ImageDrive {
    fn volume(&self) -> Volume {
        self.volume.clone()
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        let part = self.parts.iter().find(|part| part.name() == name);
        Self::only_root(parent, part.map(|part| part.top()).ok_or(DriveError::NotFound))
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        Self::only_root(ino, Ok(self.root))
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        let first = usize::try_from(cursor).unwrap_or(usize::MAX);
        let listed = (1..).zip(&self.parts).skip(first).take(entries_max.max(1));
        let listed = listed.map(|(cursor, part)| Listed { name: part.name().to_vec(), attr: part.top(), cursor });
        let entries: Vec<Listed> = listed.collect();
        let end = first.saturating_add(entries.len()) >= self.parts.len();
        Self::only_root(folder, Ok(Listing { entries, parent: ROOT, end }))
    }

    fn read(&self, ino: Ino, _offset: u64, _len: u32, _caller: Caller) -> Answer<Bytes> {
        Self::only_root(ino, Err(DriveError::IsAFolder))
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        Self::only_root(ino, Err(DriveError::Invalid))
    }

    fn xattr(&self, ino: Ino, _name: &[u8]) -> Answer<Bytes> {
        Self::only_root(ino, Err(DriveError::NoAttribute))
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        Self::only_root(ino, Ok(Vec::new()))
    }

    fn seek(&self, ino: Ino, _offset: u64, _what: Seek) -> Answer<u64> {
        Self::only_root(ino, Err(DriveError::IsAFolder))
    }
}
