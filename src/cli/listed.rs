//! Paths to back up out of lists: one on each line, or with a NUL byte behind each.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

/// Most paths of one backup: each snapshot names them all, and whoever opens the repository reads them.
const LISTED_MAX: usize = 100_000;

/// The paths in lists of lines and in lists with NUL bytes; `-` is standard input.
pub(super) fn paths(lines: &[PathBuf], raw: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for list in lines {
        paths.extend(split(&read(list)?, b'\n').filter(|line| !line.starts_with(b"#")).map(path));
    }
    for list in raw {
        paths.extend(split(&read(list)?, 0).map(path));
    }
    if paths.len() > LISTED_MAX {
        let count = paths.len();
        return Err(usage(format!("the lists name {count} paths, and a snapshot has at most {LISTED_MAX}"))
            .hint("list the folders they lie in, and leave out the rest with --exclude"));
    }
    Ok(paths)
}

fn split(list: &[u8], end: u8) -> impl Iterator<Item = &[u8]> {
    list.split(move |byte| *byte == end).filter(|path| !path.is_empty())
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

fn read(list: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match list.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
        false => std::fs::read(list),
    };
    Ok(read.map_err(|source| Fault::Read { path: list.to_owned(), source })?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes() {
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(list.path(), b"# mine\n/a b \n\n./#c\nlast\xff").unwrap();
        let here = [list.path().to_owned()];
        let expected: Vec<PathBuf> = [&b"/a b "[..], b"./#c", b"last\xff"].into_iter().map(path).collect();
        assert_eq!(paths(&here, &[]).unwrap(), expected);
        std::fs::write(list.path(), b"/a\nb\0#c\0").unwrap();
        assert_eq!(paths(&[], &here).unwrap(), [path(b"/a\nb"), path(b"#c")]);
        assert!(paths(&["/nowhere".into()], &[]).is_err());
        std::fs::write(list.path(), "x\n".repeat(LISTED_MAX + 1)).unwrap();
        assert!(paths(&here, &[]).is_err());
    }
}
