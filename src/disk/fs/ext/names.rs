//! Where the names of one folder without a usable index are, so that many look-ups read it once.

use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::folder::Stored;

/// Entries that are kept: 4 MiB.
const ENTRIES_MAX: usize = 512 << 10;

/// Sums of names and the entries they belong to, of the folder that was last searched.
#[derive(Default)]
pub(super) struct Names {
    folder: u32,
    /// Sum of the name as stored, and where its entry ends in units of four bytes; sorted.
    entries: Vec<(u32, u32)>,
    is_whole: bool,
}

impl Names {
    /// Begins with another folder.
    pub(super) fn start(&mut self, folder: u32) {
        self.folder = folder;
        self.entries.clear();
        self.is_whole = true;
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, shown: &[u8], stored: &Stored) {
        match u32::try_from(stored.end / 4) {
            Ok(end) if self.entries.len() < ENTRIES_MAX => self.entries.push((crc32c_running(0, shown), end)),
            _ => self.is_whole = false,
        }
    }

    /// All entries were added.
    pub(super) fn finish(&mut self) {
        self.entries.sort_unstable();
        if !self.is_whole {
            *self = Names::default();
        }
    }

    /// Ends of the entries that may have this name, in bytes of the folder; `None` if the folder is not known.
    pub(super) fn find(&self, folder: u32, shown: &[u8]) -> Option<impl Iterator<Item = u64>> {
        let sum = crc32c_running(0, shown);
        let from = self.entries.partition_point(|entry| entry.0 < sum);
        let same = self.entries.get(from..).unwrap_or_default().iter().take_while(move |entry| entry.0 == sum);
        (folder == self.folder && folder != 0).then_some(same.map(|entry| u64::from(entry.1) * 4))
    }
}
