//! Several files as one: a disk that is spread over the container and its neighbours.

use crate::disk::BlockSource;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::source::beyond_end;

/// A further file of a virtual disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name, beside the container.
    pub name: String,
    /// Where it begins in [`super::Container::below`].
    pub start: u64,
}

/// Files one after the other.
#[derive(Default)]
pub(super) struct Joined {
    files: Vec<(u64, Source)>,
    len: u64,
}

impl Joined {
    /// Adds a file and says where it begins; `None` if all together would be too long.
    pub(super) fn push(&mut self, file: Source) -> Option<u64> {
        let start = self.len;
        self.len = start.checked_add(file.len())?;
        self.files.push((start, file));
        Some(start)
    }
}

impl BlockSource for Joined {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        end.ok_or_else(|| beyond_end(offset))?;
        let mut at = offset;
        let mut rest = buf;
        // The last file that begins at or before the byte; empty files are behind it.
        let mut index = self.files.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        while !rest.is_empty() {
            let (start, file) = self.files.get(index).ok_or_else(|| beyond_end(at))?;
            let within = at - start;
            let len = file.len().saturating_sub(within).min(rest.len() as u64);
            let (part, later) = rest.split_at_mut(len as usize);
            file.read_at(within, part)?;
            rest = later;
            at += len;
            index += 1;
        }
        Ok(())
    }
}
