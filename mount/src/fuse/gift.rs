//! Small files are handed to the kernel with the permission to open them: that saves the request to read them.
//!
//! Only with the first opening of a file, and before that is answered: nobody can be reading it then. A page that is being read is locked until the
//! answer comes, and whoever wants to store it waits; so with a later opening all threads that could answer might come to wait. Of threads that store
//! at the same time, the one that began last meets no reader: nobody was left to answer a second opening of its file.

use bytes::Bytes;
use fuser::INodeNo;
use fuser::Notifier;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

/// Longer files are worth a request of their own.
pub(crate) const SMALL_BYTES_MAX: u64 = 32 << 10;
/// Openings that are remembered; after so many files nothing is handed out any more.
const OPENED_MAX: usize = 1 << 20;

/// Hands out files.
#[derive(Debug, Default)]
pub(crate) struct Gifts {
    notifier: OnceLock<Notifier>,
    /// What was opened so far; `None` once that is too much to remember.
    opened: Mutex<Option<HashSet<u64>>>,
}

impl Gifts {
    /// From now on there is a kernel to hand them to.
    pub(crate) fn to(&self, notifier: Notifier) {
        *self.opened() = Some(HashSet::new());
        let _is_set = self.notifier.set(notifier);
    }

    /// True if the file is opened for the first time. To be asked with **every** opening, before anything is said to it:
    /// one that is allowed or refused later counts too.
    pub(crate) fn is_first(&self, ino: u64) -> bool {
        let mut opened = self.opened();
        if opened.as_ref().is_some_and(|opened| opened.len() >= OPENED_MAX) {
            *opened = None;
        }
        opened.as_mut().is_some_and(|opened| opened.insert(ino))
    }

    /// Hands the whole content of a file to the kernel, with its first opening.
    pub(crate) fn hand_over(&self, ino: u64, content: &Bytes) {
        if let Some(notifier) = self.notifier.get()
            && let Err(error) = notifier.store(INodeNo(ino), 0, content)
        {
            // It will be read instead.
            tracing::debug!(%error, "Content not taken");
        }
    }

    fn opened(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
