//! Order and completeness: the walk against a sorted model, on random, wide and deep trees.

use crate::path::NameError;
use crate::source::Error;
use crate::source::Options;
use crate::source::Owners;
use crate::source::Step;
use crate::source::os;
use crate::source::tests::below;
use crate::source::tests::found;
use crate::source::tests::inside;
use crate::source::tests::options;
use crate::source::tests::steps;
use crate::source::tests::tree;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const AWKWARD: &[&[u8]] = &[
    b"a",
    b"a!",
    b"a b",
    b"b",
    b"a-",
    b"aa",
    b"\xff\xfe",
    b"line\nfeed",
    b" ",
    b"...",
    b"\xc3\xa9",
    b"Z",
    b"~",
    b"\x01",
];

/// A small generator, so that a failing tree can be made again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn grow(folder: &Path, depth: u64, dice: &mut Dice) {
    for _ in 0..dice.roll(12) {
        let awkward = AWKWARD[usize::try_from(dice.roll(AWKWARD.len() as u64)).unwrap()];
        let mut name = awkward.to_vec();
        if dice.roll(2) == 0 {
            name.extend_from_slice(AWKWARD[usize::try_from(dice.roll(5)).unwrap()]);
        }
        let path = folder.join(os::text(&name));
        if dice.roll(3) == 0 && depth < 6 {
            // Taken names fail, which is as good.
            if fs::create_dir(&path).is_ok() {
                grow(&path, depth + 1, dice);
            }
        } else if !path.exists() {
            fs::write(&path, b"x").unwrap();
        }
    }
}

/// All nodes the plain way, sorted by (parent, name).
fn model(root: &Path) -> Vec<Vec<u8>> {
    let mut all = vec![inside(root)];
    all.extend(root.ancestors().skip(1).map(inside_or_top));
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            all.push(inside(&entry.path()));
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all.sort_by(|a, b| {
        let ((a_parent, a_name), (b_parent, b_name)) = (crate::path::split(a), crate::path::split(b));
        crate::path::compare(a_parent, b_parent).then(a_name.cmp(b_name))
    });
    all
}

fn inside_or_top(path: &Path) -> Vec<u8> {
    if path == Path::new("/") { Vec::new() } else { inside(path) }
}

fn assert_like_model(root: &Path, threads: usize) {
    let steps = steps(&Options { threads, ..options(root) });
    assert!(steps.iter().all(|step| matches!(step, Step::Found(_))), "{steps:?}");
    let paths: Vec<_> = found(&steps).map(|found| found.path()).collect();
    assert_eq!(paths, model(root));
}

#[test]
fn random_trees_come_in_the_order_of_the_page_tree() {
    for seed in 1..60 {
        let root = tempfile::tempdir().unwrap();
        grow(root.path(), 0, &mut Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
        assert_like_model(root.path(), usize::try_from(seed % 4).unwrap());
    }
}

#[test]
fn children_come_before_grandchildren_and_a_slash_sorts_before_all() {
    let root = tree(&["a/x", "a!/x", "a/b/c", "b"]);
    let expected = ["a", "a!", "b", "a/b", "a/x", "a/b/c", "a!/x"];
    assert_eq!(below(&steps(&options(root.path())), root.path()), expected);
}

#[test]
fn large_folders_with_folders_among_the_files_keep_the_order() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..5000 {
        let path = root.path().join(format!("{}", n * 7919 % 5000));
        if n % 10 == 0 {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("in"), b"").unwrap();
        } else {
            fs::write(path, b"").unwrap();
        }
    }
    for threads in [0, 1, 4] {
        assert_like_model(root.path(), threads);
    }
}

#[test]
fn a_folder_of_two_hundred_thousand_files() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..200_000 {
        drop(fs::File::create(root.path().join(format!("file-{n}"))).unwrap());
    }
    let mut last = Vec::new();
    let mut count = 0;
    for step in crate::source::walk(&options(root.path())).unwrap() {
        let Step::Found(found) = step else { panic!("{step:?}") };
        if found.stat.is_file() {
            assert!(found.name > last);
            last = found.name;
            count += 1;
        }
    }
    assert_eq!(count, 200_000);
}

