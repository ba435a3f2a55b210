//! Space held back on the disk of a folder: a file that no listing shows. On a full disk nothing can be written, not even
//! the record of a `forget` or a `prune`, and so nothing would ever be freed. Whoever is going to free space gives the reserve up for
//! its records, bit by bit: what a `forget` leaves is there for the `prune` after it, and no backup takes it in between.
//!
//! Made whole by the first write of a process, where there is plenty of room. Nothing depends on it: if it cannot be made, there is none.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

const NAME: &str = ".reserve";
/// The records of a prune that removes twenty thousand packs, with their second copies.
const RESERVE_BYTES: u64 = 2 << 20;
/// Given with each object: its second copy, its folder, the blocks that each of them takes.
const SPARE_BYTES: u64 = 64 << 10;
/// With less room than this, backups need it more.
const ROOM_BYTES_MIN: u64 = 64 << 20;

/// The reserve of a folder.
#[derive(Debug)]
pub(super) struct Reserve {
    root: PathBuf,
    /// True for who is going to free space.
    gives: bool,
    /// It was looked after: once is enough.
    is_settled: AtomicBool,
}

impl Reserve {
    pub(super) fn new(root: &Path, gives: bool) -> Reserve {
        Reserve { root: root.to_owned(), gives, is_settled: AtomicBool::new(false) }
    }

    /// Gives some of the reserve up for an object of this length that found no room; false if nothing is left, or not for this.
    pub(super) fn give(&self, name: &str, len: u64) -> bool {
        if !self.gives || !name.starts_with("log/") {
            return false;
        }
        // It would be made again out of what was just freed.
        self.is_settled.store(true, Ordering::Relaxed);
        let path = self.root.join(NAME);
        match self.len().saturating_sub(2 * len + SPARE_BYTES) {
            0 => fs::remove_file(path).is_ok(),
            left => File::options().write(true).open(path).and_then(|file| file.set_len(left)).is_ok(),
        }
    }

    /// What is left of it.
    fn len(&self) -> u64 {
        fs::metadata(self.root.join(NAME)).map_or(0, |metadata| metadata.len())
    }

    /// Makes the reserve, if it is not whole and there is room. `aside`: a folder for what is not whole yet.
    pub(super) fn hold(&self, aside: &Path) {
        if self.is_settled.swap(true, Ordering::Relaxed) || self.len() >= RESERVE_BYTES {
            return;
        }
        if room(&self.root).is_none_or(|free| free < ROOM_BYTES_MIN) {
            return;
        }
        let staged = aside.join("reserve");
        if let Err(error) = self.make(&staged) {
            tracing::debug!(%error, "No space is held back for times when the disk is full");
            // Best effort: what stays behind is swept a day later.
            let _ = fs::remove_file(&staged);
        }
    }

    fn make(&self, staged: &Path) -> io::Result<()> {
        // Noise: a file system that packs its files gives no less for it.
        let mut noise = vec![0; RESERVE_BYTES as usize];
        getrandom::fill(&mut noise).map_err(io::Error::other)?;
        let mut file = File::create(staged)?;
        file.write_all(&noise)?;
        file.sync_all()?;
        fs::rename(staged, self.root.join(NAME))
    }
}

/// Bytes that are free for this user.
#[cfg(unix)]
fn room(root: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(root).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn room(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_bit_by_bit_to_records_alone() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = |gives: bool| Reserve::new(folder.path(), gives);
        reserve(false).hold(folder.path());
        let prune = reserve(true);
        assert_eq!(prune.len(), RESERVE_BYTES);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!reserve(false).give("log/x/1", 1) && !prune.give("packs/x", 1) && !prune.give("copies/log/x/1", 1));
        assert_eq!(prune.len(), RESERVE_BYTES);
        assert!(prune.give("log/x/1", 4096));
        assert_eq!(prune.len(), RESERVE_BYTES - (64 << 10) - 8192);
        // Who gives does not take it back; the next one makes it whole.
        prune.hold(folder.path());
        assert!(prune.len() < RESERVE_BYTES);
        reserve(true).hold(folder.path());
        assert_eq!(prune.len(), RESERVE_BYTES);
        // Down to nothing, and no further.
        let times = (0..100).take_while(|_| prune.give("log/x/1", 4096)).count();
        assert_eq!((times, prune.len()), (29, 0));
        assert!(!folder.path().join(NAME).exists());
    }
}
