//! Looking back over many snapshots: how one path changed, and where things are that were once there.
//!
//! Snapshots belong together if they were taken on one host of the same sources: only then does a missing file mean
//! that it was deleted.

mod catalogue;
mod find;
mod pattern;
mod run;
mod versions;

pub use catalogue::Catalogue;
pub use catalogue::CatalogueError;
pub use find::Hit;
pub use find::Search;
pub use find::find;
pub use pattern::Patterns;
pub use run::Info;
pub use run::Type;
pub use versions::Numbers;
pub use versions::Version;
pub use versions::versions;

use crate::format::record::Snapshot;
use crate::path;

/// True if a path can be in a snapshot at all: it lies below one of the sources, or holds one.
pub fn covers(snapshot: &Snapshot, full_path: &[u8]) -> bool {
    snapshot.sources.iter().any(|source| path::is_below(full_path, source) || path::is_below(source, full_path))
}
