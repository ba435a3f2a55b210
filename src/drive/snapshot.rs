//! One snapshot, or a folder in it, as a drive.

use crate::browse::Browse;
use crate::browse::OpenedDisk;
use crate::drive::DriveOptions;
use crate::drive::UNANSWERED;
use crate::drive::VOLUME_INFO;
use crate::drive::attr::virtual_folder;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::shown::Place;
use crate::drive::shown::Shown;
use crate::drive::volume_info;
use crate::drive::watch::Watch;
use crate::drive::with_parts::WithParts;
use crate::repo::Error;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bytes::Bytes;
use std::sync::Arc;

/// Number of the file that names the drive.
const VOLUME_INFO_INO: Ino = 1 << 61;

struct SnapshotDrive {
    shown: Arc<Shown>,
    volume: Volume,
    has_xattrs: bool,
    watch: Arc<Watch>,
    info: Bytes,
    info_attr: Attr,
}

/// One snapshot as a drive, or a folder in it; `None` if the snapshot has no folder at `base`. `disks` are those at its
/// top, if they were opened already.
pub async fn snapshot_drive(
    browse: Browse,
    base: &[u8],
    disks: &[OpenedDisk],
    options: DriveOptions,
) -> Result<Option<Arc<dyn Drive>>, Error> {
    let Some(top) = browse.get(base).await?.filter(|found| found.node().is_folder()) else { return Ok(None) };
    let sums = browse.sums(&top).await?;
    let info = Bytes::from(volume_info(&options.name));
    let folder = virtual_folder(VOLUME_INFO_INO, options.owner, browse.snapshot().time);
    let info_attr = Attr { kind: FileKind::File, size: info.len() as u64, mode: 0o444, ..folder };
    let has_xattrs = browse.snapshot().with_xattrs > 0;
    let place = Place { slot: 0, top_rank: top.rank, top_ino: ROOT, parent_ino: ROOT };
    let parts = Parts::new(&options);
    let shown = Shown::new(browse, place, &options, &parts);
    if !disks.is_empty() {
        shown.show_parts(disks);
    }
    let drive = SnapshotDrive {
        shown,
        volume: Volume { bytes: sums.bytes, nodes: sums.nodes },
        has_xattrs,
        watch: options.watch.clone(),
        info,
        info_attr,
    };
    Ok(Some(Arc::new(WithParts { drive, parts, watch: options.watch, store: options.store })))
}

impl Drive for SnapshotDrive {
    fn volume(&self) -> Volume {
        self.volume.clone()
    }

    fn has_xattrs(&self) -> bool {
        self.has_xattrs
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        let found = self.shown.lookup(parent, name);
        if parent != ROOT || name != VOLUME_INFO {
            return found;
        }
        let own = self.info_attr;
        Answer::later(async move {
            match found.wait().await {
                Err(DriveError::NotFound) => Ok(own),
                other => other,
            }
        })
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        if ino == VOLUME_INFO_INO { Answer::Now(Ok(self.info_attr)) } else { self.shown.attr(ino) }
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        self.shown.list(folder, cursor, entries_max)
    }

    fn asks_open(&self) -> bool {
        self.watch.asks_open()
    }

    fn open(&self, ino: Ino, caller: Caller) -> Answer<()> {
        if ino == VOLUME_INFO_INO {
            return Answer::Now(Ok(()));
        }
        self.watch.open(caller, || self.shown.is_kept(ino))
    }

    fn small(&self, ino: Ino, bytes_max: u64, caller: Caller) -> Option<Bytes> {
        let small = if ino == VOLUME_INFO_INO { None } else { self.shown.small(ino, bytes_max) };
        small.inspect(|bytes| self.watch.gave(caller, bytes))
    }

    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes> {
        if ino == VOLUME_INFO_INO {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.info.len());
            let end = start.saturating_add(len as usize).min(self.info.len());
            return Answer::Now(Ok(self.info.slice(start..end)));
        }
        let shown = self.shown.clone();
        let any = move || shown.read(ino, offset, len);
        self.watch.read(caller, any, || self.shown.read_kept(ino, offset, len))
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        self.shown.read_link(ino)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        if ino == VOLUME_INFO_INO { refuse(DriveError::NoAttribute) } else { self.shown.xattr(ino, name) }
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        if ino == VOLUME_INFO_INO { Answer::Now(Ok(Vec::new())) } else { self.shown.xattr_names(ino) }
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        if ino == VOLUME_INFO_INO { refuse(DriveError::Invalid) } else { self.shown.seek(ino, offset, what) }
    }

    fn unanswered(&self, ino: Ino) {
        self.shown.note(ino, UNANSWERED.to_owned());
    }
}
