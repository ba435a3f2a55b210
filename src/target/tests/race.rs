//! Somebody exchanges a folder and a link to the outside, again and again, while files are restored.

use super::Scratch;
use super::meta;
use super::put;
use crate::target::Error;
use crate::target::Obstacle;
use crate::target::Removal;
use crate::target::Target;
use rustix::fs::RenameFlags;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

const FILES_COUNT: u32 = 2000;

/// Flips `a` and `evil` until told to stop; tells of the first flip. Plants the link again where it was removed.
fn flip(root: &Path, outside: &Path, stop: &AtomicBool, first: &mpsc::Sender<()>) {
    let at = fs::File::open(root).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let _ = symlink(outside, root.join("evil"));
        if rustix::fs::renameat_with(&at, "a", &at, "evil", RenameFlags::EXCHANGE).is_ok() {
            let _ = first.send(());
        }
    }
}

/// Errors that a changing target may cause; anything else is a fault.
fn is_honest(error: &Error) -> bool {
    matches!(error, Error::NotAFolder { .. } | Error::Changed { .. } | Error::FolderInTheWay { .. })
        || error.is_not_found()
        || matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory)
}

/// Restores one file with all that goes with it, each through a path that may lead elsewhere by now.
fn use_every_door(target: &Target, number: u32, obstacle: Obstacle) -> Vec<Result<(), Error>> {
    let name = format!("deep{number}").into_bytes();
    let path = [b"a/sub/", &name[..]].concat();
    let restored = target.folder(b"a/sub", obstacle).and_then(|folder| {
        let placed = put(target, &folder, &name, b"restored")?;
        target.symlink(&folder, b"link", b"/etc/passwd", &meta(0o777))?;
        target.hard_link(&path, placed.id, &folder, b"deep")
    });
    let gone = |removed: Result<u64, Error>| removed.map(|_| ());
    vec![
        restored,
        target.finish_folder(b"a/sub", &meta(0o750)).map(|_| ()),
        target.state(b"a/victim").map(|_| ()),
        target.open_existing(b"a/victim").map(|_| ()),
        gone(target.remove(b"a/sub/deep", Removal::Node)),
        gone(target.remove(b"a/victim", Removal::Tree)),
        if number.is_multiple_of(64) { gone(target.remove(b"a/sub", Removal::Tree)) } else { Ok(()) },
    ]
}

fn race(openat2: bool, obstacle: Obstacle) {
    let scratch = Scratch::new();
    let target = Target::open_with(&scratch.root(), crate::target::Options::default(), openat2).unwrap();
    fs::create_dir_all(scratch.at("a/sub")).unwrap();
    let stop = AtomicBool::new(false);
    let (first, flipped) = mpsc::channel();
    let results = std::thread::scope(|scope| {
        let (root, outside) = (scratch.root(), scratch.outside());
        let stop = &stop;
        scope.spawn(move || flip(&root, &outside, stop, &first));
        flipped.recv().unwrap();
        let all = (0..FILES_COUNT).flat_map(|number| use_every_door(&target, number, obstacle)).collect::<Vec<_>>();
        stop.store(true, Ordering::Relaxed);
        all
    });
    scratch.assert_outside_untouched();
    let done_count = results.iter().filter(|result| result.is_ok()).count();
    assert!(done_count > 0, "the folder is there half of the time");
    let faults: Vec<_> = results.into_iter().filter_map(Result::err).filter(|error| !is_honest(error)).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn flipping_while_links_are_reported() {
    race(true, Obstacle::Report);
}

#[test]
fn flipping_while_links_are_replaced() {
    race(true, Obstacle::Replace);
}

#[test]
fn flipping_without_openat2() {
    race(false, Obstacle::Report);
    race(false, Obstacle::Replace);
}
