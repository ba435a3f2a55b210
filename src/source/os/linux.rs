//! Linux: `openat`, `getdents`, `statx` and friends, always relative to a folder handle and never through a link.

use crate::meta::Time;
use crate::source::stat::Stat;
use crate::source::stat::Type;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::RawDir;
use rustix::fs::ResolveFlags;
use rustix::fs::SeekFrom;
use rustix::fs::Statx;
use rustix::fs::StatxFlags;
use rustix::fs::StatxTimestamp;
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::Resource;
use std::ffi::CStr;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An open file or folder, or a mere reference to one.
pub(in crate::source) type Handle = OwnedFd;

const REFERENCE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// `NONBLOCK`: a pipe swapped in must not hang the backup. `NOCTTY`: nor a terminal become ours.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// Longest piece of a path given to the kernel at once; its own limit is 4096 with the closing NUL.
const PIECE_BYTES_MAX: usize = 4000;
const FUSE_MAGIC: u64 = 0x6573_5546;
const OWN_DRIVE: &str = "fuse.bygone";

/// File systems that show the state of the system and hold nothing to back up: the type number of `statfs`.
const PSEUDO: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x6573_5543, // fusectl
    0x6265_6570, // configfs
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x4249_4e4d, // binfmt_misc
    0x0187,      // autofs
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
];
const TMPFS: u64 = 0x0102_1994;

/// The top of everything.
pub(in crate::source) fn open_top() -> io::Result<Handle> {
    Ok(rustix::fs::openat(CWD, c"/", REFERENCE | OFlags::DIRECTORY, Mode::empty())?)
}

/// A reference to a folder, not readable, that triggers no automount.
pub(in crate::source) fn open_folder(folder: &Handle, name: impl Arg) -> io::Result<Handle> {
    Ok(rustix::fs::openat(folder, name, REFERENCE | OFlags::DIRECTORY, Mode::empty())?)
}

/// A folder to be listed.
pub(in crate::source) fn open_list(folder: &Handle, name: &CStr) -> io::Result<Handle> {
    open_quietly(|quiet| rustix::fs::openat(folder, name, READ | OFlags::DIRECTORY | quiet, Mode::empty()))
}

/// A reference to a node of any kind, a link included.
pub(in crate::source) fn open_node(folder: &Handle, name: &[u8]) -> io::Result<Handle> {
    Ok(rustix::fs::openat(folder, name, REFERENCE, Mode::empty())?)
}

/// A file to be read.
pub(in crate::source) fn open_file(folder: &Handle, name: &[u8]) -> io::Result<Handle> {
    open_quietly(|quiet| rustix::fs::openat(folder, name, READ | quiet, Mode::empty()))
}

/// Opens without touching the access time where that is permitted (to the owner and to root).
fn open_quietly(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> io::Result<Handle> {
    let opened = match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        other => other,
    };
    Ok(opened?)
}

/// A reference to the folder at `names` below `folder`, however long the way, through no link.
pub(in crate::source) fn open_below(folder: &Handle, names: &[&[u8]]) -> io::Result<Handle> {
    let mut here = None;
    let mut rest = names;
    while !rest.is_empty() {
        let mut len = 0;
        let fitting = rest.iter().take_while(|name| {
            len += name.len() + 1;
            len <= PIECE_BYTES_MAX
        });
        let (piece, after) = rest.split_at(fitting.count().max(1));
        let from = here.as_ref().unwrap_or(folder);
        here = Some(open_piece(from, piece)?);
        rest = after;
    }
    here.map_or_else(|| Ok(rustix::io::fcntl_dupfd_cloexec(folder, 0)?), Ok)
}

fn open_piece(folder: &Handle, names: &[&[u8]]) -> io::Result<Handle> {
    let path = names.join(&b'/');
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, &path[..], REFERENCE | OFlags::DIRECTORY, Mode::empty(), resolve) {
        Ok(opened) => return Ok(opened),
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    open_by_name(folder, names)
}

