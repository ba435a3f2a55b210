//! Space held back on the disk of a folder: a file that no listing shows. On a full disk nothing can be written, not even
//! the record of a `forget` or a `prune`, and so nothing would ever be freed. Whoever is going to free space gives the reserve up for
//! its records.
//!
//! Made by the first write of a process, where there is plenty of room. Nothing depends on it: if it cannot be made, there is none.

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
const RESERVE_BYTES: usize = 2 << 20;
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

    /// Gives the reserve up for an object that found no room; false if there is none, or not for this.
    pub(super) fn give(&self, name: &str) -> bool {
        if !self.gives || !name.starts_with("log/") {
            return false;
        }
        // It would be made again out of what was just freed.
        self.is_settled.store(true, Ordering::Relaxed);
        fs::remove_file(self.root.join(NAME)).is_ok()
    }

    /// Makes the reserve if there is none and there is room. `aside`: a folder for what is not whole yet.
    pub(super) fn hold(&self, aside: &Path) {
        if self.is_settled.swap(true, Ordering::Relaxed) || self.root.join(NAME).exists() {
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
        let mut noise = vec![0; RESERVE_BYTES];
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
