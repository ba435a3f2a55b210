//! Whether a virtual machine writes to an image, by the system's table of locks.
//!
//! QEMU and its tools lock one byte of an image for each thing that they may do to it, from 100 on; the second is to
//! write. The table is read because it tells this to who may only read the image. What another machine of a network
//! does to a file there is not in it.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Where the locks of QEMU begin.
const QEMU_AT: u64 = 100;
/// The byte that is locked by who may write.
const QEMU_WRITES_AT: u64 = 101;

/// True if somebody holds a lock on this file that says so; false also if that cannot be found out.
pub(super) fn is_written(file: &File) -> bool {
    let Some(name) = name_of(file) else { return false };
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    table.lines().any(|line| is_writer(line, &name))
}

/// The name of a file in the table. The number of its file system is that of its mount: some give their files another.
fn name_of(file: &File) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (mount, inode) = (field("mnt_id:")?, field("ino:")?);
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let device = mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        (fields.next()? == mount.as_bytes()).then(|| fields.nth(1))?
    });
    let (major, minor) = std::str::from_utf8(device?).ok()?.split_once(':')?;
    Some(format!("{:02x}:{:02x}:{inode}", major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
}

/// `3: OFDLCK ADVISORY  READ -1 fe:00:1234 100 101`: kind, kind, mode, process, file, first and last byte.
fn is_writer(line: &str, name: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, kind, _, mode, _, file, start, end] = fields[..] else { return false };
    let start = start.parse::<u64>().unwrap_or(u64::MAX);
    let end = end.parse().unwrap_or(u64::MAX);
    let is_of_bytes = file == name && matches!(kind, "OFDLCK" | "POSIX");
    // Who only reads may lock a file from its first byte on, too.
    is_of_bytes && start <= QEMU_WRITES_AT && end >= QEMU_WRITES_AT && (start >= QEMU_AT || mode == "WRITE")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let is = |line| is_writer(line, "fe:00:1234");
        assert!(is("4: OFDLCK ADVISORY  READ -1 fe:00:1234 100 101"));
        assert!(is("4: POSIX  ADVISORY  WRITE 17 fe:00:1234 0 EOF"));
        for other in [
            "4: OFDLCK ADVISORY  READ -1 fe:00:12345 100 101",
            "7: OFDLCK ADVISORY  READ -1 fe:00:1234 100 100",
            "2: OFDLCK ADVISORY  READ -1 fe:00:1234 201 201",
            "4: POSIX  ADVISORY  READ 17 fe:00:1234 0 EOF",
            "5: FLOCK  ADVISORY  WRITE 17 fe:00:1234 0 EOF",
            "4: -> OFDLCK ADVISORY  READ -1 fe:00:1234 100 101",
            "",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn a_file_has_a_name_in_the_table() {
        let file = tempfile::tempfile().unwrap();
        assert!(name_of(&file).is_some_and(|name| name.split(':').count() == 3));
        assert!(!is_written(&file));
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_written(&file));
    }
}
