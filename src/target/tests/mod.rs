//! Real trees in scratch folders. Tests that need root say so and check what an ordinary user gets instead.
#![allow(clippy::unwrap_used)]

mod escape;
mod files;
mod links;
mod metadata;
mod ordinary;
mod race;
mod removal;

use crate::meta::Meta;
use crate::meta::Owner;
use crate::meta::Time;
use crate::target::Error;
use crate::target::Folder;
use crate::target::Obstacle;
use crate::target::Options;
use crate::target::Placed;
use crate::target::Target;
use rustix::fs::Gid;
use rustix::fs::Uid;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A target, and beside it a folder that must never change.
struct Scratch {
    dir: TempDir,
    before: Vec<String>,
}

impl Scratch {
    fn new() -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("sub")).unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        fs::write(outside.join("victim"), b"precious").unwrap();
        fs::write(outside.join("sub/deep"), b"precious too").unwrap();
        let mut scratch = Scratch { dir, before: Vec::new() };
        scratch.before = fingerprint(&scratch.outside());
        scratch
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn target(&self, options: Options) -> Target {
        Target::open(&self.root(), options).unwrap()
    }

    /// With `openat2` and with the way that does without.
    fn both(&self) -> [Target; 2] {
        [true, false].map(|openat2| Target::open_with(&self.root(), Options::default(), openat2).unwrap())
    }

    #[track_caller]
    fn assert_outside_untouched(&self) {
        assert_eq!(fingerprint(&self.outside()), self.before);
    }
}

/// Everything below a folder: names, contents, and the time of any change whatever.
fn fingerprint(folder: &Path) -> Vec<String> {
    let meta = fs::symlink_metadata(folder).unwrap();
    let mut lines = vec![format!(
        "{folder:?} {:o} {}:{} {} links, changed {}.{:09}, inode {}, {:?}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.ino(),
        if meta.is_file() { fs::read(folder).unwrap() } else { Vec::new() },
    )];
    if meta.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        lines.extend(entries.iter().flat_map(|path| fingerprint(path)));
    }
    lines
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn privileged() -> Options {
    Options { privileged: true, ..Options::default() }
}

/// Metadata of a node of ours.
fn meta(mode: u32) -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = Owner { uid, gid, ..Owner::default() };
    Meta { mode, owner: Arc::new(owner), mtime: Time { secs: 1_234_567, nanos: 89 }, ..Meta::default() }
}

fn root_folder(target: &Target) -> Arc<Folder> {
    target.folder(b"", Obstacle::Report).unwrap()
}

fn put(target: &Target, folder: &Arc<Folder>, name: &[u8], bytes: &[u8]) -> Result<Placed, Error> {
    let file = target.begin_file(folder, name, bytes.len() as u64)?;
    file.write_at(0, bytes)?;
    file.finish(&meta(0o644))
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Runs as an ordinary user: as we are, or in a thread that gives up being root.
fn as_ordinary_user(test: impl FnOnce() + Send) {
    const NOBODY: u32 = 65534;
    if !is_root() {
        return test();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A small file system of its own, or `None` where we may not mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path, options: &std::ffi::CStr) -> Option<Mounted> {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, Some(options)).ok()?;
        Some(Mounted(at.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
