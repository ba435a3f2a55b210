//! All snapshots as one drive: `latest`, `snapshots/<time> <id>`, `hosts/<host>/<time> <id>`, `tags/<tag>/<time> <id>`, and
//! the `latest` of each host and tag.
//!
//! The snapshots are folders in `snapshots`; everything else leads there by links. A snapshot is not touched before
//! somebody looks into it.

use crate::browse::Browse;
use crate::drive::DriveOptions;
use crate::drive::UNANSWERED;
use crate::drive::attr::virtual_folder;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::shown::Place;
use crate::drive::shown::Shown;
use crate::drive::shown::slot_of;
use crate::drive::shown::slot_root;
use crate::drive::watch::Watch;
use crate::drive::with_parts::WithParts;
use crate::format::record::Snapshot;
use crate::meta::Time;
use crate::path;
use crate::repo::Chunks;
use crate::repo::Log;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listed;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node that is not from a snapshot.
struct Virtual {
    attr: Attr,
    parent: Ino,
    /// Name and number of each entry of a folder, sorted by name.
    entries: BTreeMap<Vec<u8>, Ino>,
    /// Target of a link.
    target: Vec<u8>,
}

struct RepositoryDrive {
    /// By number, from [`ROOT`] on.
    nodes: Vec<Virtual>,
    /// By slot, from 1 on.
    snapshots: Vec<Arc<Shown>>,
    volume: Volume,
    has_xattrs: bool,
    watch: Arc<Watch>,
}

/// All snapshots as one drive.
pub fn repository_drive(chunks: &Arc<Chunks>, log: &Log, options: DriveOptions) -> Arc<dyn Drive> {
    let found = log.snapshots();
    let newest = found.last().map_or(Time::default(), |snapshot| snapshot.time);
    let mut drive = RepositoryDrive {
        nodes: Vec::new(),
        snapshots: Vec::new(),
        volume: Volume { bytes: found.iter().map(|s| s.bytes).max().unwrap_or(0), nodes: found.len() as u64 },
        has_xattrs: found.iter().any(|s| s.with_xattrs > 0),
        watch: options.watch.clone(),
    };
    let parts = Parts::new(&options);
    let mut maker = Maker { drive: &mut drive, owner: options.owner, newest };
    let root = maker.folder(ROOT, b"");
    let all = maker.folder(root, b"snapshots");
    let hosts = maker.folder(root, b"hosts");
    // Most repositories have no tags.
    let tags = found.iter().any(|s| !s.tags.is_empty()).then(|| maker.folder(root, b"tags"));
    // The last comes last.
    let mut latest = BTreeMap::new();
    for (slot, snapshot) in (1..).zip(&found) {
        let name = snapshot_name(snapshot, &options.time_zone);
        let place = Place { slot, top_rank: 0, top_ino: slot_root(slot), parent_ino: all };
        maker.enter(all, &name, place.top_ino);
        let browse = Browse::open(chunks, log, snapshot);
        maker.drive.snapshots.push(Shown::new(browse, place, &options, &parts));
        latest.insert(root, [b"snapshots/", &name[..]].concat());
        let host = maker.link_from(hosts, &snapshot.host, &name);
        latest.insert(host, name.clone());
        for (tags, tag) in tags.iter().flat_map(|tags| snapshot.tags.iter().map(|tag| (*tags, tag))) {
            let folder = maker.link_from(tags, tag, &name);
            latest.insert(folder, name.clone());
        }
    }
    for (folder, newest) in latest {
        maker.link(folder, b"latest", newest);
    }
    Arc::new(WithParts { drive, parts, watch: options.watch, store: options.store })
}

/// `2026-11-22 14.05.33 1a2b3c4d`: sorts by time, and every system can show it.
fn snapshot_name(snapshot: &Snapshot, zone: &jiff::tz::TimeZone) -> Vec<u8> {
    let time = jiff::Timestamp::from_second(snapshot.time.secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H.%M.%S").to_string();
    format!("{time} {}", &snapshot.id.to_string()[..8]).into_bytes()
}

/// A host or a tag as the name of a folder.
fn folder_name(text: &str) -> Vec<u8> {
    let name = text.replace('/', "_").into_bytes();
    if path::check_name(&name).is_ok() { name } else { b"unknown".to_vec() }
}

/// Makes the virtual nodes; a node's number is its place in the list + 1.
struct Maker<'a> {
    drive: &'a mut RepositoryDrive,
    owner: Option<(u32, u32)>,
    newest: Time,
}

