//! A drive with the partitions of its disk images: numbers of parts go to them, all others to the drive below.

use crate::drive::UNANSWERED;
use crate::drive::parts::Parts;
use crate::drive::refuse;
use crate::drive::watch::Watch;
use crate::store::Counted;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bytes::Bytes;
use std::sync::Arc;

/// The two together.
pub(super) struct WithParts<D> {
    pub(super) drive: D,
    pub(super) parts: Arc<Parts>,
    pub(super) watch: Arc<Watch>,
    pub(super) store: Option<Arc<Counted>>,
}

impl<D: Drive> Drive for WithParts<D> {
    fn volume(&self) -> Volume {
        self.drive.volume()
    }

    fn has_xattrs(&self) -> bool {
        self.drive.has_xattrs()
    }

    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        match self.parts.of(parent) {
            None => self.drive.lookup(parent, name),
            Some(Ok((part, node))) => part.lookup(node, name),
            Some(Err(error)) => refuse(error),
        }
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        match self.parts.of(ino) {
            None => self.drive.attr(ino),
            Some(Ok((part, node))) => part.attr(node),
            Some(Err(error)) => refuse(error),
        }
    }

    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        match self.parts.of(folder) {
            None => self.drive.list(folder, cursor, entries_max),
            Some(Ok((part, node))) => part.list(node, cursor, entries_max),
            Some(Err(error)) => refuse(error),
        }
    }

    fn asks_open(&self) -> bool {
        self.drive.asks_open()
    }

    fn open(&self, ino: Ino, caller: Caller) -> Answer<()> {
        match self.parts.of(ino) {
            None => self.drive.open(ino, caller),
            // Whether all of a file inside an image is at hand takes too long to find out.
            Some(_) => self.watch.open(caller, || Answer::Now(Ok(false))),
        }
    }

    fn small(&self, ino: Ino, bytes_max: u64, caller: Caller) -> Option<Bytes> {
        if self.parts.of(ino).is_none() { self.drive.small(ino, bytes_max, caller) } else { None }
    }

    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes> {
        match self.parts.of(ino) {
            None => self.drive.read(ino, offset, len, caller),
            Some(Ok((part, node))) => {
                self.watch.read(caller, move || part.read(node, offset, len), || Answer::Now(Ok(None)))
            }
            Some(Err(error)) => refuse(error),
        }
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        match self.parts.of(ino) {
            None => self.drive.read_link(ino),
            Some(Ok((part, node))) => part.read_link(node),
            Some(Err(error)) => refuse(error),
        }
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        match self.parts.of(ino) {
            None => self.drive.xattr(ino, name),
            Some(Ok((part, node))) => part.xattr(node, name),
            Some(Err(error)) => refuse(error),
        }
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        match self.parts.of(ino) {
            None => self.drive.xattr_names(ino),
            Some(Ok((part, node))) => part.xattr_names(node),
            Some(Err(error)) => refuse(error),
        }
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        match self.parts.of(ino) {
            None => self.drive.seek(ino, offset, what),
            Some(Ok((part, node))) => part.seek(node, offset, what),
            Some(Err(error)) => refuse(error),
        }
    }

    fn heard(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.totals().bytes_read)
    }

    fn unanswered(&self, ino: Ino) {
        match self.parts.of(ino) {
            None => self.drive.unanswered(ino),
            Some(Ok((part, _))) => part.note(UNANSWERED.to_owned()),
            Some(Err(_)) => {}
        }
    }
}
