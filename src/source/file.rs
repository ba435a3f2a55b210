//! A file of the source, open for reading: its bytes, its holes, and whether it changed meanwhile.

use crate::format::extents::FILE_BYTES_MAX;
use crate::meta::Xattr;
use crate::source::Error;
use crate::source::os;
use crate::source::os::Handle;
use crate::source::stat::Stat;
use std::io;
use std::io::Read;

/// An open regular file. Dropping it closes it. As [`Read`] it gives the bytes in order.
#[derive(Debug)]
pub struct SourceFile {
    handle: Handle,
    opened: Stat,
    position: u64,
}

/// A run of a file: bytes to be read, or a hole that reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First byte in the file.
    pub offset: u64,
    /// How many bytes; never 0.
    pub len: u64,
    /// True for a hole.
    pub is_hole: bool,
}

impl SourceFile {
    /// Takes the handle if it is the file that was seen.
    pub(super) fn new(handle: Handle, seen: &Stat) -> Result<SourceFile, Error> {
        let opened = os::stat_handle(&handle).map_err(|source| Error::failed("look at it", source))?;
        if !opened.is_same_node(seen) {
            return Err(Error::Changed);
        }
        if opened.size > FILE_BYTES_MAX {
            return Err(Error::Failed { verb: "read it", source: io::ErrorKind::FileTooLarge.into() });
        }
        Ok(SourceFile { handle, opened, position: 0 })
    }

    /// Its state when it was opened.
    pub fn opened(&self) -> &Stat {
        &self.opened
    }

    /// Lets the system begin to read it, before somebody waits for it.
    pub fn will_need(&self) {
        os::will_need(&self.handle, self.opened.size);
    }

    /// Its state now. After reading, [`Stat::is_unchanged`] against the state the backup keeps tells whether the
    /// bytes belong together.
    pub fn stat(&self) -> Result<Stat, Error> {
        os::stat_handle(&self.handle).map_err(|source| Error::failed("look at it", source))
    }

    /// True if nobody has written to it, moved or replaced it since.
    pub fn is_as_opened(&self) -> bool {
        self.stat().is_ok_and(|now| self.opened.is_unchanged(&now))
    }

    /// Its extended attributes, as far as they may be read.
    pub(super) fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        os::file_xattrs(&self.handle)
    }

    /// Fills the buffer from an offset; gives fewer bytes only at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        os::read_at(&self.handle, buffer, offset).map_err(|source| Error::failed("read it", source))
    }

    /// Data and holes in order, up to the size it had when it was opened. The system is only asked for holes if
    /// the file takes less space than it has bytes.
    pub fn runs(&self) -> Runs<'_> {
        Runs { file: self, at: 0, asks: self.opened.allocated < self.opened.size }
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = os::read_at(&self.handle, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Iterator of [`SourceFile::runs`]. Where the system cannot tell holes, the rest is one run of data.
#[derive(Debug)]
pub struct Runs<'a> {
    file: &'a SourceFile,
    at: u64,
    asks: bool,
}

impl Runs<'_> {
    /// Where the run at `self.at` ends, and whether it is a hole.
    fn ask(&self, size: u64) -> io::Result<(u64, bool)> {
        match os::next_data(&self.file.handle, self.at)? {
            None => Ok((size, true)),
            Some(data) if data > self.at => Ok((data, true)),
            Some(_) => Ok((os::next_hole(&self.file.handle, self.at)?, false)),
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let size = self.file.opened.size;
        if self.at >= size {
            return None;
        }
        let all = (size, false);
        let (end, is_hole) = if self.asks { self.ask(size).unwrap_or(all) } else { all };
        let (end, is_hole) = if end > self.at { (end.min(size), is_hole) } else { all };
        let run = Run { offset: self.at, len: end - self.at, is_hole };
        self.at = end;
        Some(run)
    }
}
