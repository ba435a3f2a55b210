//! Disks and image files of this machine: read where they lie, and who else uses them.

use crate::image::Bytes;
use crate::image::Image;
use crate::image::locks;
use rustix::fs::SeekFrom;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Sector size of what has none of its own.
const SECTOR_BYTES: u32 = 512;

/// A block device, or a file with the further files of the same image behind it, open for reading.
#[derive(Debug, Clone)]
pub struct Device {
    /// Itself first.
    files: Arc<[Piece]>,
    path: PathBuf,
    len: u64,
    sector_bytes: u32,
    is_device: bool,
}

/// One file of an image.
#[derive(Debug)]
struct Piece {
    /// Its name beside the first.
    name: String,
    file: Arc<File>,
    /// Where it begins.
    start: u64,
    len: u64,
}

/// Why a path is no disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It cannot be opened or looked at.
    #[error("cannot open '{}'", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image lies in several files, and this is not one of them.
    #[error("'{}' says that it goes on in {name:?}, which cannot be a file beside it", path.display())]
    NotBeside {
        /// The image.
        path: PathBuf,
        /// What it names.
        name: String,
    },
    /// It is neither.
    #[error("'{}' is neither a block device nor a file", path.display())]
    NotADisk {
        /// What it is.
        path: PathBuf,
    },
}

