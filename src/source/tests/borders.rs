//! Where the walk begins and where it ends: roots, other file systems, folders that cannot be read.

use crate::source::Error;
use crate::source::Options;
use crate::source::Step;
use crate::source::tests::below;
use crate::source::tests::found;
use crate::source::tests::inside;
use crate::source::tests::options;
use crate::source::tests::steps;
use crate::source::tests::tree;
use crate::source::why;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

/// A file system mounted for a test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, at: PathBuf) -> Option<Mounted> {
        let mounted = rustix::mount::mount(kind, &at, kind, MountFlags::empty(), None);
        mounted.is_ok().then_some(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn paths(steps: &[Step]) -> Vec<Vec<u8>> {
    found(steps).map(|found| found.path()).collect()
}

#[test]
fn ancestors_come_with_nothing_but_the_way_to_the_roots() {
    let root = tree(&["a/b/x", "a/c/y", "a/z", "d"]);
    let at = |name: &str| root.path().join(name);
    let roots = vec![at("a/c"), at("a/b/x"), at("d"), at("a/c/y"), at("d")];
    let steps = steps(&Options { roots, ..options(root.path()) });
    let mut expected: Vec<_> = root.path().ancestors().map(|path| inside(&path.join("_"))).collect();
    expected.reverse();
    let mut expected: Vec<_> = expected.iter().map(|path| crate::path::split(path).0.to_vec()).collect();
    expected.extend(["a", "d", "a/b", "a/c", "a/b/x", "a/c/y"].map(|name| inside(&at(name))));
    assert_eq!(paths(&steps), expected);
}

#[test]
fn rules_are_anchored_at_every_root() {
    let root = tree(&["one/x", "one/d/x", "two/x", "two/d/x"]);
    let roots = vec![root.path().join("one"), root.path().join("two")];
    let options = Options { roots, excludes: vec!["/x".into()], ..options(root.path()) };
    let rule = |path: &str| format!("{path}: {}", why::RULE);
    let expected = ["one", "two", "one/d", &rule("one/x"), "one/d/x", "two/d", &rule("two/x"), "two/d/x"];
    assert_eq!(below(&steps(&options), root.path()), expected);
}

#[test]
fn relative_roots_and_links_to_folders_stand_for_the_folder() {
    let root = tree(&["real/x", "file"]);
    let at = |name: &str| root.path().join(name);
    std::os::unix::fs::symlink("real", at("way")).unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("broken")).unwrap();
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let relative = PathBuf::from(format!("{up}{}", at("real/../way").strip_prefix("/").unwrap().display()));
    let by_way = Options { roots: vec![relative], ..options(root.path()) };
    assert_eq!(below(&steps(&by_way), root.path()), ["real", "real/x"]);
    let links = Options { roots: vec![at("link"), at("broken")], ..options(root.path()) };
    assert_eq!(below(&steps(&links), root.path()), ["broken", "link"]);
}

#[test]
fn missing_roots_and_no_roots_are_errors() {
    let missing = crate::source::walk(&options(Path::new("/nowhere/at/all")));
    assert!(matches!(missing, Err(Error::Root { path, .. }) if path == Path::new("/nowhere/at/all")));
    assert!(matches!(crate::source::walk(&Options::default()), Err(Error::NoRoots)));
    let both = vec!["/nowhere/first".into(), "/nowhere/then".into()];
    let missing = crate::source::walk(&Options { roots: both, ..Options::default() });
    assert!(matches!(missing, Err(Error::Root { path, .. }) if path == Path::new("/nowhere/first")));
}

#[test]
fn a_missing_root_is_told_and_the_others_are_walked() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "x").unwrap();
    let options = Options { roots: vec!["/nowhere/at/all".into(), root.path().to_owned()], ..options(root.path()) };
    let steps = steps(&options);
    let problems: Vec<_> = steps.iter().filter(|step| matches!(step, Step::Problem { .. })).collect();
    let [Step::Problem { path, error: Error::Root { .. } }] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(path, b"nowhere/at/all");
    assert!(steps.iter().any(|step| matches!(step, Step::Found(found) if found.path().ends_with(b"/file"))));
    let walked = crate::source::roots_of(&options).unwrap();
    let wanted = crate::source::wanted_roots(&options).unwrap();
    assert_eq!((walked.len(), wanted.len()), (1, 2));
}

