//! The system's table of mounts, and unmounting.
//!
//! The table is read from `/proc/self/mountinfo`, which touches no file system: a dead or hanging drive cannot stop
//! us. Root unmounts by itself, everybody else through `fusermount3`.

use crate::fuse::SUBTYPE;
use crate::fuse::error::UnmountError;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const TABLE: &str = "/proc/self/mountinfo";
/// How long a look at a drive lasts at the most, and how often it is asked whether that is over.
const LOOK_MAX: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(50);
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
const HELPER_FOLDERS: &str = "/usr/bin:/bin:/usr/local/bin:/sbin";

/// A drive of ours that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountInfo {
    /// The folder it is shown at.
    pub mount_point: PathBuf,
    /// The name it was given.
    pub source: String,
    /// Kind of FUSE file system, empty if the system did not keep it.
    pub subtype: String,
    /// Major and minor number of the file system: no other one that is mounted has them.
    pub device: (u32, u32),
}

/// Whether somebody serves a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// It answers. A drive of another user cannot be asked and counts as alive.
    Alive,
    /// Its process is gone.
    Dead,
    /// No answer in time: its process is stopped, or badly busy.
    Silent,
}

/// Asks each of these drives whether it is served, all at once, and waits no longer than `patience`.
#[must_use]
pub fn pulses(drives: &[MountInfo], patience: Duration) -> Vec<Pulse> {
    let until = Instant::now() + patience;
    let (tell, told) = mpsc::channel();
    for (number, drive) in drives.iter().enumerate() {
        let (tell, point) = (tell.clone(), drive.mount_point.clone());
        // The thread of a silent drive waits in the system for as long as this program runs.
        let ask = move || {
            let pulse = if is_dead(&point) { Pulse::Dead } else { Pulse::Alive };
            // Too late is as good as never.
            let _nobody_waits = tell.send((number, pulse));
        };
        let _counts_as_silent = thread::Builder::new().name("bygone-pulse".to_owned()).spawn(ask);
    }
    drop(tell);
    let mut pulses = vec![Pulse::Silent; drives.len()];
    while let Ok((number, pulse)) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        pulses[number] = pulse;
    }
    pulses
}

/// The mounted drives of ours, in the order they were mounted. Touches none of them.
///
/// # Errors
/// If the system's table cannot be read.
pub fn mounts() -> io::Result<Vec<MountInfo>> {
    let ours = rows()?.into_iter().filter(|row| row.is_ours() && row.whole);
    Ok(ours
        .map(|row| MountInfo {
            device: row.device,
            subtype: row.kind.strip_prefix("fuse.").unwrap_or_default().to_owned(),
            source: row.source,
            mount_point: row.point,
        })
        .collect())
}

/// Unmounts the drive of ours at a folder. `lazy` takes it away even while programs use it: they keep what they have
/// open, and it disappears when the last one closes.
///
/// # Errors
/// [`UnmountError::NotMounted`] if no drive of ours is there, [`UnmountError::Busy`] if it is in use for longer than a moment.
pub fn unmount(path: &Path, lazy: bool) -> Result<(), UnmountError> {
    let failed = |source| UnmountError::Io { path: path.to_owned(), source };
    let not_mounted = || UnmountError::NotMounted { path: path.to_owned() };
    let point = resolve(path).map_err(|_| not_mounted())?;
    match top(&point).map_err(failed)? {
        Some(row) if row.is_ours() => match row.user {
            Some(user) if !may_unmount(user) => Err(UnmountError::NotYours { path: point, user }),
            _ => detach_soon(&point, lazy),
        },
        _ => Err(not_mounted()),
    }
}

/// Whoever only looks at it, as `df` and desktops do, is gone in a moment.
fn detach_soon(point: &Path, lazy: bool) -> Result<(), UnmountError> {
    let until = Instant::now() + LOOK_MAX;
    loop {
        match detach(point, lazy) {
            Err(UnmountError::Busy { .. }) if Instant::now() < until => thread::sleep(RETRY),
            done => return done,
        }
    }
}

/// The helper would only say that it does not find the drive in its table.
fn may_unmount(user: u32) -> bool {
    let (effective, real) = (rustix::process::geteuid(), rustix::process::getuid());
    effective.is_root() || real.as_raw() == user
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Major and minor number of the mounted file system.
    pub(crate) device: (u32, u32),
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
    pub(crate) source: String,
    /// Who mounted it, if it is FUSE.
    user: Option<u32>,
    /// The file system's root, not a part of it bound elsewhere.
    whole: bool,
}

impl Row {
    pub(crate) fn is_ours(&self) -> bool {
        match self.kind.strip_prefix("fuse") {
            Some("") => self.source.starts_with(SUBTYPE),
            Some(kind) => kind.strip_prefix('.') == Some(SUBTYPE),
            None => false,
        }
    }

    pub(crate) fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }
}

/// What is mounted at a folder, the last one mounted if several are.
pub(crate) fn top(point: &Path) -> io::Result<Option<Row>> {
    Ok(rows()?.into_iter().rev().find(|row| row.point == point))
}