impl Device {
    /// Opens a block device or a file.
    pub fn open(path: &Path) -> Result<Device, DeviceError> {
        let fault = |source| DeviceError::Open { path: path.to_owned(), source };
        // Opening a pipe would wait for whoever writes to it.
        let kind = std::fs::metadata(path).map_err(fault)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DeviceError::NotADisk { path: path.to_owned() });
        }
        let file = File::open(path).map_err(fault)?;
        let is_device = kind.is_block_device();
        let len = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| fault(e.into()))?;
        let sector_bytes = match is_device {
            true => rustix::fs::ioctl_blksszget(&file).map_err(|e| fault(e.into()))?,
            false => SECTOR_BYTES,
        };
        let path = std::fs::canonicalize(path).map_err(fault)?;
        let itself = Piece { name: String::new(), file: Arc::new(file), start: 0, len };
        Ok(Device { files: [itself].into(), path, len, sector_bytes, is_device })
    }

    /// The image with these files, which lie beside it, behind it.
    pub fn with_further(self, names: &[String]) -> Result<Device, DeviceError> {
        let [itself] = &*self.files else { return Ok(self) };
        let (file, mut start) = (itself.file.clone(), self.len);
        let mut files = vec![Piece { name: String::new(), file, start: 0, len: start }];
        for name in names {
            let beside = self.path.with_file_name(name);
            let path = self.path.clone();
            // A link would lead to whatever whoever made the image wants to see in a backup.
            let is_link = std::fs::symlink_metadata(&beside).is_ok_and(|found| found.is_symlink());
            if name.contains(['/', '\0']) || beside.parent() != path.parent() || beside == path || is_link {
                return Err(DeviceError::NotBeside { path, name: name.clone() });
            }
            let Device { files: found, len, .. } = Device::open(&beside)?;
            let end = start.checked_add(len);
            let end = end.ok_or_else(|| DeviceError::NotBeside { path, name: name.clone() })?;
            files.extend(found.iter().map(|found| Piece { name: name.clone(), file: found.file.clone(), start, len }));
            start = end;
        }
        Ok(Device { files: files.into(), len: start, ..self })
    }

    fn itself(&self) -> &Arc<File> {
        &self.files[0].file
    }

    /// The file that a byte is in; the last one for what lies behind all.
    fn piece_at(&self, offset: u64) -> &Piece {
        let next = self.files.partition_point(|piece| piece.start <= offset);
        &self.files[next.saturating_sub(1)]
    }

    /// Its path without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True for a block device, false for a file.
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// Bytes of a logical sector.
    pub fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Fills `buf` from `offset` on. Fails if it is shorter by now.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let piece = self.piece_at(at);
            let within = at - piece.start;
            let len = piece.len.saturating_sub(within).min(rest.len() as u64);
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (part, later) = rest.split_at_mut(len as usize);
            piece.file.read_exact_at(part, within)?;
            at += len;
            rest = later;
        }
        Ok(())
    }

    /// The run that `offset` is in: where it ends, and whether it is a hole. A device has none.
    pub fn run_at(&self, offset: u64) -> (u64, bool) {
        if self.is_device {
            return (self.len, false);
        }
        let Piece { file, start, len, .. } = self.piece_at(offset);
        let (within, len) = (offset - start, *len);
        let seek = |from| rustix::fs::seek(file.as_fd(), from);
        let (end, is_hole) = match seek(SeekFrom::Data(within)) {
            Ok(data) if data > within => (data.min(len), true),
            Ok(_) => (seek(SeekFrom::Hole(within)).unwrap_or(len).clamp(within + 1, len), false),
            // What was cut off since is no hole: to read it fails, and that is told.
            Err(rustix::io::Errno::NXIO) => (len, file.metadata().is_ok_and(|now| now.len() >= len)),
            Err(_) => (len, false),
        };
        (start + end, is_hole)
    }

    /// Modification time of a file, of several the newest: seconds and nanoseconds since 1970. A device has none worth keeping.
    pub fn mtime(&self) -> Option<(i64, u32)> {
        let time = |piece: &Piece| {
            let metadata = piece.file.metadata().ok().filter(|_| !self.is_device)?;
            Some((metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)))
        };
        self.files.iter().filter_map(time).max()
    }

    /// A mount point through which it may be written to while it is read: of itself, of one of its partitions, or of
    /// something made of them.
    pub fn mounted_at(&self) -> io::Result<Option<PathBuf>> {
        let numbers = if self.is_device { self.own_number()?.into_iter().collect() } else { loops(&self.path)? };
        if numbers.is_empty() {
            return Ok(None);
        }
        let mut all = HashSet::new();
        numbers.into_iter().for_each(|number| with_users(number, &mut all));
        let table = std::fs::read("/proc/self/mountinfo")?;
        let mut mounts = table.split(|byte| *byte == b'\n').filter_map(|line| mount(line, &all));
        Ok(mounts.find(|mount| mount.is_writable).map(|mount| mount.point))
    }

    /// True if a virtual machine has it open for writing, as far as that can be found out.
    pub fn is_open_in_machine(&self) -> bool {
        self.files.iter().any(|piece| locks::is_written(&piece.file))
    }

    fn own_number(&self) -> io::Result<Option<(u32, u32)>> {
        let device = self.itself().metadata()?.rdev();
        Ok(Some((rustix::fs::major(device), rustix::fs::minor(device))))
    }
}

impl Image for Device {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_raw(&self) -> bool {
        self.is_device
    }

    fn further(&self) -> Vec<(String, u64)> {
        self.files.iter().skip(1).map(|piece| (piece.name.clone(), piece.len)).collect()
    }

    fn read(&self, offset: u64, len: u32) -> Bytes {
        let this = self.clone();
        Box::pin(async move {
            let read = move || {
                let mut buf = vec![0; len as usize];
                this.read_at(offset, &mut buf).map(|()| bytes::Bytes::from(buf))
            };
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        })
    }
}

/// Loop devices that show the file at this path, which has no links.
pub(super) fn loops(path: &Path) -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    let Ok(blocks) = std::fs::read_dir("/sys/block") else { return Ok(found) };
    for block in blocks {
        let block = block?.path();
        let Ok(backing) = std::fs::read(block.join("loop/backing_file")) else { continue };
        if std::ffi::OsString::from_vec(backing.trim_ascii_end().to_vec()) == path {
            found.extend(number_of(&block));
        }
    }
    Ok(found)
}

