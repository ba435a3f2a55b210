//! Second copies of config, password slots and records: what little a repository cannot be opened without.
//!
//! A copy is written after the first, has the same bytes, and is asked for only when the first is missing or damaged: on
//! the good path nobody reads or lists copies. A copy that cannot be written is no failure; `repair` makes it up.

use crate::repo::Error;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use bytes::Bytes;

/// Where second copies are.
pub const COPIES_FOLDER: &str = "copies";

/// Name of the second copy of an object.
pub fn copy_name(name: &str) -> String {
    format!("{COPIES_FOLDER}/{name}")
}

/// Stores the second copy of an object whose first is stored.
pub(super) async fn put(store: &AnyStore, name: &str, bytes: Bytes) {
    if let Err(error) = store.put_new(&copy_name(name), bytes).await {
        tracing::warn!(object = name, error = %crate::monitor::chain(&error), "No second copy is stored; 'repair' makes it up");
    }
}

/// The second copy, if the first cannot be had for this reason and there is one.
pub(super) async fn get(store: &AnyStore, name: &str, why: &Error) -> Option<Bytes> {
    if !may_help(why) {
        return None;
    }
    store.get(&copy_name(name)).await.ok()
}

/// True for an error about which a second copy may help: damage, not absence of the store.
pub(super) fn may_help(why: &Error) -> bool {
    match why.inner() {
        Error::Store(error) => !matches!(
            error.kind,
            ErrorKind::Unreachable | ErrorKind::Offline | ErrorKind::Denied | ErrorKind::BadLocation
        ),
        // What a newer program wrote is not damaged.
        Error::Object { source, .. } => !matches!(source, crate::format::FormatError::Newer { .. }),
        _ => false,
    }
}