fn rows() -> io::Result<Vec<Row>> {
    Ok(fs::read(TABLE)?.split(|&byte| byte == b'\n').filter_map(row).collect())
}

/// `id parent major:minor root point options [tags...] - kind source options`
fn row(line: &[u8]) -> Option<Row> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let root = fields.next()?;
    let point = PathBuf::from(unescape(fields.next()?));
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = unescape(rest.next()?).to_string_lossy().into_owned();
    let source = unescape(rest.next()?).to_string_lossy().into_owned();
    let options = rest.next().and_then(|options| std::str::from_utf8(options).ok()).unwrap_or_default();
    let user = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    let device = (device.0.parse().ok()?, device.1.parse().ok()?);
    Some(Row { device, point, kind, source, user, whole: root == b"/" })
}

/// Space, tab, newline, backslash and hash are written as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        if let Some(decoded) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(decoded);
            rest = &after[3..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}

/// The mount point as the table spells it. A dead drive may refuse to be looked at, its parent does not.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().or_else(|error| match (path.file_name(), std::path::absolute(path)?.parent()) {
        (Some(name), Some(parent)) if is_disconnected(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(parent.canonicalize()?.join(name))
        }
        _ => Err(error),
    })
}

/// True if the file system at a folder has lost its server. Asks for the volume, which is never remembered by the
/// kernel: attributes are, and a dead drive can still tell them.
pub(crate) fn is_dead(point: &Path) -> bool {
    rustix::fs::statfs(point).is_err_and(|errno| is_disconnected(&errno.into()))
}

fn is_disconnected(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Takes away what is mounted at a resolved folder.
pub(crate) fn detach(point: &Path, lazy: bool) -> Result<(), UnmountError> {
    let busy = || UnmountError::Busy { path: point.to_owned() };
    let failed = |source| UnmountError::Io { path: point.to_owned(), source };
    let detached = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(point, detached | UnmountFlags::NOFOLLOW) {
        Ok(()) => return Ok(()),
        Err(Errno::BUSY) => return Err(busy()),
        Err(Errno::PERM) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let mut command = Command::new(helper().ok_or(UnmountError::NoHelper)?);
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(point).stdin(Stdio::null());
    let output = command.output().map_err(failed)?;
    let message = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        // The helper tells by words alone, always in English.
        false if message.contains("busy") => Err(busy()),
        false => Err(failed(io::Error::other(message.trim().to_owned()))),
    }
}

/// The set-user-id program that mounts and unmounts for people who are not root.
pub(crate) fn helper() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FUSERMOUNT_PATH") {
        return Some(path.into()).filter(|path: &PathBuf| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(std::env::split_paths(HELPER_FOLDERS)).collect();
    let found = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    HELPERS.iter().find_map(|name| found(name))
}

/// Takes what would break the list of mount options out of a name.
pub(crate) fn clean_name(name: &str) -> String {
    let name: &OsStr = name.as_ref();
    let unfit = |byte: &u8| *byte < b' ' || *byte == b',' || *byte == b'\\';
    let bytes = name.as_bytes().iter().map(|byte| if unfit(byte) { b'_' } else { *byte }).collect();
    String::from_utf8(bytes).unwrap_or_else(|_| SUBTYPE.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_read_and_unescaped() {
        let line = br"52 29 0:45 / /mnt/my\040disk\134x ro,nosuid shared:3 master:1 - fuse.bygone s3:b\043c ro,user_id=1000,group_id=7";
        let row = row(line).unwrap();
        assert_eq!(row.device, (0, 45));
        assert_eq!(row.point, Path::new("/mnt/my disk\\x"));
        assert_eq!((row.kind.as_str(), row.source.as_str()), ("fuse.bygone", "s3:b#c"));
        assert!(row.is_ours() && row.is_fuse() && row.whole);
        assert_eq!(row.user, Some(1000));
    }

    #[test]
    fn strange_rows_are_skipped_or_foreign() {
        assert_eq!(row(b""), None);
        assert_eq!(row(b"1 2 3"), None);
        assert_eq!(row(b"1 2 x:y / / rw - ext4 /dev/vda rw"), None);
        for (kind, source, ours) in [
            ("fuse", "bygone", true),
            ("fuse", "sshfs", false),
            ("fuse.bygones", "bygone", false),
            ("ext4", "bygone", false),
        ] {
            let line = format!("1 2 0:3 / /x rw - {kind} {source} rw");
            assert_eq!(row(line.as_bytes()).unwrap().is_ours(), ours, "{line}");
        }
    }

    #[test]
    fn incomplete_escapes_stay_as_they_are() {
        assert_eq!(unescape(br"a\04"), r"a\04");
        assert_eq!(unescape(br"a\999b"), r"a\999b");
        assert_eq!(unescape(br"\"), r"\");
    }

    #[test]
    fn names_cannot_smuggle_options() {
        assert_eq!(clean_name("bygone:a,allow_other\\\n"), "bygone:a_allow_other__");
        assert_eq!(clean_name("Fotos für später"), "Fotos für später");
    }
}