#[test]
fn links_below_a_root_are_not_followed() {
    let root = tree(&["real/x"]);
    std::os::unix::fs::symlink("real", root.path().join("loop")).unwrap();
    assert_eq!(below(&steps(&options(root.path())), root.path()), ["loop", "real", "real/x"]);
}

#[test]
fn pseudo_file_systems_are_kept_as_empty_folders() {
    let excludes = ["/*", "!/proc", "!/sys", "!/dev"].map(str::to_owned).to_vec();
    let steps = steps(&Options { excludes, ..options(Path::new("/")) });
    assert!(paths(&steps).contains(&b"proc".to_vec()));
    assert!(!paths(&steps).iter().any(|path| path.starts_with(b"proc/") || path.starts_with(b"sys/")));
    let is_skip = |step: &Step| matches!(step, Step::Skipped { path, why } if path == b"proc" && *why == why::PSEUDO);
    assert!(steps.iter().any(is_skip));
}

#[test]
fn a_pseudo_file_system_as_root_is_no_exception() {
    let steps = steps(&options(Path::new("/proc")));
    assert_eq!(paths(&steps), [b"".to_vec(), b"proc".to_vec()]);
    assert!(matches!(steps.last(), Some(Step::Skipped { why: why::PSEUDO, .. })));
}

#[test]
fn other_file_systems_are_entered_unless_told_not_to() {
    let root = tree(&["tmp/", "proc/", "z"]);
    let (Some(memory), Some(_state)) =
        (Mounted::new("tmpfs", root.path().join("tmp")), Mounted::new("proc", root.path().join("proc")))
    else {
        println!("mounting is not permitted here: crossing file systems below a root was not tested");
        return;
    };
    fs::create_dir(memory.0.join("d")).unwrap();
    fs::write(memory.0.join("d/x"), b"").unwrap();
    let shut = |path: &str, why: &str| format!("{path}: {why}");
    let all = ["proc", "tmp", "z", &shut("proc", why::PSEUDO), "tmp/d", "tmp/d/x"];
    assert_eq!(below(&steps(&options(root.path())), root.path()), all);
    let one = Options { one_file_system: true, ..options(root.path()) };
    let expected = ["proc", "tmp", "z", &shut("proc", why::OTHER), &shut("tmp", why::OTHER)];
    assert_eq!(below(&steps(&one), root.path()), expected);
    // The way to a root may lead over other file systems.
    let inner = Options { roots: vec![memory.0.join("d")], ..one };
    assert_eq!(below(&steps(&inner), root.path()), ["tmp", "tmp/d", "tmp/d/x"]);
}

#[test]
fn mount_points_of_large_folders_are_noticed_too() {
    let root = tree(&["mounted/"]);
    for n in 0..1500 {
        fs::write(root.path().join(n.to_string()), b"").unwrap();
    }
    let Some(_state) = Mounted::new("proc", root.path().join("mounted")) else {
        println!("mounting is not permitted here: crossing file systems in a large folder was not tested");
        return;
    };
    let lines = below(&steps(&options(root.path())), root.path());
    assert_eq!(lines.last(), Some(&format!("mounted: {}", why::PSEUDO)));
    assert_eq!(lines.len(), 1502);
}

/// Walks as somebody without rights: on a thread of its own, with no other threads.
fn steps_as_nobody(options: Options) -> Result<Vec<Step>, Error> {
    let walk = move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        crate::source::walk(&Options { threads: 0, ..options }).map(Iterator::collect)
    };
    std::thread::spawn(walk).join().unwrap()
}

#[test]
fn folders_that_cannot_be_read_are_told_and_kept_and_such_roots_are_errors() {
    let root = tree(&["shut/x", "blind/x", "open/x"]);
    let allow = |name: &str, mode| {
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    allow("", 0o755);
    allow("shut", 0o000);
    // Its names can be read, but nothing about them.
    allow("blind", 0o444);
    let steps = steps_as_nobody(options(root.path())).unwrap();
    let lines = below(&steps, root.path());
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[..3], ["blind", "open", "shut"]);
    assert!(lines[3].starts_with("blind/x: Failed { verb: \"look at it\""), "{lines:?}");
    assert_eq!(lines[4], "open/x");
    assert!(lines[5].starts_with("shut: Failed { verb: \"list it\""), "{lines:?}");
    let refused = steps_as_nobody(options(&root.path().join("shut")));
    assert!(matches!(refused, Err(Error::Root { .. })));
    allow("shut", 0o755);
    allow("blind", 0o755);
}
