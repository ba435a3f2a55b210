//! Paths inside a snapshot: bytes, `/` between components, no leading or trailing `/`; the root is empty.
//! They are compared component by component, which is the order of the page tree.

use std::cmp::Ordering;
use std::fmt;

/// Longest name of one node, in bytes (255 UTF-16 units of Windows need 765).
pub const NAME_BYTES_MAX: usize = 1024;
/// Longest path inside a snapshot, in bytes.
pub const PATH_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of folders.
pub const DEPTH_MAX: usize = 4096;

/// Why a name cannot stand in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No bytes at all.
    #[error("name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Contains `/` or NUL.
    #[error("name contains '/' or NUL")]
    BadByte,
    /// `.` or `..`.
    #[error("name is '.' or '..'")]
    Dots,
}

/// The one validator of names: everything that enters or leaves a snapshot passes it.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    match name {
        [] => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ if name.iter().any(|&b| b == b'/' || b == 0) => Err(NameError::BadByte),
        _ => Ok(()),
    }
}

/// Checks a whole path: each component a name, length and depth within their limits.
pub fn check_path(path: &[u8]) -> Result<(), NameError> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_BYTES_MAX || path.iter().filter(|&&b| b == b'/').count() >= DEPTH_MAX {
        return Err(NameError::TooLong);
    }
    path.split(|&b| b == b'/').try_for_each(check_name)
}

/// Compares two paths component by component: `a/b` < `a!b`, because `a` < `a!`.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(same), b.get(same)) {
        (Some(&x), Some(&y)) => key(x).cmp(&key(y)),
        (x, y) => x.is_some().cmp(&y.is_some()),
    }
}

/// `parent/name`, or `name` below the root.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    if name.is_empty() {
        return parent.to_vec();
    }
    [parent, b"/", name].concat()
}

/// The folder and the name in it. The root has an empty name in an empty folder.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// True if `path` is `folder` itself or lies below it.
pub fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// What is left of a path at or below `folder`; a path elsewhere stays as it is.
pub fn strip<'a>(path: &'a [u8], folder: &[u8]) -> &'a [u8] {
    match path.strip_prefix(folder) {
        Some([b'/', rest @ ..]) if !folder.is_empty() => rest,
        Some([]) => b"",
        _ => path,
    }
}

/// Shows a path to people: lossy UTF-8, control characters escaped.
pub struct Show<'a>(
    /// The bytes to show.
    pub &'a [u8],
);

impl fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.0).chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_component_wise() {
        let sorted: [&[u8]; 7] = [b"", b"a", b"a/b", b"a/b/c", b"a/c", b"a!", b"b"];
        for (i, x) in sorted.iter().enumerate() {
            for (j, y) in sorted.iter().enumerate() {
                assert_eq!(compare(x, y), i.cmp(&j), "{} {}", Show(x), Show(y));
            }
        }
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; NAME_BYTES_MAX + 1]] {
            assert!(check_name(bad).is_err());
        }
        for bad in [&b"/a"[..], b"a/", b"a//b", b"a/../b"] {
            assert!(check_path(bad).is_err());
        }
        assert_eq!(check_name(b"\xff\n "), Ok(()));
    }

    #[test]
    fn join_and_split_are_inverse() {
        for path in [&b""[..], b"a", b"a/b", b"a/b/c"] {
            let (parent, name) = split(path);
            assert_eq!(join(parent, name), path);
        }
        for (path, folder, rest) in
            [("a/b/c", "a", "b/c"), ("a", "a", ""), ("a/b", "", "a/b"), ("", "", ""), ("ab", "a", "ab")]
        {
            assert_eq!(strip(path.as_bytes(), folder.as_bytes()), rest.as_bytes());
        }
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"a") && !is_below(b"ab", b"a"));
    }
}