/// Makes a chain of folders and gives a handle of the last.
fn chain(root: &Path, names: impl Iterator<Item = String>) -> os::Handle {
    let open = OFlags::PATH | OFlags::DIRECTORY;
    let top = rustix::fs::openat(CWD, root, open, Mode::empty()).unwrap();
    names.fold(top, |here, name| {
        rustix::fs::mkdirat(&here, &name, Mode::RWXU).unwrap();
        rustix::fs::openat(&here, &name, open, Mode::empty()).unwrap()
    })
}

#[test]
fn a_tree_of_three_thousand_levels_is_read_to_its_end() {
    let root = tempfile::tempdir().unwrap();
    let bottom = chain(root.path(), (0..3000).map(|n| format!("level{n:04}")));
    let create = OFlags::WRONLY | OFlags::CREATE;
    let file = rustix::fs::openat(&bottom, "treasure", create, Mode::RWXU).unwrap();
    rustix::io::write(&file, b"found").unwrap();
    let steps = steps(&options(root.path()));
    // All folders but the last ones were closed long ago.
    let last = found(&steps).last().unwrap();
    let mut text = String::new();
    last.open().unwrap().read_to_string(&mut text).unwrap();
    last.clone().complete(&Owners::default()).unwrap();
    let middle = found(&steps).nth(1500).unwrap();
    middle.clone().complete(&Owners::default()).unwrap();
    assert_eq!((text.as_str(), last.name.as_slice()), ("found", &b"treasure"[..]));
    assert_eq!(found(&steps).count(), 3001 + root.path().ancestors().count());
    assert!(Command::new("rm").arg("-rf").arg(root.path()).status().unwrap().success());
}

#[test]
fn paths_too_long_for_a_snapshot_are_told_and_the_walk_goes_on() {
    let root = tempfile::tempdir().unwrap();
    chain(root.path(), (0..140).map(|n| format!("{n:0240}")));
    fs::write(root.path().join("z"), b"").unwrap();
    let steps = steps(&options(root.path()));
    let problems = steps.iter().filter(|step| {
        matches!(step, Step::Problem { error: Error::Name(NameError::TooLong), path } if path.len() > crate::path::PATH_BYTES_MAX)
    });
    assert_eq!(problems.count(), 1);
    assert!(found(&steps).all(|found| crate::path::check_path(&found.path()).is_ok()));
    assert!(found(&steps).any(|found| found.name == b"z"));
    assert!(Command::new("rm").arg("-rf").arg(root.path()).status().unwrap().success());
}

#[test]
fn a_dropped_walk_leaves_no_thread() {
    let mut walk = crate::source::walk(&Options { threads: 3, ..options(Path::new("/usr")) }).unwrap();
    assert!(walk.by_ref().take(10).all(|step| matches!(step, Step::Found(_))));
    let plan = walk.plan();
    drop(walk);
    assert_eq!(Arc::strong_count(&plan), 1);
}

#[test]
fn a_slow_caller_stops_the_reading_ahead() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..30_000 {
        drop(fs::File::create(root.path().join(n.to_string())).unwrap());
    }
    let mut walk = crate::source::walk(&options(root.path())).unwrap();
    assert!(walk.next().is_some());
    // The threads work until they may not, or have done all.
    let ahead = loop {
        let (ahead, idle, is_over) = walk.ahead();
        if is_over || idle == 2 && ahead > 4096 {
            break ahead;
        }
        std::thread::yield_now();
    };
    // The last piece may exceed its share by the nodes of one folder.
    assert!(ahead > 4096 && ahead <= 8192 + 1024, "{ahead}");
    assert_eq!(1 + walk.count(), 30_000 + 1 + root.path().ancestors().count() - 1);
}
