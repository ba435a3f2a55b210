//! Snapshots made below a disk, so that it stands still while it is read: by LVM, Btrfs, ZFS, or a command of the
//! user's. Each is removed when its [`Capture`] is dropped.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::out;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use std::time::Instant;

/// The root folder of every Btrfs subvolume has this number.
const BTRFS_ROOT_INODE: u64 = 256;
/// Where ZFS shows its volumes.
const ZVOLS: &str = "/dev/zvol/";
/// How long a device may take to appear.
const DEVICE_WAIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who makes the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Lvm,
    Btrfs,
    Zfs,
    /// A shell command.
    Command(String),
}

impl FromStr for Method {
    type Err = Infallible;

    fn from_str(text: &str) -> std::result::Result<Method, Infallible> {
        Ok(match text {
            "lvm" => Method::Lvm,
            "btrfs" => Method::Btrfs,
            "zfs" => Method::Zfs,
            command => Method::Command(command.to_owned()),
        })
    }
}

/// A disk that stands still.
pub(super) struct Capture {
    /// Where to read it.
    read: PathBuf,
    /// Removes it; nothing once that was tried.
    remove: Option<Command>,
    as_json: bool,
}

impl Capture {
    /// Makes a snapshot of what `disk` lies on. `disk` is absolute.
    pub(super) fn take(method: &Method, disk: &Path, as_json: bool) -> Result<Capture> {
        let random = getrandom::u64().map_err(|error| fault(disk, error.to_string()))?;
        let name = format!("bygone-{random:016x}");
        let capture = |read, remove| Capture { read, remove: Some(remove), as_json };
        match method {
            Method::Lvm => lvm(disk, &name, capture),
            Method::Btrfs => btrfs(disk, &name, capture),
            Method::Zfs => zfs(disk, &name, capture),
            Method::Command(command) => {
                let shell = |verb: &str| {
                    let mut shell = program("sh", ["-c", command]);
                    shell.env("BYGONE_DO", verb).env("BYGONE_SOURCE", disk).env("BYGONE_NAME", &name);
                    shell
                };
                let said = run(disk, shell("make"))?;
                let path = said.lines().next_back().filter(|line| !line.is_empty());
                let mut remove = shell("remove");
                remove.env("BYGONE_SNAPSHOT", path.unwrap_or_default());
                let made = capture(PathBuf::from(path.unwrap_or_default()), remove);
                match path {
                    Some(_) => Ok(made),
                    None => Err(fault(disk, "the command printed no path to read from".to_owned())),
                }
            }
        }
    }

    /// Where to read the disk instead.
    pub(super) fn path(&self) -> &Path {
        &self.read
    }
}

impl Capture {
    /// Removes the snapshot. False, and a warning, if that fails.
    pub(super) fn release(mut self) -> bool {
        self.remove_once()
    }

    fn remove_once(&mut self) -> bool {
        let Some(mut remove) = self.remove.take() else { return true };
        let removed = said(&mut remove);
        if let Err(said) = &removed {
            let path = self.read.display();
            out::warning(self.as_json, format_args!("the snapshot '{path}' could not be removed: {said}"));
        }
        removed.is_ok()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.remove_once();
    }
}

fn lvm(disk: &Path, name: &str, capture: impl Fn(PathBuf, Command) -> Capture) -> Result<Capture> {
    let columns = ["--noheadings", "--separator", "/", "--options", "vg_name,lv_name,pool_lv"].map(OsStr::new);
    let told = run(disk, program("lvs", [&columns[..], &[disk.as_os_str()]].concat()))?;
    let mut fields = told.trim().split('/');
    let (Some(group), Some(volume), pool) = (fields.next(), fields.next(), fields.next().unwrap_or("")) else {
        return Err(fault(disk, format!("lvs answers '{}'", told.trim())));
    };
    let origin = format!("{group}/{volume}");
    // A thin volume shares the room of its pool, any other needs room for what is written meanwhile.
    let rooms: &[&[&str]] = match pool {
        "" => &[&["--extents", "20%ORIGIN"], &["--extents", "100%FREE"]],
        _ => &[&["--setactivationskip", "n"]],
    };
    let make = |room: &[&str]| {
        let words = ["--yes", "--snapshot", "--permission", "r", "--name", name];
        run(disk, program("lvcreate", [&words[..], room, &[&origin]].concat()))
    };
    let mut made = make(rooms[0]);
    for room in &rooms[1..] {
        made = made.or_else(|_| make(room));
    }
    made?;
    let made = capture(
        PathBuf::from(format!("/dev/{group}/{name}")),
        program("lvremove", ["--yes".to_owned(), format!("{group}/{name}")]),
    );
    wait_for(disk, made)
}

