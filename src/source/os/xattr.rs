//! Linux: extended attributes of a node of any kind, through a mere reference to it, so without opening it; and of a file that is open.

use crate::format::node::XATTRS_BYTES_MAX;
use crate::meta::Xattr;
use crate::source::os::Handle;
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

/// First guess at a length; one call suffices for nearly every node.
const GUESS_BYTES: usize = 1024;
/// The kernel's own limit of a list and of a value.
const BYTES_MAX: usize = 64 * 1024;

/// All attributes that may be read, sorted by name. `path` serves where `/proc` is not mounted.
///
/// The kernel gives no attributes by reference, but by the name `/proc/self/fd/N`, which leads to the
/// referenced node itself, be it a symbolic link.
pub(in crate::source) fn xattrs(node: &Handle, path: &[u8]) -> io::Result<Vec<Xattr>> {
    let by_reference = CString::new(format!("/proc/self/fd/{}", node.as_raw_fd()))?;
    match collect(
        |buffer| rustix::fs::listxattr(&by_reference, buffer),
        |name, buffer| rustix::fs::getxattr(&by_reference, name, buffer),
    ) {
        Err(Errno::NOENT | Errno::NOTDIR) => {}
        other => return Ok(other?),
    }
    let path = CString::new([b"/", path].concat())?;
    Ok(collect(
        |buffer| rustix::fs::llistxattr(&path, buffer),
        |name, buffer| rustix::fs::lgetxattr(&path, name, buffer),
    )?)
}

/// The same of a file that is open for reading.
pub(in crate::source) fn file_xattrs(file: &Handle) -> io::Result<Vec<Xattr>> {
    Ok(collect(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )?)
}

type Call<T> = rustix::io::Result<T>;

fn collect(list: impl Fn(&mut [u8]) -> Call<usize>, get: impl Fn(&[u8], &mut [u8]) -> Call<usize>) -> Call<Vec<Xattr>> {
    let names = match grow(&list) {
        Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    let mut bytes = 0;
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        match grow(|buffer| get(name, buffer)) {
            Ok(value) => {
                bytes += name.len() + value.len();
                if bytes > XATTRS_BYTES_MAX {
                    return Err(Errno::TOOBIG);
                }
                found.push(Xattr { name: name.to_vec(), value });
            }
            // Gone meanwhile, or listed but not for our eyes.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    // A file system may list a name twice; a snapshot cannot.
    found.dedup_by(|later, first| later.name == first.name);
    Ok(found)
}

fn grow(call: impl Fn(&mut [u8]) -> Call<usize>) -> Call<Vec<u8>> {
    let mut small = [0; GUESS_BYTES];
    match call(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut large = vec![0; BYTES_MAX];
    let len = call(&mut large)?;
    large.truncate(len);
    Ok(large)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn copy(bytes: &[u8], buffer: &mut [u8]) -> Call<usize> {
        buffer.get_mut(..bytes.len()).ok_or(Errno::RANGE)?.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    #[test]
    fn a_file_system_that_answers_nonsense_cannot_spoil_a_snapshot() {
        let found = collect(|buffer| copy(b"user.b\0\0user.a\0user.b\0", buffer), copy);
        let names: Vec<_> = found.unwrap().into_iter().map(|xattr| xattr.name).collect();
        assert_eq!(names, [b"user.a", b"user.b"]);
        let list: Vec<u8> = (0..2000).flat_map(|i| format!("user.{i}\0").into_bytes()).collect();
        let large = collect(|buffer| copy(&list, buffer), |_, buffer| copy(&vec![1; 60_000], buffer));
        assert_eq!(large.err(), Some(Errno::TOOBIG));
    }
}
