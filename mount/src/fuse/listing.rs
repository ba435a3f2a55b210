//! Fills the buffer of one `readdir` or `readdirplus`.
//!
//! Positions the kernel sees: 0 the start, 1 after `.`, 2 after `..`, from then on the drive's own cursor + 2. So a
//! position stays good for as long as the drive is shown, and a listing can be taken up anywhere, by anyone.

use crate::drive::FileKind;
use crate::drive::Ino;
use crate::drive::Listing;
use crate::fuse::reply;
use fuser::Errno;
use fuser::FileAttr;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Positions taken by `.` and `..`.
const DOTS: u64 = 2;
/// What a first request asks the drive for: 32 KiB (the buffer of glibc) of entries with short names.
pub(crate) const ENTRIES_TYPICAL: usize = 200;
const ENTRIES_MIN: usize = 32;
const ENTRIES_MAX: usize = 4096;

/// A buffer for entries. The system does not tell its size, only when it is full.
pub(crate) trait Buffer: Send + 'static {
    /// Adds an entry; false if it does not fit.
    fn add(&mut self, name: &[u8], attr: &FileAttr, next: u64) -> bool;
    fn send(self);
    fn error(self, errno: Errno);
}

impl Buffer for ReplyDirectory {
    fn add(&mut self, name: &[u8], attr: &FileAttr, next: u64) -> bool {
        !ReplyDirectory::add(self, attr.ino, next, attr.kind, OsStr::from_bytes(name))
    }

    fn send(self) {
        self.ok();
    }

    fn error(self, errno: Errno) {
        ReplyDirectory::error(self, errno);
    }
}

impl Buffer for ReplyDirectoryPlus {
    fn add(&mut self, name: &[u8], attr: &FileAttr, next: u64) -> bool {
        let name = OsStr::from_bytes(name);
        !ReplyDirectoryPlus::add(self, attr.ino, next, name, &reply::FOR_EVER, attr, reply::GENERATION)
    }

    fn send(self) {
        self.ok();
    }

    fn error(self, errno: Errno) {
        ReplyDirectoryPlus::error(self, errno);
    }
}

/// One answer in the making.
pub(crate) struct Filling<B> {
    pub(crate) folder: Ino,
    position: u64,
    added: usize,
    full: bool,
    buffer: B,
}

impl<B: Buffer> Filling<B> {
    pub(crate) fn new(folder: Ino, position: u64, buffer: B) -> Filling<B> {
        Filling { folder, position, added: 0, full: false, buffer }
    }

    /// Where the drive's listing goes on.
    pub(crate) fn cursor(&self) -> u64 {
        self.position.saturating_sub(DOTS)
    }

    /// How many entries to ask for next; `fitting` is what the last full buffer held.
    pub(crate) fn wanted(&self, fitting: usize) -> usize {
        let wanted = if self.added == 0 { fitting } else { self.added };
        wanted.clamp(ENTRIES_MIN, ENTRIES_MAX)
    }

    /// Takes entries over; true if nothing more is needed.
    pub(crate) fn take(&mut self, listing: &Listing) -> bool {
        let dots = [(b".".as_slice(), self.folder), (b"..".as_slice(), listing.parent)];
        for (name, ino) in dots.into_iter().skip(self.position.min(DOTS) as usize) {
            if !self.add(name, &reply::bare_attr(ino, FileKind::Folder), self.position + 1) {
                return true;
            }
        }
        for entry in &listing.entries {
            if !self.add(&entry.name, &reply::file_attr(&entry.attr), entry.cursor.saturating_add(DOTS)) {
                return true;
            }
        }
        listing.end || listing.entries.is_empty()
    }

    fn add(&mut self, name: &[u8], attr: &FileAttr, next: u64) -> bool {
        if self.buffer.add(name, attr, next) {
            self.position = next;
            self.added += 1;
            return true;
        }
        self.full = true;
        false
    }

    /// Sends what there is; how many entries fitted, if the buffer became full.
    pub(crate) fn send(self) -> Option<usize> {
        self.buffer.send();
        self.full.then_some(self.added)
    }

    /// Sends what there is; the error only if there is nothing: it will come again when the listing goes on.
    pub(crate) fn fail(self, errno: Errno) {
        if self.added == 0 { self.buffer.error(errno) } else { self.buffer.send() }
    }
}
