//! What was backed up comes back, at and below any base.

use super::*;
use crate::restore::Overwrite;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back() {
    let model = rich();
    let stored = model.store().await;
    let (_dir, to) = target();
    let options = Options { verify: true, ..Options::default() };
    let summary = stored.restore("", &to, &options).await;
    model.assert_restored(&to, false);
    model.assert_node(&to, &model.entries[""], false);
    let files = |kind: fn(&Entry) -> bool| model.entries.values().filter(|e| kind(e)).count() as u64;
    assert_eq!(summary.nodes, model.entries.len() as u64);
    assert_eq!(summary.written, files(|e| e.kind != Kind::Folder));
    assert_eq!(summary.bytes, model.entries.values().map(|e| e.len).sum::<u64>());
    // Further names of files are no files of their own.
    assert_eq!(summary.verified, files(|e| e.kind == Kind::File) - 3);
    assert!(summary.bytes_written < summary.bytes);

    let again = stored.restore("", &to, &options).await;
    model.assert_restored(&to, false);
    assert_eq!((again.written, again.bytes_written, again.unchanged), (0, 0, summary.written));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_may_be_a_task_of_its_own() {
    let model = rich();
    let browse = model.store().await.browse().await;
    let (_dir, to) = target();
    let there = to.clone();
    let task =
        tokio::spawn(async move { restore(&browse, b"", &there, &Options::default(), &Collect::default()).await });
    assert_eq!(task.await.unwrap().unwrap().problems, 0);
    model.assert_restored(&to, false);
}

#[tokio::test]
async fn one_thread_and_one_job_are_enough() {
    let model = rich();
    let (_dir, to) = target();
    model.store().await.restore("", &to, &Options { threads: 1, ..Options::default() }).await;
    model.assert_restored(&to, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_is_restored_only_on_request() {
    let mut model = rich();
    model.add("x/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666);
    model.add("x/zero", Kind::CharDevice { major: 1, minor: 5 }, 0o666);
    let owner = Owner { uid: 4242, gid: 4343, ..Owner::default() };
    model.file("x/foreign", b"not mine").meta.owner = Arc::new(owner);
    let stored = model.store().await;
    let (_dir, to) = target();
    let (result, problems) = stored.try_restore("", &to, &Options::default()).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("x/null: 'x/null' is a character device"), "{problems:?}");
    assert!(problems[1].contains("1 more like the first"), "{problems:?}");
    assert_eq!(result.unwrap().written, model.entries.values().filter(|e| e.kind != Kind::Folder).count() as u64 - 2);
    assert_ne!(fs::metadata(to.join("x/foreign")).unwrap().uid(), 4242);

    let privileged = Options { privileged: true, ..Options::default() };
    let (result, problems) = stored.try_restore("", &to, &privileged).await;
    if is_root() {
        assert_eq!(problems, Vec::<String>::new());
        model.assert_restored(&to, true);
    } else {
        assert!(result.unwrap().problems > 0);
    }
}

#[tokio::test]
async fn a_base_that_is_a_folder_becomes_the_target() {
    let model = rich();
    let stored = model.store().await;
    let (_dir, to) = target();
    fs::create_dir(&to).unwrap();
    let summary = stored.restore("docs", &to, &Options::default()).await;
    let below = model.entries.iter().filter_map(|(path, entry)| {
        let below = path.strip_prefix("docs")?;
        Some((below.strip_prefix('/').unwrap_or(below).to_owned(), entry.clone()))
    });
    let expected = Model { entries: below.collect() };
    assert_eq!(summary.nodes, expected.entries.len() as u64);
    expected.assert_restored(&to, false);
    expected.assert_node(&to, &expected.entries[""], false);
}

#[tokio::test]
async fn a_base_that_is_no_folder_goes_into_the_target() {
    let model = rich();
    let stored = model.store().await;
    for base in ["media/large", "media/sparse", "docs/tiny", "docs/link", "x/pipe", "a-one"] {
        let (_dir, to) = target();
        // Rules are about what is in a folder.
        let options = Options { includes: vec!["nothing".into()], excludes: vec!["*".into()], ..Options::default() };
        let summary = stored.restore(base, &to, &options).await;
        assert_eq!((summary.nodes, summary.written), (1, 1));
        let name = base.rsplit('/').next().unwrap();
        assert_eq!(paths_below(&to), BTreeSet::from([name.to_owned()]));
        model.assert_node(&to.join(name), &model.entries[base], false);
    }
    let (_dir, to) = target();
    let (result, _) = stored.try_restore("docs/nothing", &to, &Options::default()).await;
    assert!(matches!(result, Err(Error::NotInSnapshot { path }) if path == b"docs/nothing"));
    assert!(!to.exists());
}

#[tokio::test]
async fn a_whole_snapshot_leaves_the_folder_that_was_there_as_it_is() {
    let model = rich();
    let stored = model.store().await;
    let (_dir, to) = target();
    fs::create_dir(&to).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o711)).unwrap();
    stored.restore("", &to, &Options::default()).await;
    let found = fs::metadata(&to).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o711);
    assert_ne!(time_of(&found), model.entries[""].meta.mtime);
}

#[tokio::test]
async fn a_dry_run_touches_nothing_and_counts_the_same() {
    let model = rich();
    let stored = model.store().await;
    let (_dir, to) = target();
    let dry = Options { dry_run: true, ..Options::default() };
    let told = stored.restore("", &to, &dry).await;
    assert!(!to.exists());
    let done = stored.restore("", &to, &Options::default()).await;
    assert_eq!(told, done);

    fs::write(to.join("docs/tiny"), b"mine").unwrap();
    fs::remove_file(to.join("x/large")).unwrap();
    fs::create_dir_all(to.join("extra/sub")).unwrap();
    fs::write(to.join("extra/sub/file"), b"x").unwrap();
    let before = fingerprint(&to);
    let dry = Options { delete: true, overwrite: Overwrite::Always, ..dry };
    let told = stored.restore("", &to, &dry).await;
    assert_eq!(fingerprint(&to), before);
    assert_eq!(told.removed, 3);
    let done = stored.restore("", &to, &Options { dry_run: false, ..dry }).await;
    assert_eq!(told, done);
    model.assert_restored(&to, false);
}

/// Everything that shows a change, of all below a folder.
fn fingerprint(folder: &Path) -> Vec<String> {
    let show = |path: &String| {
        let meta = fs::symlink_metadata(folder.join(path)).unwrap();
        format!("{path} {:o} {}.{} {}", meta.mode(), meta.ctime(), meta.ctime_nsec(), meta.ino())
    };
    std::iter::once(String::new()).chain(paths_below(folder)).map(|path| show(&path)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files() {
    let mut model = Model::new();
    for folder in 0..100 {
        model.folder(&format!("f{folder}"), 0o755);
        for file in 0..200 {
            let path = format!("f{folder}/file {file}");
            let bytes = noise(&path, 100 + (file * 37) % 6000);
            model.file(&path, &bytes);
        }
    }
    let stored = model.store_with(Layout { pack_bytes: 8 << 20, page_packs: false }).await;
    let (_dir, to) = target();
    for what in ["written", "left"] {
        let start = Instant::now();
        let summary = stored.restore("", &to, &Options::default()).await;
        let rate = summary.nodes as f64 / start.elapsed().as_secs_f64();
        println!("20 000 small files {what}: {rate:.0} nodes/s");
    }
    model.assert_restored(&to, false);
}
