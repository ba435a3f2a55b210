//! The mount point: where it may be, and making it.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Refuses a mount point inside the repository: the drive would need itself.
pub(super) fn check_outside(point: &Path, repository: &Path) -> Result<()> {
    if is_inside(point, repository) { Err(Fault::MountInRepository { path: point.to_owned() }.into()) } else { Ok(()) }
}

/// True if a path leads into a folder, or will once it is made.
pub(super) fn is_inside(path: &Path, folder: &Path) -> bool {
    matches!((settled(path), settled(folder)), (Ok(path), Ok(folder)) if path.starts_with(&folder))
}

/// The path without links, as far as it exists.
fn settled(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for ancestor in path.ancestors() {
        // What cannot be looked at, such as a drive whose server is gone, is taken by its name.
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
        }
    }
    Ok(path)
}

/// A folder we made: taken away again when dropped, if it is empty.
#[derive(Debug)]
pub(super) struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        // Somebody may have put something there, or taken it away.
        let _not_ours_any_more = fs::remove_dir(&self.0);
    }
}

/// Makes a mount point that is missing; its parents only if asked.
pub(super) fn make(point: &Path, with_parents: bool) -> Result<Option<Made>> {
    let is_missing = fs::symlink_metadata(point).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if !is_missing {
        return Ok(None);
    }
    // Absolute: by the time it is taken away the current folder is another.
    let failed = |source| Fault::MakeFolder { path: point.to_owned(), source };
    let at = std::path::absolute(point).map_err(failed)?;
    let made = if with_parents { fs::create_dir_all(&at) } else { fs::create_dir(&at) };
    made.map_err(failed)?;
    Ok(Some(Made(at)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_found_through_links_and_missing_folders() {
        let scratch = tempfile::tempdir().unwrap();
        let (repository, link) = (scratch.path().join("repo"), scratch.path().join("link"));
        fs::create_dir(&repository).unwrap();
        std::os::unix::fs::symlink(&repository, &link).unwrap();
        for inside in [repository.clone(), repository.join("a/b"), link.join("a"), repository.join("x/../y")] {
            assert!(check_outside(&inside, &repository).is_err(), "{inside:?}");
            assert!(check_outside(&inside, &link).is_err(), "{inside:?}");
        }
        for outside in [scratch.path().join("repository"), scratch.path().to_owned(), "relative".into()] {
            assert!(check_outside(&outside, &repository).is_ok(), "{outside:?}");
        }
    }

    #[test]
    fn a_folder_that_was_made_goes_again_unless_it_is_used() {
        let scratch = tempfile::tempdir().unwrap();
        let point = scratch.path().join("a");
        let made = make(&point, false).unwrap();
        assert!(point.is_dir());
        assert!(make(&point, false).unwrap().is_none());
        drop(made);
        assert!(!point.exists());
        let made = make(&point, false).unwrap();
        fs::write(point.join("x"), "x").unwrap();
        drop(made);
        assert!(point.is_dir());
        let deep = scratch.path().join("b/c/d");
        assert!(make(&deep, false).is_err());
        drop(make(&deep, true).unwrap());
        assert!(!deep.exists() && deep.parent().unwrap().is_dir());
    }
}
