//! How drives come and go.

use crate::shown::is_mounted;
use crate::shown::show;
use crate::strangers::start_show;
use bygone_mount::drive::ROOT;
use bygone_mount::fuse;
use bygone_mount::fuse::MountError;
use bygone_mount::fuse::MountOptions;
use bygone_mount::fuse::UnmountError;
use bygone_mount::fuse::Unmounted;
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::pattern;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::kill_process;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longer than any drive that lives needs to answer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> MemoryBuilder {
    let mut builder = MemoryBuilder::new();
    builder.file(ROOT, "f", "content");
    builder
}

fn try_mount(at: &Path) -> Result<fuse::Session, MountError> {
    let runtime = Runtime::new().unwrap();
    fuse::mount(Arc::new(small().build()), at, &MountOptions::default(), runtime.handle().clone())
}

#[test]
fn unmounting_is_clean_and_may_be_repeated() {
    let shown = show(small());
    assert_eq!(fs::read(shown.path("f")).unwrap(), b"content");
    assert!(is_mounted(shown.dir.path()));
    assert_eq!(shown.session.unmount().unwrap(), Unmounted::Clean);
    assert!(!is_mounted(shown.dir.path()));
    assert_eq!(fs::read_dir(shown.dir.path()).unwrap().count(), 0);
    assert_eq!(shown.session.unmount().unwrap(), Unmounted::Clean);
    shown.session.wait().unwrap();
}

#[test]
fn dropping_unmounts() {
    let crate::shown::Shown { session, dir, runtime: _runtime } = show(small());
    assert!(is_mounted(dir.path()));
    drop(session);
    assert!(!is_mounted(dir.path()));
}

#[test]
fn unmounting_from_outside_ends_waiting() {
    for tool in [["fusermount3", "-u"], ["umount", "--"]] {
        let shown = show(small());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| shown.session.wait());
            assert!(Command::new(tool[0]).arg(tool[1]).arg(shown.dir.path()).status().unwrap().success());
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(shown.session.unmount().unwrap(), Unmounted::Clean);
    }
}

#[test]
fn a_drive_in_use_goes_out_of_sight_and_serves_to_the_end() {
    let mut builder = MemoryBuilder::new();
    builder.pattern_file(ROOT, "big", 64 << 20);
    let shown = show(builder);
    let file = File::open(shown.path("big")).unwrap();
    let busy = fuse::unmount(shown.dir.path(), false);
    assert!(matches!(busy, Err(UnmountError::Busy { .. })), "{busy:?}");
    assert_eq!(shown.session.unmount().unwrap(), Unmounted::Lazy);
    assert!(!is_mounted(shown.dir.path()));
    let mut buffer = [0; 1000];
    file.read_exact_at(&mut buffer, 50 << 20).unwrap();
    assert_eq!(buffer[..], pattern(50 << 20, 1000));
    // What is mounted here next is not ours to take away.
    let next = try_mount(shown.dir.path()).unwrap();
    assert_eq!(shown.session.unmount().unwrap(), Unmounted::Lazy);
    assert!(is_mounted(next.mount_point()));
    drop(file);
    shown.session.wait().unwrap();
    assert_eq!(shown.session.unmount().unwrap(), Unmounted::Clean);
    assert!(is_mounted(next.mount_point()));
    drop(next);
}

#[test]
fn drives_are_listed_and_unmounted_by_path() {
    let parent = tempfile::tempdir().unwrap();
    let at = parent.path().join("my\tdrive with \\ and #");
    fs::create_dir(&at).unwrap();
    let runtime = Runtime::new().unwrap();
    let options = MountOptions { fs_name: "bygone:a,b".to_owned(), ..MountOptions::default() };
    let session = fuse::mount(Arc::new(small().build()), &at, &options, runtime.handle().clone()).unwrap();
    let listed = fuse::mounts().unwrap().into_iter().find(|mount| mount.mount_point == at).unwrap();
    assert_eq!((listed.source.as_str(), listed.subtype.as_str()), ("bygone:a_b", "bygone"));
    assert_eq!(fuse::pulses(&[listed], PATIENCE), [fuse::Pulse::Alive]);
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&at, &link).unwrap();
    fuse::unmount(&link, false).unwrap();
    session.wait().unwrap();
    for path in [at.as_path(), Path::new("/"), Path::new("/no/such/folder")] {
        let refused = fuse::unmount(path, true);
        assert!(matches!(refused, Err(UnmountError::NotMounted { .. })), "{path:?}: {refused:?}");
    }
}

#[test]
fn unfit_mount_points_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(matches!(try_mount(&missing), Err(MountError::Missing { path }) if path == missing));
    assert!(matches!(try_mount(dir.path()).map(drop), Ok(())));
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(try_mount(&file), Err(MountError::NotAFolder { path }) if path == file));
    assert!(matches!(try_mount(&file.join("below")), Err(MountError::NotAFolder { .. })));
    assert!(matches!(try_mount(dir.path()), Err(MountError::NotEmpty { .. })));
    assert!(!is_mounted(dir.path()));
}

#[test]
fn a_living_drive_is_not_mounted_over() {
    let shown = show(small());
    let refused = try_mount(shown.dir.path());
    assert!(matches!(&refused, Err(MountError::AlreadyMounted { source_name, .. }) if source_name == "bygone"));
    assert_eq!(fs::read(shown.path("f")).unwrap(), b"content");
}

#[test]
fn a_dead_drive_is_told_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_show(dir.path(), None);
    assert_eq!(fs::read(dir.path().join("hello")).unwrap(), b"Hello from the drive\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let dead = fuse::mounts().unwrap().into_iter().find(|mount| mount.mount_point == path).unwrap();
    assert!(dead.source == "bygone-show", "{dead:?}");
    assert_eq!(fuse::pulses(&[dead], PATIENCE), [fuse::Pulse::Dead]);
    let runtime = Runtime::new().unwrap();
    let options = MountOptions::default();
    let session = fuse::mount(Arc::new(small().build()), dir.path(), &options, runtime.handle().clone()).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"content");
    session.unmount().unwrap();
    assert!(!is_mounted(&path), "the dead drive is still there");
}

#[test]
fn a_stopped_drive_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_show(dir.path(), None);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    let drives: Vec<_> = fuse::mounts().unwrap().into_iter().filter(|d| d.source == "bygone-show").collect();
    let at = dir.path().canonicalize().unwrap();
    let ours = drives.iter().position(|drive| drive.mount_point == at).unwrap();
    assert_eq!(fuse::pulses(&drives, Duration::from_millis(50))[ours], fuse::Pulse::Silent);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(fuse::pulses(&drives, PATIENCE)[ours], fuse::Pulse::Alive);
    // The thread that was told nothing may be looking still.
    fuse::unmount(dir.path(), true).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_dead_drive_is_unmounted_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_show(dir.path(), None);
    child.kill().unwrap();
    child.wait().unwrap();
    fuse::unmount(dir.path(), false).unwrap();
    assert!(!is_mounted(dir.path()));
}
