//! Who uses a disk of this machine, so that nobody writes over it.

use crate::image::device;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// What a disk, or a part of it, is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Mounted here, read-only or not.
    Mounted(PathBuf),
    /// Memory is swapped to it.
    Swap,
    /// Another device is made of it: RAID, LVM, an open encrypted volume.
    Holder(String),
    /// A loop device shows this file.
    Loop(PathBuf),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mounted(point) => write!(f, "mounted at '{}'", point.display()),
            Use::Swap => write!(f, "used as swap space"),
            Use::Holder(name) => write!(f, "part of the device '{name}'"),
            Use::Loop(device) => write!(f, "attached to '{}'", device.display()),
        }
    }
}

/// What the device or file at `path` is used for, if that can be found out.
pub fn used_by(path: &Path) -> io::Result<Option<Use>> {
    let metadata = std::fs::metadata(path)?;
    let is_device = metadata.file_type().is_block_device();
    let numbers = match is_device {
        true => vec![(rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))],
        false => device::loops(&std::fs::canonicalize(path)?)?,
    };
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut all = HashSet::new();
    numbers.iter().for_each(|number| device::with_users(*number, &mut all));
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    if let Some(mount) = mounts.split(|byte| *byte == b'\n').find_map(|line| device::mount(line, &all)) {
        return Ok(Some(Use::Mounted(mount.point)));
    }
    // Without support for it there is no such table.
    let swaps = std::fs::read("/proc/swaps").unwrap_or_default();
    if swaps.split(|byte| *byte == b'\n').any(|line| is_swap(line, &all)) {
        return Ok(Some(Use::Swap));
    }
    if let Some(holder) = all.iter().find_map(|number| holder(*number)) {
        return Ok(Some(Use::Holder(holder)));
    }
    let shown = numbers.first().filter(|_| !is_device);
    Ok(shown.map(|number| Use::Loop(device_file(*number))))
}

fn home((major, minor): (u32, u32)) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

/// The first device that is made of this one, by the name people know it by.
fn holder(number: (u32, u32)) -> Option<String> {
    let entry = std::fs::read_dir(home(number).join("holders")).ok()?.flatten().next()?;
    let mapped = std::fs::read_to_string(entry.path().join("dm/name")).ok();
    Some(mapped.map_or_else(|| entry.file_name().to_string_lossy().into_owned(), |name| name.trim().to_owned()))
}

fn device_file(number: (u32, u32)) -> PathBuf {
    let name = std::fs::canonicalize(home(number)).ok().and_then(|home| home.file_name().map(OsString::from));
    Path::new("/dev").join(name.unwrap_or_default())
}

fn is_swap(line: &[u8], devices: &HashSet<(u32, u32)>) -> bool {
    let name = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    let path = PathBuf::from(OsString::from_vec(device::unescaped(name)));
    let found = std::fs::metadata(path).ok().filter(|found| found.file_type().is_block_device());
    found.is_some_and(|found| devices.contains(&(rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_nobody_uses() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(used_by(file.path()).unwrap(), None);
        assert!(used_by(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn the_table_of_swap_space() {
        let devices = HashSet::from([(8, 2)]);
        assert!(!is_swap(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority", &devices));
        assert!(!is_swap(b"/nowhere/sda2    partition\t1\t0\t-2", &devices));
    }
}
