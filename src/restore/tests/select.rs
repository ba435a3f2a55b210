//! Includes, excludes and deletion.

use super::*;

fn options(includes: &[&str], excludes: &[&str]) -> Options {
    let own = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect();
    Options { includes: own(includes), excludes: own(excludes), ..Options::default() }
}

fn model() -> Model {
    let mut model = Model::new();
    for folder in ["a", "a/b", "a/b/c", "a/cache", "a/cache/sub", "z", "z/empty"] {
        model.folder(folder, 0o710);
    }
    for file in ["top.txt", "a/1.txt", "a/b/2.txt", "a/b/c/3.log", "a/cache/4.txt", "a/cache/sub/5.txt", "z/6.log"] {
        model.file(file, file.as_bytes());
    }
    model
}

#[tokio::test]
async fn rules_choose() {
    let model = model();
    let stored = model.store().await;
    let cases: [(&[&str], &[&str], &[&str]); 8] = [
        (&[], &["cache/", "*.log"], &["a", "a/1.txt", "a/b", "a/b/2.txt", "a/b/c", "top.txt", "z", "z/empty"]),
        (&[], &["/a"], &["top.txt", "z", "z/6.log", "z/empty"]),
        (&["*.log"], &[], &["a", "a/b", "a/b/c", "a/b/c/3.log", "z", "z/6.log"]),
        (&["a/b"], &[], &["a", "a/b", "a/b/2.txt", "a/b/c", "a/b/c/3.log"]),
        (&["/a/cache/sub/5.txt"], &[], &["a", "a/cache", "a/cache/sub", "a/cache/sub/5.txt"]),
        (&["a/", "empty"], &["cache"], &["a", "a/1.txt", "a/b", "a/b/2.txt", "a/b/c", "a/b/c/3.log", "z", "z/empty"]),
        (&["cache", "!cache/"], &[], &[]),
        (&[], &["*", "!/z", "!6.log"], &["z", "z/6.log"]),
    ];
    for (includes, excludes, expected) in cases {
        let (_dir, to) = target();
        let summary = stored.restore("", &to, &options(includes, excludes)).await;
        let found: Vec<String> = paths_below(&to).into_iter().collect();
        assert_eq!(found, expected, "{includes:?} {excludes:?}");
        let top = u64::from(includes.is_empty() || !expected.is_empty());
        assert_eq!(summary.nodes, expected.len() as u64 + top, "{includes:?} {excludes:?}");
        for path in expected {
            model.assert_node(&to.join(path), &model.entries[*path], false);
        }
    }
}

#[tokio::test]
async fn rules_are_relative_to_the_base() {
    let stored = model().store().await;
    let (_dir, to) = target();
    stored.restore("a", &to, &options(&["/b/c", "/cache"], &["/cache/sub"])).await;
    let expected = ["b", "b/c", "b/c/3.log", "cache", "cache/4.txt"].map(str::to_owned);
    assert_eq!(paths_below(&to), BTreeSet::from(expected));
    let (result, _) = stored.try_restore("a", &to, &options(&["[b-a]", "y"], &[])).await;
    assert!(matches!(result, Err(Error::Rule { rule, .. }) if rule == "[b-a]"));
}

/// Puts things beside what is restored, everywhere.
fn add_extras(to: &Path) {
    for folder in ["", "a", "a/b/c", "a/cache", "z/empty"] {
        fs::create_dir_all(to.join(folder).join("extra/sub")).unwrap();
        fs::write(to.join(folder).join("extra/sub/x.log"), b"x").unwrap();
        fs::write(to.join(folder).join("extra.txt"), b"x").unwrap();
    }
}

#[tokio::test]
async fn deletion_leaves_nothing_but_the_snapshot() {
    let model = model();
    let stored = model.store().await;
    let (_dir, to) = target();
    add_extras(&to);
    let summary = stored.restore("", &to, &Options::default()).await;
    assert_eq!(summary.removed, 0);
    let summary = stored.restore("", &to, &Options { delete: true, ..Options::default() }).await;
    assert_eq!((summary.removed, summary.written), (20, 0));
    let to_meta = fs::metadata(&to).unwrap();
    assert_ne!(time_of(&to_meta), model.entries[""].meta.mtime);
    model.assert_restored(&to, false);
}

#[tokio::test]
async fn deletion_keeps_to_the_base_and_to_what_is_included() {
    let stored = model().store().await;
    let (_dir, to) = target();
    add_extras(&to);
    let delete = Options { delete: true, ..options(&["/a/b"], &[]) };
    let summary = stored.restore("", &to, &delete).await;
    assert_eq!(summary.removed, 4);
    assert!(!to.join("a/b/c/extra").exists());
    for kept in ["extra.txt", "a/extra/sub/x.log", "a/cache/extra.txt", "z/empty/extra.txt"] {
        assert!(to.join(kept).exists(), "{kept}");
    }
}

#[tokio::test]
async fn deletion_spares_the_repository_and_the_way_to_it() {
    let stored = model().store().await;
    for repository in ["a/extra/sub", "z/empty", "a"] {
        let (_dir, to) = target();
        add_extras(&to);
        let spared = vec![FileId::of(&to.join(repository)).unwrap()];
        let delete = Options { delete: true, spared, ..Options::default() };
        let told = stored.restore("", &to, &Options { dry_run: true, ..delete.clone() }).await;
        let done = stored.restore("", &to, &delete).await;
        assert!(told.removed == done.removed && done.removed > 5, "{repository}: {told:?} {done:?}");
        let inside = if repository == "a/extra/sub" { "x.log" } else { "extra/sub/x.log" };
        assert!(to.join(repository).join(inside).exists(), "{repository}");
        assert!(!to.join("extra.txt").exists());
    }
}

#[tokio::test]
async fn deletion_keeps_what_is_excluded() {
    let stored = model().store().await;
    let (_dir, to) = target();
    add_extras(&to);
    fs::create_dir_all(to.join("gone/deep")).unwrap();
    fs::write(to.join("gone/deep/x.txt"), b"x").unwrap();
    fs::write(to.join("a/b/c/3.log"), b"excluded, so mine").unwrap();
    let delete = Options { delete: true, ..options(&[], &["*.log", "cache"]) };
    let told = stored.restore("", &to, &Options { dry_run: true, ..delete.clone() }).await;
    let done = stored.restore("", &to, &delete).await;
    assert_eq!((told.removed, done.removed), (7, 7));
    assert!(!to.join("gone").exists() && !to.join("extra.txt").exists());
    assert_eq!(fs::read(to.join("a/b/c/3.log")).unwrap(), b"excluded, so mine");
    for kept in ["extra/sub/x.log", "a/extra/sub/x.log", "a/cache/extra.txt", "z/empty/extra/sub/x.log"] {
        assert!(to.join(kept).exists(), "{kept}");
    }
}
