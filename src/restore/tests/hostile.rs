//! Snapshots that want to do harm.

use super::*;
use crate::restore::Overwrite;

#[tokio::test]
async fn what_lies_below_a_link_or_file_is_not_restored() {
    let (dir, to) = target();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut model = Model::new();
    model.link("link", outside.to_str().unwrap());
    model.file("link/evil", b"evil");
    model.folder("link/sub", 0o777);
    model.file("link/sub/evil", b"evil");
    model.file("file", b"file");
    model.file("file/evil", b"evil");
    model.file("nowhere/evil", b"evil");
    model.folder("good", 0o755);
    model.file("good/file", b"good");
    let stored = model.store().await;
    for overwrite in [Overwrite::IfChanged, Overwrite::Always, Overwrite::Never] {
        let (result, mut problems) = stored.try_restore("", &to, &Options { overwrite, ..Options::default() }).await;
        result.unwrap();
        problems.sort();
        let why = "the snapshot has things in it, but it is no folder";
        assert_eq!(problems, ["file", "link", "nowhere"].map(|path| format!("{path}: {why}")));
        assert_eq!(paths_below(&outside), BTreeSet::new());
        assert_eq!(paths_below(&to), BTreeSet::from(["link", "file", "good", "good/file"].map(str::to_owned)));
        assert!(to.join("link").is_symlink());
        assert_eq!(fs::read(to.join("file")).unwrap(), b"file");
    }
}

#[tokio::test]
async fn hard_links_to_other_content_are_files_of_their_own() {
    let mut model = Model::new();
    model.file("a", b"first");
    model.hard_link(3, &["a", "b"]);
    model.file("c", b"other").meta.link_group = Some(3);
    model.file("d", &noise("d", 70_000)).meta.link_group = Some(3);
    model.link("e", "first").meta.link_group = Some(3);
    for path in ["c", "d", "e"] {
        model.entries.get_mut(path).unwrap().meta.links = 5;
    }
    let stored = model.store().await;
    let (_dir, to) = target();
    for _ in 0..2 {
        stored.restore("", &to, &Options::default()).await;
        for (path, entry) in &model.entries {
            model.assert_node(&to.join(path), entry, false);
        }
        let inode = |path: &str| fs::symlink_metadata(to.join(path)).unwrap().ino();
        assert_eq!(inode("a"), inode("b"));
        assert_eq!(BTreeSet::from(["a", "c", "d", "e"].map(inode)).len(), 4);
    }
}

#[tokio::test]
async fn hard_links_are_restored_over_whatever_is_there() {
    let mut model = Model::new();
    model.file("1", b"content");
    model.hard_link(3, &["1", "2", "3", "4"]);
    model.folder("sub", 0o755);
    model.link("sub/l", "somewhere");
    model.hard_link(4, &["sub/l", "sub/m"]);
    let stored = model.store().await;
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let (_dir, to) = target();
        stored.restore("", &to, &Options::default()).await;
        // Separate, but the same to look at.
        fs::remove_file(to.join("2")).unwrap();
        fs::copy(to.join("1"), to.join("2")).unwrap();
        let file = fs::File::options().write(true).open(to.join("2")).unwrap();
        file.set_modified(fs::metadata(to.join("1")).unwrap().modified().unwrap()).unwrap();
        fs::remove_file(to.join("3")).unwrap();
        fs::create_dir(to.join("3")).unwrap();
        fs::remove_file(to.join("sub/m")).unwrap();
        let summary = stored.restore("", &to, &Options { overwrite, ..Options::default() }).await;
        for (path, entry) in model.entries.iter().skip(1) {
            model.assert_node(&to.join(path), entry, false);
        }
        assert_eq!(fs::metadata(to.join("1")).unwrap().nlink(), 4);
        assert_eq!(fs::symlink_metadata(to.join("sub/m")).unwrap().nlink(), 2);
        assert_eq!(summary.written, if overwrite == Overwrite::Always { 6 } else { 3 });
    }
}

#[tokio::test]
async fn a_group_whose_first_file_is_lost_is_restored_from_the_next() {
    let mut model = Model::new();
    model.file("1", &noise("content", 3000));
    model.hard_link(3, &["1", "2", "3"]);
    let stored = model.store().await;
    let (_dir, to) = target();
    fs::create_dir_all(to.join("1/in the way")).unwrap();
    let (result, problems) = stored.try_restore("", &to, &Options::default()).await;
    assert!(problems.len() == 1 && problems[0].starts_with("1: "), "{problems:?}");
    assert_eq!(result.unwrap().written, 2);
    assert_eq!(fs::metadata(to.join("2")).unwrap().ino(), fs::metadata(to.join("3")).unwrap().ino());
}

#[tokio::test]
async fn a_file_too_long_for_any_disk_is_one_problem() {
    let mut model = Model::new();
    model.sparse("monster", &[], 1 << 61);
    model.file("other", b"fine");
    let stored = model.store().await;
    let (_dir, to) = target();
    let (result, problems) = stored.try_restore("", &to, &Options::default()).await;
    assert_eq!(result.unwrap().written, 1);
    assert!(problems.len() == 1 && problems[0].starts_with("monster: "), "{problems:?}");
    assert_eq!(paths_below(&to), BTreeSet::from(["other".to_owned()]));
}
