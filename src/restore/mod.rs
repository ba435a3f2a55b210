//! Putting files back: nodes of a snapshot into a folder, with all they had.

mod options;

pub use options::Error;
pub use options::Options;
pub use options::Overwrite;
pub use options::Summary;

use crate::browse::Browse;
use crate::monitor::Monitor;
use std::path::Path;

/// Restores what is chosen by `options` below `base` of the snapshot into the folder `to` (made if missing).
pub async fn restore(
    browse: &Browse,
    base: &[u8],
    to: &Path,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let _ = (browse, base, to, options, monitor);
    Err(Error::Cancelled)
}
