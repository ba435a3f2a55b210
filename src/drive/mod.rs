//! Snapshots as drives: [`crate::browse`] behind the seam of the mount crate.
//!
//! What is in memory is answered at once by the thread that asks; everything else becomes a task. A node's number on
//! the drive is its rank in the tree, so there is no table of inodes; only names of hard-linked files that were seen
//! are remembered, because they share one number.

mod attr;
mod faults;
mod image;
mod part;
mod parts;
mod previews;
mod process;
mod reading;
mod repository;
mod shown;
mod snapshot;
mod watch;
mod with_parts;

pub use faults::Fault;
pub use faults::Faults;
pub use image::image_drive;
pub use part::PartAt;
pub use part::part_drive;
pub use previews::Previews;
pub use process::memory;
pub use repository::repository_drive;
pub use snapshot::snapshot_drive;
pub use watch::Reader;
pub use watch::Seen;
pub use watch::Watch;

use crate::store::Counted;
use bygone_mount::Answer;
use bygone_mount::DriveError;
use std::sync::Arc;

/// How a drive shows what it has.
#[derive(Debug, Clone)]
pub struct DriveOptions {
    /// Show everything as owned by this user and group, who may read all of it; `None`: as it was backed up.
    pub owner: Option<(u32, u32)>,
    /// Name for file managers.
    pub name: String,
    /// For the names of snapshots.
    pub time_zone: jiff::tz::TimeZone,
    /// Judges and counts who reads.
    pub watch: Arc<Watch>,
    /// Opens encrypted partitions of disk images.
    pub passphrase: Vec<u8>,
    /// Tells whether the storage answers: while it does, requests may wait.
    pub store: Option<Arc<Counted>>,
}

impl Default for DriveOptions {
    fn default() -> DriveOptions {
        DriveOptions {
            owner: None,
            name: "Backup".to_owned(),
            time_zone: jiff::tz::TimeZone::UTC,
            watch: Arc::default(),
            passphrase: Vec::new(),
            store: None,
        }
    }
}

/// Why a request failed that took too long.
const UNANSWERED: &str = "not answered before the deadline";

/// An error known now.
fn refuse<T>(error: DriveError) -> Answer<T> {
    Answer::Now(Err(error))
}

/// What file managers read to name a drive.
fn volume_info(name: &str) -> Vec<u8> {
    let line: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("[Volume Info]\nName={line}\nIcon=drive-harddisk\n").into_bytes()
}

/// The file it stands in: not listed, found by name at the root if the snapshot has none of its own.
const VOLUME_INFO: &[u8] = b".xdg-volume-info";
