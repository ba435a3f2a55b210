//! The words of a drive in the words of FUSE. Pure translation; the one table of error numbers.

use crate::drive::Attr;
use crate::drive::DriveError;
use crate::drive::DriveTime;
use crate::drive::FileKind;
use crate::drive::Result;
use crate::drive::Volume;
use bytes::Bytes;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyEntry;
use fuser::ReplyLseek;
use fuser::ReplyOpen;
use fuser::ReplyStatfs;
use fuser::ReplyXattr;
use std::time::Duration;
use std::time::SystemTime;

/// How long the kernel may remember an answer. A drive never changes; ten years are for ever.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Numbers are never given to another node, so there is one generation.
pub(crate) const GENERATION: Generation = Generation(0);
/// The kernel hands no larger value or list of names to a program (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_BYTES_MAX: usize = 65_536;
const BLOCK_BYTES: u32 = 4096;
const NAME_BYTES_MAX: u32 = 255;

/// The one table: what a drive says, and what a program is told.
pub(crate) fn errno(error: DriveError) -> Errno {
    match error {
        DriveError::NotFound => Errno::ENOENT,
        DriveError::NotAFolder => Errno::ENOTDIR,
        DriveError::IsAFolder => Errno::EISDIR,
        DriveError::Invalid => Errno::EINVAL,
        DriveError::NoAttribute => Errno::ENODATA,
        DriveError::BeyondEnd => Errno::ENXIO,
        DriveError::Denied => Errno::EACCES,
        DriveError::NoKey => Errno::from_i32(rustix::io::Errno::NOKEY.raw_os_error()),
        // People read "Network is unreachable".
        DriveError::Offline => Errno::ENETUNREACH,
        // Programs know what to do about EIO; few expect ETIMEDOUT from a file.
        DriveError::Io | DriveError::TimedOut => Errno::EIO,
    }
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Folder => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    let mtime = system_time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.allocated.div_ceil(512),
        atime: mtime,
        mtime,
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device_number(attr.device),
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// Attributes that say no more than number and kind, for entries whose attributes the kernel ignores.
pub(crate) fn bare_attr(ino: u64, kind: FileKind) -> FileAttr {
    let never = DriveTime::default();
    file_attr(&Attr {
        ino,
        kind,
        size: 0,
        allocated: 0,
        mode: 0,
        links: 0,
        uid: 0,
        gid: 0,
        device: (0, 0),
        mtime: never,
        ctime: never,
        btime: never,
    })
}

/// The kernel's 32-bit form: 12 bits of major, 20 bits of minor in two parts.
fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

fn system_time(time: DriveTime) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let seconds = if time.secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    let nanos = Duration::from_nanos(u64::from(time.nanos.min(999_999_999)));
    // A time the system cannot hold becomes 1970 rather than a refusal of the whole file.
    seconds.and_then(|seconds| seconds.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn entry(reply: ReplyEntry, found: Result<Attr>) {
    match found {
        Ok(attr) => reply.entry(&FOR_EVER, &file_attr(&attr), GENERATION),
        // Node number 0 with a time to live: "no such name, and you need not ask again".
        Err(DriveError::NotFound) => reply.entry(&FOR_EVER, &bare_attr(0, FileKind::File), GENERATION),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn attr(reply: ReplyAttr, attr: Result<Attr>) {
    match attr {
        Ok(attr) => reply.attr(&FOR_EVER, &file_attr(&attr)),
        Err(error) => reply.error(errno(error)),
    }
}

/// Whoever opens it, what the kernel has of a file stays good.
pub(crate) fn opened(reply: ReplyOpen, allowed: Result<()>) {
    match allowed {
        Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn data(reply: ReplyData, data: Result<Bytes>) {
    match data {
        Ok(data) => reply.data(&data),
        Err(error) => reply.error(errno(error)),
    }
}

/// `size_max` 0 asks for the size; a value that does not fit is refused, never cut.
pub(crate) fn xattr(reply: ReplyXattr, size_max: u32, value: Result<Bytes>) {
    match value {
        Err(error) => reply.error(errno(error)),
        Ok(value) if value.len() > XATTR_BYTES_MAX => reply.error(Errno::E2BIG),
        Ok(value) if size_max == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size_max as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

pub(crate) fn offset(reply: ReplyLseek, offset: Result<u64>) {
    match offset.map(i64::try_from) {
        Ok(Ok(offset)) => reply.offset(offset),
        Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn volume(reply: ReplyStatfs, volume: &Volume) {
    let blocks = volume.bytes.div_ceil(u64::from(BLOCK_BYTES));
    reply.statfs(blocks, 0, 0, volume.nodes, 0, BLOCK_BYTES, NAME_BYTES_MAX, BLOCK_BYTES);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = system_time(DriveTime { secs: -2, nanos: 800_000_000 });
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(time).unwrap(), Duration::from_millis(1200));
        let extreme = system_time(DriveTime { secs: i64::MIN, nanos: 5 });
        assert!(extreme <= SystemTime::UNIX_EPOCH);
        system_time(DriveTime { secs: i64::MAX, nanos: u32::MAX });
    }

    #[test]
    fn device_numbers_are_packed_as_the_kernel_wants_them() {
        assert_eq!(device_number((8, 1)), 0x801);
        assert_eq!(device_number((259, 300)), 44 | (259 << 8) | (1 << 20));
    }
}
