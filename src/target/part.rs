//! Things under construction: they get a name of their own beside the final one and take its place when complete.
//! Always: a part that is not placed is removed. Never: an unfinished thing stands under a name of the snapshot.

use crate::meta::Kind;
use crate::path::join;
use crate::target::Error;
use crate::target::Folder;
use crate::target::Shared;
use crate::target::os;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PREFIX: &[u8] = b".bygone-";
const SUFFIX: &[u8] = b".part";
const DIGITS: usize = 24;
/// How often another name is tried, or a place cleared again that someone else fills.
const TRIES_MAX: usize = 16;

/// True for the names of files that were being restored: `.bygone-<24 hexadecimal digits>.part`.
pub fn is_part_name(name: &[u8]) -> bool {
    let digits = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    digits.is_some_and(|d| d.len() == DIGITS && d.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Something under construction.
#[derive(Debug)]
pub(super) struct Part {
    folder: Arc<Folder>,
    name: Vec<u8>,
    placed: bool,
}

impl Part {
    /// Finds a free name and lets `create` make something there.
    pub(super) fn create<T>(
        shared: &Shared,
        folder: &Arc<Folder>,
        mut create: impl FnMut(&[u8]) -> io::Result<T>,
    ) -> io::Result<(Part, T)> {
        for _ in 0..TRIES_MAX {
            let name = shared.part_name();
            match create(&name) {
                Ok(made) => return Ok((Part { folder: Arc::clone(folder), name, placed: false }, made)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The name it has now.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Gives it the final name. Replaces files, links and empty folders.
    pub(super) fn place(mut self, name: &[u8]) -> Result<(), Error> {
        let at = &self.folder.handle;
        let path = join(&self.folder.path, name);
        for _ in 0..TRIES_MAX {
            match os::rename(at, &self.name, name) {
                Ok(()) => {
                    self.placed = true;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => match os::remove_folder(at, name) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                        return Err(Error::FolderInTheWay { path });
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => return Err(Error::io("replace folder", &path)(error)),
                },
                Err(error) => return Err(Error::io("name", &path)(error)),
            }
        }
        Err(Error::Changed { path })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody is left to tell; the next restore removes it.
            let _ = os::unlink(&self.folder.handle, &self.name);
        }
    }
}

impl Shared {
    fn part_name(&self) -> Vec<u8> {
        let number = self.parts_count.fetch_add(1, Ordering::Relaxed);
        format!(".bygone-{:016x}{number:08x}.part", self.run).into_bytes()
    }

    fn is_own_part(&self, name: &[u8]) -> bool {
        name.starts_with(format!(".bygone-{:016x}", self.run).as_bytes())
    }
}

/// Removes the parts that a killed restore left in this folder: regular files nobody is writing. Returns how many.
pub(super) fn remove_leftovers(shared: &Shared, folder: &Folder) -> Result<u64, Error> {
    let at = &folder.handle;
    let mut removed_count = 0;
    let listed = os::list(at).map_err(Error::io("list", &folder.path))?;
    for name in listed.into_iter().map(|listed| listed.name) {
        if !is_part_name(&name) || shared.is_own_part(&name) || !is_abandoned(at, &name) {
            continue;
        }
        match os::unlink(at, &name) {
            Ok(()) => removed_count += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", &join(&folder.path, &name))(error)),
        }
    }
    Ok(removed_count)
}

fn is_abandoned(at: &os::Handle, name: &[u8]) -> bool {
    if !os::stat(at, name).is_ok_and(|found| found.kind == Kind::File) {
        return false;
    }
    match os::open_file(at, name) {
        Ok(file) => {
            os::stat_handle(&file).is_ok_and(|found| found.kind == Kind::File) && os::lock(&file).unwrap_or(true)
        }
        // It got its final permissions just before the end.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::is_part_name;

    #[test]
    fn only_the_exact_pattern_is_ours() {
        assert!(is_part_name(b".bygone-0123456789abcdef01234567.part"));
        for other in [
            &b".bygone-.part"[..],
            b".bygone-0123456789abcdef0123456.part",
            b".bygone-0123456789abcdef012345678.part",
            b".bygone-0123456789ABCDEF01234567.part",
            b".bygone-0123456789abcdef01234567.parts",
            b"bygone-0123456789abcdef01234567.part",
            b".bygone-notes.part",
        ] {
            assert!(!is_part_name(other), "{}", String::from_utf8_lossy(other));
        }
    }
}