fn btrfs(disk: &Path, name: &str, capture: impl Fn(PathBuf, Command) -> Capture) -> Result<Capture> {
    // Each subvolume has a device number of its own: another file system may be mounted in between.
    let device = disk.symlink_metadata().map_err(|error| fault(disk, error.to_string()))?.dev();
    let is_root = |path: &&Path| {
        path.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == (device, BTRFS_ROOT_INODE))
    };
    let subvolume = disk.ancestors().skip(1).find(is_root);
    let subvolume = subvolume.ok_or_else(|| fault(disk, "it does not lie in a Btrfs subvolume".to_owned()))?;
    let snapshot = subvolume.join(format!(".{name}"));
    let words = ["subvolume", "snapshot", "-r"].map(OsStr::new);
    run(disk, program("btrfs", [&words[..], &[subvolume.as_os_str(), snapshot.as_os_str()]].concat()))?;
    let inside = disk.strip_prefix(subvolume).unwrap_or(disk);
    let words = [OsStr::new("subvolume"), OsStr::new("delete"), snapshot.as_os_str()];
    Ok(capture(snapshot.join(inside), program("btrfs", words)))
}

fn zfs(disk: &Path, name: &str, capture: impl Fn(PathBuf, Command) -> Capture) -> Result<Capture> {
    if let Ok(volume) = disk.strip_prefix(ZVOLS) {
        let volume = volume.display();
        let (snapshot, clone) = (format!("{volume}@{name}"), format!("{volume}-{name}"));
        run(disk, program("zfs", ["snapshot", &snapshot]))?;
        // A clone is shown as a device whatever the volume's settings; it goes with its snapshot.
        let made = capture(Path::new(ZVOLS).join(&clone), program("zfs", ["destroy", "-R", &snapshot]));
        run(disk, program("zfs", ["clone", &snapshot, &clone]))?;
        return wait_for(disk, made);
    }
    let words = ["list", "-H", "-o", "name,mountpoint"].map(OsStr::new);
    let told = run(disk, program("zfs", [&words[..], &[disk.as_os_str()]].concat()))?;
    let (dataset, point) = told.trim_end().split_once('\t').unwrap_or_default();
    let inside = disk.strip_prefix(point).ok().filter(|_| !dataset.is_empty());
    let inside = inside.ok_or_else(|| fault(disk, format!("zfs answers '{}'", told.trim())))?;
    let snapshot = format!("{dataset}@{name}");
    run(disk, program("zfs", ["snapshot", &snapshot]))?;
    let read = Path::new(point).join(".zfs/snapshot").join(name).join(inside);
    Ok(capture(read, program("zfs", ["destroy", &snapshot])))
}

/// Waits until the device of a snapshot is there: the system makes it a little later.
fn wait_for(disk: &Path, made: Capture) -> Result<Capture> {
    let began = Instant::now();
    while !made.read.exists() {
        if began.elapsed() > DEVICE_WAIT {
            return Err(fault(disk, format!("its snapshot '{}' does not appear", made.read.display())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(made)
}

fn program<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(name);
    // Ctrl-C ends the backup, which then removes the snapshot: not the command that does so.
    command.args(words).stdin(Stdio::null()).process_group(0);
    command
}

/// What a command prints. Fails with what it says if it fails.
fn run(disk: &Path, mut command: Command) -> Result<String> {
    said(&mut command).map_err(|said| fault(disk, said))
}

fn said(command: &mut Command) -> std::result::Result<String, String> {
    let name = command.get_program().display().to_string();
    let ended = command.output().map_err(|error| format!("cannot start '{name}': {error}"))?;
    if ended.status.success() {
        return Ok(OsString::from(OsStr::from_bytes(&ended.stdout)).to_string_lossy().into_owned());
    }
    let words = String::from_utf8_lossy(&ended.stderr);
    Err(format!("'{name}' ended with {}: {}", ended.status, words.trim()))
}

fn fault(disk: &Path, said: String) -> super::error::CommandError {
    Fault::Capture { path: disk.to_owned(), said }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_snapshots() {
        assert_eq!("lvm".parse(), Ok(Method::Lvm));
        assert_eq!("snap.sh disk".parse(), Ok(Method::Command("snap.sh disk".to_owned())));
    }

    #[test]
    fn a_command_makes_and_removes() {
        let scratch = tempfile::tempdir().unwrap();
        let disk = scratch.path().join("disk");
        std::fs::write(&disk, "content").unwrap();
        let command = "case $BYGONE_DO in
            make) cp \"$BYGONE_SOURCE\" \"$BYGONE_SOURCE.$BYGONE_NAME\" && echo \"$BYGONE_SOURCE.$BYGONE_NAME\";;
            remove) rm \"$BYGONE_SNAPSHOT\";;
        esac";
        let capture = Capture::take(&Method::Command(command.to_owned()), &disk, false).unwrap();
        let copy = capture.path().to_owned();
        assert_eq!(std::fs::read(&copy).unwrap(), b"content");
        drop(capture);
        assert!(!copy.exists() && disk.exists());
        for silent in ["true", "echo gone >&2; false"] {
            assert!(Capture::take(&Method::Command(silent.to_owned()), &disk, false).is_err(), "{silent}");
        }
    }
}
