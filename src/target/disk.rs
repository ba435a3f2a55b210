//! A block device or a file that the bytes of a whole disk go to.
//!
//! Always: a device is opened exclusively, which the system refuses while it, or a part of it, is in use. Never: a file
//! takes the place of a device that is not there.

use rustix::fs::Advice;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

/// Where devices are; a file made there would fill the memory.
const DEVICES: &str = "/dev";
/// Except here.
const SHARED_MEMORY: &str = "/dev/shm";
/// A disk holds everything, secrets too.
const NEW_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why a disk cannot be opened or written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskFault {
    /// It cannot be opened, made or looked at.
    #[error("cannot open '{}'", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is neither a device nor a file.
    #[error("'{}' is neither a block device nor a file", path.display())]
    NotADisk {
        /// Which.
        path: PathBuf,
    },
    /// There is no such device.
    #[error("there is no device '{}'", path.display())]
    NoDevice {
        /// Which.
        path: PathBuf,
    },
    /// The system says that somebody uses it.
    #[error("'{}' is in use", path.display())]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot {verb} '{}' at byte {at}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Which disk.
        path: PathBuf,
        /// Where on it.
        at: u64,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The same for all of it.
    #[error("cannot {verb} '{}'", path.display())]
    Whole {
        /// What was tried.
        verb: &'static str,
        /// Which disk.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

impl DiskFault {
    /// True if there is no more space.
    pub fn is_full(&self) -> bool {
        let (DiskFault::Open { source, .. } | DiskFault::Io { source, .. } | DiskFault::Whole { source, .. }) = self
        else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Result of what is done to a disk.
type Result<T> = std::result::Result<T, DiskFault>;

/// A disk that can be written to. Several threads may share it.
#[derive(Debug)]
pub struct DiskTarget {
    file: File,
    path: PathBuf,
    len: u64,
    is_device: bool,
    sector_bytes: u32,
}

impl DiskTarget {
    /// Opens what is there for reading; `None` if nothing is. Links are followed: the user typed the path.
    pub fn look(path: &Path) -> Result<Option<DiskTarget>> {
        match kind_of(path)? {
            Some(_) => DiskTarget::open_with(path, OFlags::RDONLY).map(Some),
            None => check_place(path).map(|()| None),
        }
    }

    /// Opens what is there for writing, for us alone.
    pub fn open(path: &Path) -> Result<DiskTarget> {
        let metadata = kind_of(path)?.ok_or_else(|| fault(path)(io::ErrorKind::NotFound.into()))?;
        // For a device this asks for nobody else to use it.
        let alone = if metadata.file_type().is_block_device() { OFlags::EXCL } else { OFlags::empty() };
        let opened = DiskTarget::open_with(path, OFlags::RDWR | alone)?;
        // Virtual machines lock the files that are their disks.
        let locked = rustix::fs::fcntl_lock(&opened.file, FlockOperation::NonBlockingLockExclusive);
        match locked {
            Err(Errno::AGAIN | Errno::ACCESS) if !opened.is_device => Err(DiskFault::Busy { path: path.to_owned() }),
            // Not every file system has locks.
            _ => Ok(opened),
        }
    }

    /// Makes a new file of this length, which is one hole.
    pub fn create(path: &Path, len: u64) -> Result<DiskTarget> {
        check_place(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(path, flags, NEW_MODE).map_err(|errno| fault(path)(errno.into()))?.into();
        let mut new = DiskTarget { file, path: path.to_owned(), len: 0, is_device: false, sector_bytes: 0 };
        match new.set_len(len) {
            Ok(()) => Ok(new),
            Err(fault) => {
                // It is empty, and the fault says more than a failure to remove it would.
                let _tried = std::fs::remove_file(path);
                Err(fault)
            }
        }
    }

    fn open_with(path: &Path, flags: OFlags) -> Result<DiskTarget> {
        let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let file: File = match opened {
            Ok(opened) => opened.into(),
            Err(Errno::BUSY) => return Err(DiskFault::Busy { path: path.to_owned() }),
            Err(errno) => return Err(fault(path)(errno.into())),
        };
        let kind = file.metadata().map_err(fault(path))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskFault::NotADisk { path: path.to_owned() });
        }
        let is_device = kind.is_block_device();
        let len = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|errno| fault(path)(errno.into()))?;
        let sector_bytes = match is_device {
            true => rustix::fs::ioctl_blksszget(&file).map_err(|errno| fault(path)(errno.into()))?,
            false => 0,
        };
        Ok(DiskTarget { file, path: path.to_owned(), len, is_device, sector_bytes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for a block device, false for a file.
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// Bytes of a logical sector of a device; 0 for a file.
    pub fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    /// Makes a file longer, by a hole, or shorter.
    pub fn set_len(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(self.whole("set the length of"))?;
        self.len = len;
        Ok(())
    }

    /// Fills `buf` from `offset` on, with zeros behind the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (have, beyond) = buf.split_at_mut(there);
        beyond.fill(0);
        self.file.read_exact_at(have, offset).map_err(self.at("read", offset))
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(self.at("write to", offset))
    }

    /// Where the next byte from `offset` on is that may be something else than zero; its length if there is none.
    pub fn next_data(&self, offset: u64) -> u64 {
        if self.is_device || offset >= self.len {
            return offset;
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.max(offset),
            Err(Errno::NXIO) => self.len,
            Err(_) => offset,
        }
    }

    /// Returns when everything written is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(self.whole("write everything to"))
    }

    /// Forgets what is in memory of it, so that what is read next comes from the disk, as far as the system obeys.
    pub fn forget(&self) {
        // Only a request: what it does not follow is read from memory.
        let _asked = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn at(&self, verb: &'static str, at: u64) -> impl FnOnce(io::Error) -> DiskFault {
        let path = self.path.clone();
        move |source| DiskFault::Io { verb, path, at, source }
    }

    fn whole(&self, verb: &'static str) -> impl FnOnce(io::Error) -> DiskFault {
        let path = self.path.clone();
        move |source| DiskFault::Whole { verb, path, source }
    }
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> DiskFault {
    let path = path.to_owned();
    move |source| DiskFault::Open { path, source }
}

/// What stands there, if that can be a disk. Nothing is opened: to open a pipe would wait.
fn kind_of(path: &Path) -> Result<Option<Metadata>> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(path)(error)),
    };
    let kind = metadata.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(Some(metadata));
    }
    Err(DiskFault::NotADisk { path: path.to_owned() })
}

/// Fails where no file may be made.
fn check_place(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).map_err(fault(path))?;
    if folder.starts_with(DEVICES) && !folder.starts_with(SHARED_MEMORY) {
        return Err(DiskFault::NoDevice { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_where_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert!(DiskTarget::look(&path).unwrap().is_none());
        assert!(DiskTarget::open(&path).is_err());
        let disk = DiskTarget::create(&path, 1 << 20).unwrap();
        disk.write_at(1 << 19, b"here").unwrap();
        assert_eq!(disk.next_data(0) / 4096, (1 << 19) / 4096);
        assert!(matches!(DiskTarget::create(&path, 1), Err(DiskFault::Open { .. })));
        let mut bytes = [7; 8];
        let found = DiskTarget::look(&path).unwrap().unwrap();
        assert_eq!((found.len(), found.is_device()), (1 << 20, false));
        found.read_at((1 << 20) - 4, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 8]);
    }

    #[test]
    fn what_is_no_disk_is_not_opened() {
        let is_no_disk = |path: &str| matches!(DiskTarget::open(Path::new(path)), Err(DiskFault::NotADisk { .. }));
        assert!(is_no_disk("/") && is_no_disk("/dev/null"));
        let typo = Path::new("/dev/no-such-disk");
        assert!(matches!(DiskTarget::look(typo), Err(DiskFault::NoDevice { .. })));
        assert!(matches!(DiskTarget::create(typo, 1), Err(DiskFault::NoDevice { .. })));
    }
}