/// The number of a block device out of its folder in sysfs.
fn number_of(block: &Path) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(block.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A device, its partitions, and what is made of them.
pub(super) fn with_users(number: (u32, u32), all: &mut HashSet<(u32, u32)>) {
    if !all.insert(number) {
        return;
    }
    let home = PathBuf::from(format!("/sys/dev/block/{}:{}", number.0, number.1));
    for folder in [home.clone(), home.join("holders")] {
        let Ok(below) = std::fs::read_dir(folder) else { continue };
        for entry in below.flatten() {
            let path = entry.path();
            let is_user = path.join("partition").exists() || path.parent().is_some_and(|p| p.ends_with("holders"));
            if let Some(number) = number_of(&path).filter(|_| is_user) {
                with_users(number, all);
            }
        }
    }
}

/// A mount of a device.
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) is_writable: bool,
}

/// What a line of mountinfo says, if one of these devices is mounted there.
pub(super) fn mount(line: &[u8], devices: &HashSet<(u32, u32)>) -> Option<Mount> {
    let (before, after) = split_at(line, b" - ")?;
    let mut fields = before.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let point = fields.nth(1)?;
    let mut behind = after.split(|byte| *byte == b' ').skip(1);
    let source = behind.next()?;
    let is_writable = behind.next()?.split(|byte| *byte == b',').any(|option| option == b"rw");
    let (major, minor) = number.split_once(':')?;
    let shown = (major.parse().ok()?, minor.parse().ok()?);
    // Btrfs shows a number of its own, but names the device.
    let named = std::fs::metadata(std::ffi::OsString::from_vec(source.to_vec())).ok();
    let named = named.filter(|named| named.file_type().is_block_device());
    let named = named.map(|named| (rustix::fs::major(named.rdev()), rustix::fs::minor(named.rdev())));
    let is_ours = devices.contains(&shown) || named.is_some_and(|named| devices.contains(&named));
    let point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(point)));
    is_ours.then_some(Mount { point, is_writable })
}

fn split_at<'a>(line: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(mark.len()).position(|window| window == mark)?;
    Some((&line[..at], &line[at + mark.len()..]))
}

/// `\040` and its like as the bytes they stand for.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_of_the_table_of_mounts() {
        let devices = HashSet::from([(8, 2)]);
        let line = b"36 35 8:2 / /mnt/my\\040disk rw,noatime master:1 - ext4 /nowhere/sda2 rw,errors=continue";
        let told = |line: &[u8]| mount(line, &devices).map(|mount| (mount.point, mount.is_writable));
        assert_eq!(told(line), Some((PathBuf::from("/mnt/my disk"), true)));
        let read_only = b"36 35 8:2 / /mnt ro - ext4 /nowhere/sda2 ro";
        assert_eq!(told(read_only), Some((PathBuf::from("/mnt"), false)));
        let other = b"36 35 8:3 / /mnt rw - ext4 /nowhere/sda3 rw";
        assert_eq!(told(other), None);
        assert_eq!(told(b""), None);
    }

    #[test]
    fn a_file_with_holes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[1; 4096], 1 << 20).unwrap();
        file.flush().unwrap();
        let device = Device::open(file.path()).unwrap();
        assert_eq!(device.len, 3 << 20);
        assert_eq!(device.run_at(0), (1 << 20, true));
        let (end, is_hole) = device.run_at(1 << 20);
        assert!(!is_hole && (end - (1 << 20)) % 4096 == 0 && end < 2 << 20);
        assert_eq!(device.run_at(end), (3 << 20, true));
        assert_eq!(device.mounted_at().unwrap(), None);
        assert!(device.read_at((3 << 20) - 1, &mut [0; 2]).is_err());
    }

    #[test]
    fn a_folder_is_no_disk() {
        assert!(matches!(Device::open(Path::new("/")), Err(DeviceError::NotADisk { .. })));
        assert!(matches!(Device::open(Path::new("/nowhere")), Err(DeviceError::Open { .. })));
    }
}
