//! Small files are handed to the kernel with the permission to open them: that saves the request to read them.
//!
//! Only with the first opening of a file, and before that is answered: nobody can be reading it then. A page that is being read is locked until the
//! answer comes, and whoever wants to store it waits; so with a later opening all threads that could answer might come to wait.

use bytes::Bytes;
use fuser::INodeNo;
use fuser::Notifier;
use std::collections::HashSet;
use std::sync::Mutex;
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
    opened: Mutex<HashSet<u64>>,
}

impl Gifts {
    /// From now on there is a kernel to hand them to.
    pub(crate) fn to(&self, notifier: Notifier) {
        let _is_set = self.notifier.set(notifier);
    }

    /// Hands a file that is being opened to the kernel, if it was never opened before and is at hand.
    pub(crate) fn hand_over(&self, ino: u64, content: impl FnOnce() -> Option<Bytes>) {
        let Some(notifier) = self.notifier.get() else { return };
        let is_first = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.len() < OPENED_MAX && opened.insert(ino)
        };
        if let Some(content) = is_first.then(content).flatten()
            && let Err(error) = notifier.store(INodeNo(ino), 0, &content)
        {
            // It will be read instead.
            tracing::debug!(%error, "Content not taken");
        }
    }
}
