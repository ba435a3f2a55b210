//! What a drive could not give, and why: how often, and the newest. The log has all of it.

use crate::id::SnapshotId;
use crate::monitor::chain;
use crate::repo::Error;
use crate::store::ErrorKind;
use bygone_mount::DriveError;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

/// Why something could not be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The snapshot it is in.
    pub snapshot: SnapshotId,
    /// Its path there; in a disk image the partition. Empty if even that is not known.
    pub path: Vec<u8>,
    /// What went wrong, with its causes.
    pub reason: String,
    /// When.
    pub when: Instant,
}

/// The faults of a drive.
#[derive(Debug, Default)]
pub struct Faults(Mutex<(u64, Option<Fault>)>);

impl Faults {
    /// How many there were, and the newest.
    #[must_use]
    pub fn seen(&self) -> (u64, Option<Fault>) {
        self.lock().clone()
    }

    /// Takes note of a failure; what the system is told of it.
    pub(super) fn failed(&self, snapshot: SnapshotId, path: impl FnOnce() -> Vec<u8>, error: &Error) -> DriveError {
        if matches!(error.inner(), Error::Store(error) if error.kind == ErrorKind::Offline) {
            return DriveError::Offline;
        }
        self.note(snapshot, path(), chain(error));
        DriveError::Io
    }

    /// Takes note of a fault.
    pub(super) fn note(&self, snapshot: SnapshotId, path: Vec<u8>, reason: String) {
        tracing::warn!(error = %reason, "A request to the drive failed");
        let mut faults = self.lock();
        faults.0 += 1;
        faults.1 = Some(Fault { snapshot, path, reason, when: Instant::now() });
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Option<Fault>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