impl Maker<'_> {
    fn add(&mut self, parent: Ino, name: &[u8], make: impl FnOnce(Attr) -> Attr, target: Vec<u8>) -> Ino {
        let ino = self.drive.nodes.len() as u64 + ROOT;
        let attr = make(virtual_folder(ino, self.owner, self.newest));
        self.drive.nodes.push(Virtual { attr, parent, entries: BTreeMap::new(), target });
        if ino != ROOT {
            self.enter(parent, name, ino);
        }
        ino
    }

    fn folder(&mut self, parent: Ino, name: &[u8]) -> Ino {
        self.add(parent, name, |attr| attr, Vec::new())
    }

    fn link(&mut self, parent: Ino, name: &[u8], target: Vec<u8>) {
        let size = target.len() as u64;
        self.add(parent, name, |attr| Attr { kind: FileKind::Symlink, size, mode: 0o777, ..attr }, target);
    }

    /// Puts a snapshot into the folder of its host or of a tag.
    fn link_from(&mut self, parent: Ino, text: &str, snapshot: &[u8]) -> Ino {
        let name = folder_name(text);
        let folder = self.has(parent, &name).unwrap_or_else(|| self.folder(parent, &name));
        self.link(folder, snapshot, [b"../../snapshots/", snapshot].concat());
        folder
    }

    fn enter(&mut self, parent: Ino, name: &[u8], ino: Ino) {
        if let Some(folder) = self.drive.nodes.get_mut((parent - ROOT) as usize) {
            folder.entries.insert(name.to_vec(), ino);
        }
    }

    fn has(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        self.drive.own(parent)?.entries.get(name).copied()
    }
}

impl RepositoryDrive {
    fn own(&self, ino: Ino) -> Option<&Virtual> {
        self.nodes.get(usize::try_from(ino.checked_sub(ROOT)?).ok()?)
    }

    /// The snapshot a number belongs to.
    fn shown(&self, ino: Ino) -> Option<&Arc<Shown>> {
        match slot_of(ino) {
            Some(slot) => self.snapshots.get(usize::try_from(slot.checked_sub(1)?).ok()?),
            None => self.snapshots.iter().find(|shown| shown.has_link(ino)),
        }
    }

    fn ask<T>(&self, ino: Ino, ask: impl FnOnce(&Arc<Shown>) -> Answer<T>) -> Answer<T> {
        self.shown(ino).map_or(refuse(DriveError::NotFound), ask)
    }
}

impl Drive for RepositoryDrive {
    fn volume(&self) -> Volume {
        self.volume.clone()
    }

    fn has_xattrs(&self) -> bool {
        self.has_xattrs
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        match self.own(parent) {
            None => self.ask(parent, |shown| shown.lookup(parent, name)),
            Some(folder) => match folder.entries.get(name) {
                Some(ino) => self.attr(*ino),
                None => refuse(DriveError::NotFound),
            },
        }
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        match self.own(ino) {
            Some(node) => Answer::Now(Ok(node.attr)),
            None => self.ask(ino, |shown| shown.attr(ino)),
        }
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        let Some(node) = self.own(folder) else {
            return self.ask(folder, |shown| shown.list(folder, cursor, entries_max));
        };
        if node.attr.kind != FileKind::Folder {
            return refuse(DriveError::NotAFolder);
        }
        let start = usize::try_from(cursor).unwrap_or(usize::MAX);
        let wanted: Vec<(Vec<u8>, Ino, u64)> = (1..)
            .zip(&node.entries)
            .skip(start)
            .take(entries_max.max(1))
            .map(|(cursor, (name, ino))| (name.clone(), *ino, cursor))
            .collect();
        let (parent, end) = (node.parent, start.saturating_add(wanted.len()) >= node.entries.len());
        let asked: Vec<_> = wanted.into_iter().map(|(name, ino, cursor)| (name, self.attr(ino), cursor)).collect();
        Answer::later(async move {
            let mut entries = Vec::with_capacity(asked.len());
            for (name, attr, cursor) in asked {
                entries.push(Listed { name, attr: attr.wait().await?, cursor });
            }
            Ok(Listing { entries, parent, end })
        })
    }

    fn asks_open(&self) -> bool {
        self.watch.asks_open()
    }

    fn open(&self, ino: Ino, caller: Caller) -> Answer<()> {
        self.watch.open(caller, || self.shown(ino).map_or(Answer::Now(Ok(false)), |shown| shown.is_kept(ino)))
    }

    fn small(&self, ino: Ino, bytes_max: u64, caller: Caller) -> Option<Bytes> {
        self.shown(ino)?.small(ino, bytes_max).inspect(|bytes| self.watch.gave(caller, bytes))
    }

    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes> {
        let shown = self.shown(ino).cloned();
        let any = {
            let shown = shown.clone();
            move || shown.map_or_else(|| refuse(DriveError::NotFound), |shown| shown.read(ino, offset, len))
        };
        self.watch.read(caller, any, || {
            shown.as_ref().map_or(Answer::Now(Ok(None)), |shown| shown.read_kept(ino, offset, len))
        })
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        match self.own(ino) {
            Some(node) if node.attr.kind == FileKind::Symlink => Answer::Now(Ok(Bytes::copy_from_slice(&node.target))),
            Some(_) => refuse(DriveError::Invalid),
            None => self.ask(ino, |shown| shown.read_link(ino)),
        }
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        match self.own(ino) {
            Some(_) => refuse(DriveError::NoAttribute),
            None => self.ask(ino, |shown| shown.xattr(ino, name)),
        }
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        match self.own(ino) {
            Some(_) => Answer::Now(Ok(Vec::new())),
            None => self.ask(ino, |shown| shown.xattr_names(ino)),
        }
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.ask(ino, |shown| shown.seek(ino, offset, what))
    }

    fn unanswered(&self, ino: Ino) {
        if let Some(shown) = self.shown(ino) {
            shown.note(ino, UNANSWERED.to_owned());
        }
    }
}