fn open_by_name(folder: &Handle, names: &[&[u8]]) -> io::Result<Handle> {
    let (first, rest) = names.split_first().ok_or(Errno::NOENT)?;
    rest.iter().try_fold(open_folder(folder, *first)?, |here, name| open_folder(&here, *name))
}

/// Calls `each` for every name in the folder, in no order, with its type if the listing tells.
pub(in crate::source) fn read_names(
    folder: &Handle,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], Option<Type>) -> bool,
) -> io::Result<()> {
    let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let mut entries = RawDir::new(folder, room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !each(name, type_of(entry.file_type())) {
            break;
        }
    }
    Ok(())
}

/// What stands under a name; a link is not followed, an automount not triggered.
pub(in crate::source) fn stat(folder: &Handle, name: &CStr) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    from_statx(&rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?)
}

/// What a handle stands for.
pub(in crate::source) fn stat_handle(handle: &Handle) -> io::Result<Stat> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    from_statx(&rustix::fs::statx(handle, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?)
}

fn type_of(file_type: FileType) -> Option<Type> {
    Some(match file_type {
        FileType::RegularFile => Type::File,
        FileType::Directory => Type::Folder,
        FileType::Symlink => Type::Symlink,
        FileType::Fifo => Type::Fifo,
        FileType::Socket => Type::Socket,
        FileType::CharacterDevice => Type::CharDevice,
        FileType::BlockDevice => Type::BlockDevice,
        FileType::Unknown => return None,
    })
}

fn from_statx(x: &Statx) -> io::Result<Stat> {
    // A file system may answer nonsense; what is kept must be readable.
    let time = |t: &StatxTimestamp| Time { secs: t.tv_sec, nanos: t.tv_nsec.min(999_999_999) };
    let mode = u32::from(x.stx_mode);
    let kind = type_of(FileType::from_raw_mode(mode));
    let known = StatxFlags::from_bits_retain(x.stx_mask);
    Ok(Stat {
        kind: kind.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?,
        mode: mode & 0o7777,
        uid: x.stx_uid,
        gid: x.stx_gid,
        size: x.stx_size,
        mtime: time(&x.stx_mtime),
        ctime: time(&x.stx_ctime),
        btime: known.contains(StatxFlags::BTIME).then(|| time(&x.stx_btime)),
        inode: x.stx_ino,
        dev: rustix::fs::makedev(x.stx_dev_major, x.stx_dev_minor),
        links: x.stx_nlink,
        rdev: (x.stx_rdev_major, x.stx_rdev_minor),
        flags: u32::try_from(x.stx_attributes.bits() & u64::from(Stat::FLAGS)).unwrap_or(0),
        allocated: x.stx_blocks.saturating_mul(512),
    })
}

/// Target of the link behind a handle of [`open_node`].
pub(in crate::source) fn read_link(link: &Handle) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes())
}

/// Why the contents of the file system of this folder are no matter for a backup, if so.
pub(in crate::source) fn pseudo(folder: &Handle) -> io::Result<Option<&'static str>> {
    let found = rustix::fs::fstatfs(folder)?;
    // The width and sign of this field differ between machines; the numbers are 32 bits.
    let magic = found.f_type as u64 & 0xffff_ffff;
    if PSEUDO.contains(&magic) {
        return Ok(Some(crate::source::why::PSEUDO));
    }
    if magic == TMPFS && is_kernel_devices(folder)? {
        return Ok(Some(crate::source::why::PSEUDO));
    }
    if magic == FUSE_MAGIC {
        let dev = stat_handle(folder)?.dev;
        return Ok(drives()?.contains(&dev).then_some(crate::source::why::DRIVE));
    }
    Ok(None)
}

/// devtmpfs answers `statfs` like any tmpfs; the mount table knows better.
fn is_kernel_devices(folder: &Handle) -> io::Result<bool> {
    let dev = stat_handle(folder)?.dev;
    Ok(mounts()?.iter().any(|mount| mount.dev == dev && mount.kind == b"devtmpfs"))
}

/// Device numbers of the mounted Bygone drives.
pub(in crate::source) fn drives() -> io::Result<Vec<u64>> {
    Ok(mounts()?.into_iter().filter(|mount| mount.kind == OWN_DRIVE.as_bytes()).map(|mount| mount.dev).collect())
}

