//! Which snapshots are of interest.

use crate::browse::Filter;
use crate::browse::clean_path;
use crate::cli::error::Result;
use crate::cli::error::usage;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

/// Which snapshots are of interest; for `latest`, which ones it is the newest of.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Choice of snapshots")]
pub(super) struct FilterArgs {
    /// Only snapshots of this host (repeatable: of one of them)
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// Only snapshots with this tag (repeatable: with all of them)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,

    /// Only snapshots that contain this folder or file; without a slash in front it is one of the current folder
    /// (repeatable: one of them)
    #[arg(long, value_name = "PATH")]
    path: Vec<OsString>,
}

/// A relative path from the current folder on, as a backup would name it: without links on the way, but for the last
/// name unless that is a folder.
fn from_here(path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_owned();
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = match path.file_name() {
        Some(name) if !path.is_dir() => std::fs::canonicalize(parent).map(|parent| parent.join(name)),
        _ => std::fs::canonicalize(path),
    };
    found.or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

impl FilterArgs {
    /// For the library.
    pub(super) fn filter(&self) -> Result<Filter> {
        let clean = |path: &OsString| {
            let fault = |_| usage(format!("'{}' cannot be a path in a snapshot", path.display()));
            clean_path(from_here(Path::new(path)).as_os_str().as_bytes()).map_err(fault)
        };
        let paths = self.path.iter().map(clean).collect::<Result<Vec<_>>>()?;
        Ok(Filter { hosts: self.host.clone(), tags: self.tag.clone(), paths })
    }

    /// True if nothing is left out.
    pub(super) fn is_empty(&self) -> bool {
        self.host.is_empty() && self.tag.is_empty() && self.path.is_empty()
    }
}
