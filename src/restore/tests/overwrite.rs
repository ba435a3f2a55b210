//! What was there before, under each rule.

use super::*;
use crate::restore::Overwrite;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

const ALL: [Overwrite; 4] = [Overwrite::Never, Overwrite::IfNewer, Overwrite::IfChanged, Overwrite::Always];

fn set_time(path: &Path, time: Time) {
    let time = rustix::fs::Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[tokio::test]
async fn files_are_replaced_by_the_rules() {
    let mut model = Model::new();
    let large = noise("l", CHUNK_BYTES * 2);
    for name in ["same", "newer", "older", "longer", "large-same", "large-older"] {
        let bytes = if name.starts_with("large") { &large[..] } else { b"snapshot" };
        model.file(name, bytes);
    }
    let stored = model.store().await;
    for overwrite in ALL {
        let (_dir, to) = target();
        fs::create_dir(&to).unwrap();
        for name in model.paths() {
            let entry = &model.entries[&name];
            let mut time = entry.meta.mtime;
            let mut mine = vec![b'm'; entry.len as usize];
            match name.rsplit('-').next().unwrap() {
                "newer" => time.secs += 1,
                "older" => time.nanos = time.nanos.checked_sub(1).unwrap(),
                "longer" => mine.push(b'm'),
                _ => {}
            }
            fs::write(to.join(&name), mine).unwrap();
            set_time(&to.join(&name), time);
        }
        let summary = stored.restore("", &to, &Options { overwrite, ..Options::default() }).await;
        let replaced: &[&str] = match overwrite {
            Overwrite::Never => &[],
            Overwrite::IfNewer => &["older", "large-older"],
            Overwrite::IfChanged => &["newer", "older", "longer", "large-older"],
            Overwrite::Always => &["same", "newer", "older", "longer", "large-same", "large-older"],
        };
        for name in model.paths() {
            let is_mine = fs::read(to.join(&name)).unwrap()[0] == b'm';
            assert_eq!(is_mine, !replaced.contains(&name.as_str()), "{overwrite:?} {name}");
        }
        assert_eq!((summary.written, summary.unchanged), (replaced.len() as u64, 6 - replaced.len() as u64));
    }
}

#[tokio::test]
async fn things_of_another_kind_in_the_way() {
    let mut model = Model::new();
    model.file("file", b"f");
    model.link("link", "somewhere");
    model.folder("folder", 0o755);
    model.file("folder/inside", b"i");
    model.folder("folder/sub", 0o755);
    model.file("folder/sub/deep", b"d");
    let stored = model.store().await;
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let (dir, to) = target();
        fs::create_dir_all(to.join("file")).unwrap();
        fs::write(to.join("link"), b"a file").unwrap();
        symlink(dir.path(), to.join("folder")).unwrap();
        stored.restore("", &to, &Options { overwrite, ..Options::default() }).await;
        model.assert_restored(&to, false);
        assert_eq!(paths_below(dir.path()).iter().filter(|path| path.ends_with("inside")).count(), 1);
    }
    for overwrite in [Overwrite::Never, Overwrite::IfNewer] {
        let (dir, to) = target();
        fs::create_dir(&to).unwrap();
        symlink(dir.path(), to.join("folder")).unwrap();
        let (result, problems) = stored.try_restore("", &to, &Options { overwrite, ..Options::default() }).await;
        assert!(to.join("folder").is_symlink() && !dir.path().join("inside").exists());
        assert!(problems[0].contains("'folder' is a symbolic link where a folder should be"), "{problems:?}");
        assert!(problems.len() == 2 && problems[1].contains("3 more"), "{problems:?}");
        assert_eq!(result.unwrap().written, 2);
    }
}

#[tokio::test]
async fn a_folder_with_contents_is_never_replaced_by_something_else() {
    let mut model = Model::new();
    model.file("small", b"f");
    model.file("large", &noise("l", CHUNK_BYTES * 2));
    model.link("link", "somewhere");
    let stored = model.store().await;
    for overwrite in ALL {
        let (_dir, to) = target();
        for name in model.paths() {
            fs::create_dir_all(to.join(&name)).unwrap();
            fs::write(to.join(&name).join("mine"), b"mine").unwrap();
        }
        let (result, problems) = stored.try_restore("", &to, &Options { overwrite, ..Options::default() }).await;
        for name in model.paths() {
            assert_eq!(fs::read(to.join(&name).join("mine")).unwrap(), b"mine");
        }
        assert_eq!(result.unwrap().written, 0);
        let expected = if overwrite == Overwrite::Never { 0 } else { 3 };
        assert_eq!(problems.len(), expected, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("folder with contents")), "{problems:?}");
    }
}

#[tokio::test]
async fn permissions_of_files_that_stay_are_set() {
    let model = rich();
    let stored = model.store().await;
    let (_dir, to) = target();
    stored.restore("", &to, &Options::default()).await;
    let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    let before = [inode("docs/tiny"), inode("docs/one")];
    for path in ["docs/tiny", "docs/one", "x/pipe", "docs/deep"] {
        fs::set_permissions(to.join(path), fs::Permissions::from_mode(0o606)).unwrap();
    }
    let summary = stored.restore("", &to, &Options::default()).await;
    model.assert_restored(&to, false);
    assert_eq!(inode("docs/tiny"), before[0]);
    // It has other names, which might lie anywhere: so it was written anew, and the other names with it.
    assert_ne!(inode("docs/one"), before[1]);
    assert_eq!(summary.written, 3);
}

#[tokio::test]
async fn a_file_with_a_name_elsewhere_is_not_changed_there() {
    let mut model = Model::new();
    model.file("file", b"f").meta.mode = 0o666;
    let stored = model.store().await;
    let (dir, to) = target();
    fs::create_dir(&to).unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, b"x").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
    set_time(&outside, model.entries["file"].meta.mtime);
    fs::hard_link(&outside, to.join("file")).unwrap();
    stored.restore("", &to, &Options::default()).await;
    assert_eq!(fs::read(&outside).unwrap(), b"x");
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(to.join("file")).unwrap(), b"f");
}

#[tokio::test]
async fn verification_finds_what_only_looks_the_same() {
    let mut model = rich();
    model.file("docs/chunk", &noise("chunk", 5000));
    let stored = model.store().await;
    let (_dir, to) = target();
    stored.restore("", &to, &Options::default()).await;
    let tampered = ["docs/tiny", "docs/chunk", "media/sparse", "media/large"];
    for path in tampered {
        let file = fs::OpenOptions::new().write(true).open(to.join(path)).unwrap();
        // In a hole of the sparse file.
        std::os::unix::fs::FileExt::write_at(&file, b"!", if path == "media/sparse" { 1 << 20 } else { 2 }).unwrap();
        set_time(&to.join(path), model.entries[path].meta.mtime);
    }
    let summary = stored.restore("", &to, &Options::default()).await;
    assert_eq!(summary.written, 0);
    let verify = Options { verify: true, ..Options::default() };
    let (result, mut problems) = stored.try_restore("", &to, &verify).await;
    problems.sort();
    let mut expected: Vec<_> = tampered.iter().map(|path| format!("{path}: it differs from the snapshot")).collect();
    expected.sort();
    assert_eq!(problems, expected);
    assert_eq!(result.unwrap().verified, 7);
    stored.restore("", &to, &Options { overwrite: Overwrite::Always, ..verify }).await;
    model.assert_restored(&to, false);
}
