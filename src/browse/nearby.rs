//! Files that stand in one folder are mostly read one after the other: once a second one is, all that stand behind it are looked up
//! along with it. Nobody pays for one file.

use crate::disk::fs::NodeId;

/// Files of a folder that are remembered.
const FILES_MAX: usize = 1 << 16;
/// Files looked up at once.
const BATCH: usize = 64;

/// The files of the folder that was listed last, by number: in that order most were written.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    folder: Option<NodeId>,
    files: Vec<NodeId>,
    is_sorted: bool,
    /// One of them was read.
    is_read: bool,
}

impl Nearby {
    /// Takes note of files that were listed; `is_first` if the listing begins with them.
    pub(super) fn note(&mut self, folder: NodeId, is_first: bool, files: impl Iterator<Item = NodeId>) {
        if is_first || self.folder != Some(folder) {
            *self = Nearby { folder: Some(folder), ..Nearby::default() };
        }
        let room = FILES_MAX - self.files.len();
        self.files.extend(files.take(room));
        self.is_sorted = false;
    }

    /// What to look up along with this file, itself first: of those behind it, the ones that are not known.
    pub(super) fn batch(&mut self, file: NodeId, is_known: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.files.sort_unstable();
        }
        let mut batch = vec![file];
        if let Ok(at) = self.files.binary_search(&file) {
            let behind = self.files[at + 1..].iter().copied().take(if self.is_read { BATCH - 1 } else { 0 });
            batch.extend(behind.filter(|file| !is_known(*file)));
            self.is_read = true;
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_file_of_a_folder_brings_those_behind_it() {
        let mut nearby = Nearby::default();
        nearby.note(1, true, [30, 10, 20].into_iter());
        nearby.note(1, false, [40].into_iter());
        assert_eq!(nearby.batch(10, |_| false), [10]);
        assert_eq!(nearby.batch(20, |file| file == 30), [20, 40]);
        // Of another folder nothing is known.
        assert_eq!(nearby.batch(25, |_| false), [25]);
        nearby.note(2, false, 100..1000);
        assert_eq!(nearby.batch(100, |_| false), [100]);
        assert_eq!(nearby.batch(101, |_| false).len(), BATCH);
        assert_eq!(nearby.batch(10, |_| false), [10]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut nearby = Nearby::default();
        nearby.note(1, true, 0..1 << 20);
        nearby.note(1, false, 1 << 20..1 << 21);
        assert_eq!(nearby.files.len(), FILES_MAX);
        nearby.note(1, true, 0..1);
        assert_eq!(nearby.files, [0]);
    }
}
