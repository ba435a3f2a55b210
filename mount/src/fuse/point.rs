//! May a drive be shown at this folder? Everything that can be told before mounting is told here, in words.
//!
//! The table of mounts is asked before the folder itself is touched; a dead drive of ours is cleared away.

use crate::fuse::error::MountError;
use crate::fuse::error::UnmountError;
use crate::fuse::table;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::path::PathBuf;

const DEVICE: &str = "/dev/fuse";
const SETTINGS: &str = "/etc/fuse.conf";
/// Dead drives stacked on one folder that are cleared away at most.
const DEAD_MAX: usize = 16;

/// Checks everything and returns the mount point as the system spells it, and the FUSE device.
pub(crate) fn prepare(at: &Path, allow_other: bool) -> Result<(PathBuf, File), MountError> {
    let device = device(Path::new(DEVICE))?;
    permissions(allow_other)?;
    let failed = |source| MountError::Io { path: at.to_owned(), source };
    let point = table::resolve(at).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::Missing { path: at.to_owned() },
        io::ErrorKind::NotADirectory => MountError::NotAFolder { path: at.to_owned() },
        _ => failed(error),
    })?;
    clear(&point)?;
    if !fs::metadata(&point).map_err(failed)?.is_dir() {
        return Err(MountError::NotAFolder { path: point });
    }
    if fs::read_dir(&point).map_err(failed)?.next().is_some() {
        return Err(MountError::NotEmpty { path: point });
    }
    Ok((point, device))
}

fn device(path: &Path) -> Result<File, MountError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|source| MountError::NoFuse { source })
}

fn permissions(allow_other: bool) -> Result<(), MountError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if table::helper().is_none() {
        return Err(MountError::NoHelper);
    }
    // Unreadable settings are left to the helper to judge.
    let settings = fs::read_to_string(SETTINGS).unwrap_or_else(|_| "user_allow_other".to_owned());
    if allow_other && !settings.lines().any(|line| line.trim() == "user_allow_other") {
        return Err(MountError::AllowOtherRefused);
    }
    Ok(())
}

/// Takes away dead drives of ours; refuses what is alive or not ours to touch.
fn clear(point: &Path) -> Result<(), MountError> {
    let failed = |source| MountError::Io { path: point.to_owned(), source };
    for _ in 0..DEAD_MAX {
        let Some(row) = table::top(point).map_err(failed)?.filter(table::Row::is_fuse) else { return Ok(()) };
        match (row.is_ours(), table::is_dead(point)) {
            (true, true) => {
                tracing::info!(mount_point = %point.display(), "Replacing a dead drive");
                table::detach(point, true).map_err(|error| match error {
                    UnmountError::NoHelper => MountError::NoHelper,
                    UnmountError::Io { source, .. } => failed(source),
                    other => failed(io::Error::other(other)),
                })?;
            }
            (true, false) => {
                return Err(MountError::AlreadyMounted { path: point.to_owned(), source_name: row.source });
            }
            (false, true) => return Err(MountError::DeadMount { path: point.to_owned() }),
            // An empty live file system of another kind may be mounted over, like any folder.
            (false, false) => return Ok(()),
        }
    }
    Err(failed(io::Error::other("too many dead drives on one folder")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_told() {
        let missing = device(Path::new("/dev/no-such-device"));
        assert!(matches!(missing, Err(MountError::NoFuse { source }) if source.kind() == io::ErrorKind::NotFound));
    }
}