struct Mount {
    dev: u64,
    kind: Vec<u8>,
}

/// Every mount this process can see; none where the table is not to be had.
fn mounts() -> io::Result<Vec<Mount>> {
    match std::fs::read("/proc/self/mountinfo") {
        Ok(table) => Ok(table.split(|&b| b == b'\n').filter_map(mount).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `36 35 98:0 /root /point options [tags] - type source options`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&b| b == b' ');
    let numbers = std::str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let kind = words.skip_while(|word| *word != b"-").nth(1)?.to_vec();
    Some(Mount { dev: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?), kind })
}

/// True if the answer means that something else stands under the name than did before: a link, a pipe, no folder.
pub(in crate::source) fn is_replaced(answer: &io::Error) -> bool {
    matches!(Errno::from_io_error(answer), Some(Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::STALE))
}

/// How many files this process may have open at once.
pub(in crate::source) fn files_max() -> usize {
    let most = rustix::process::getrlimit(Resource::Nofile).current;
    most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Lets the system begin to read the first bytes of a file.
pub(in crate::source) fn will_need(file: &Handle, bytes: u64) {
    // Only a hint: where it is not taken, the bytes are waited for when they are read.
    let _hint = rustix::fs::fadvise(file, 0, NonZeroU64::new(bytes), rustix::fs::Advice::WillNeed);
}

/// Reads at an offset; fewer bytes than asked for only at the end of the file.
pub(in crate::source) fn read_at(file: &Handle, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}

/// Where data begins at or after `from`; `None` if only a hole follows. An error where holes are not known.
pub(in crate::source) fn next_data(file: &Handle, from: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Where the next hole begins at or after `from`; the end of the file counts as one.
pub(in crate::source) fn next_hole(file: &Handle, from: u64) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, SeekFrom::Hole(from))?)
}

/// File system and inode number of a folder, links followed; none if it is not there or no folder.
pub(in crate::source) fn folder_id(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some((found.dev(), found.ino()))
}

/// Bytes as the system's own text.
pub(in crate::source) fn text(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// The system's own text as bytes.
pub(in crate::source) fn bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_mount_table_tells_drives() {
        let drive =
            b"98 29 0:57 / /home/ada/Backup ro,nosuid,nodev shared:3 master:1 - fuse.bygone bygone ro,user_id=0";
        let found = mount(drive).unwrap();
        assert_eq!((found.dev, found.kind.as_slice()), (rustix::fs::makedev(0, 57), OWN_DRIVE.as_bytes()));
        let plain = mount(b"29 1 259:2 / / rw,relatime - ext4 /dev/root rw").unwrap();
        assert_eq!((plain.dev, plain.kind.as_slice()), (rustix::fs::makedev(259, 2), &b"ext4"[..]));
        for damaged in [&b""[..], b"29 1", b"29 1 x:y / / rw - ext4 a b", b"29 1 0:1 / / rw"] {
            assert!(mount(damaged).is_none());
        }
    }

    #[test]
    fn long_ways_are_opened_with_and_without_openat2() {
        let root = tempfile::tempdir().unwrap();
        let mut path = root.path().to_owned();
        let names: Vec<String> = (0..14).map(|n| format!("{n:0200}")).collect();
        names.iter().for_each(|name| path.push(name));
        std::fs::create_dir_all(&path).unwrap();
        let top = open_folder(&open_top().unwrap(), root.path()).unwrap();
        let pieces: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let inode = std::fs::metadata(&path).unwrap().ino();
        for opened in [open_below(&top, &pieces), open_by_name(&top, &pieces)] {
            assert_eq!(stat_handle(&opened.unwrap()).unwrap().inode, inode);
        }
        std::os::unix::fs::symlink(&names[0], root.path().join("link")).unwrap();
        for opened in [open_below(&top, &[b"link"]), open_by_name(&top, &[b"link"])] {
            assert!(is_replaced(&opened.unwrap_err()));
        }
    }
}
