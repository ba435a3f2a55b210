//! Snapshots of real folders: what is in them, what the next one costs, what a killed run leaves.

use crate::house::House;
use crate::house::noise;
use bygone::backup::Parent;
use bygone::backup::Stdin;
use bygone::meta::Content;
use bygone::meta::Kind;
use bygone::monitor::Collect;
use bygone::repo::Log;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A tree with a bit of everything that an ordinary user can make.
fn fill(root: &Path) {
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("tiny"), b"tiny").unwrap();
    fs::write(root.join("small"), noise(1, 5_000)).unwrap();
    fs::write(root.join("same as small"), noise(1, 5_000)).unwrap();
    fs::write(root.join("medium"), noise(2, 3 << 20)).unwrap();
    fs::write(root.join("large"), noise(3, 9 << 20)).unwrap();
    fs::hard_link(root.join("medium"), root.join("medium again")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(&noise(4, 100_000), 32 << 20).unwrap();
    std::os::unix::fs::symlink("../somewhere", root.join("link")).unwrap();
    for d in 0..20 {
        let folder = root.join(format!("folder {d}/deeper"));
        fs::create_dir_all(&folder).unwrap();
        for f in 0..30 {
            fs::write(folder.join(format!("file {f}")), format!("{d} {f} ").repeat(d * f)).unwrap();
        }
    }
    fs::set_permissions(root.join("small"), fs::Permissions::from_mode(0o751)).unwrap();
}

/// Every node below the source: path, mode, mtime, and bytes of files.
type Shown = BTreeMap<Vec<u8>, (u32, (i64, u32), Option<blake3::Hash>)>;

fn on_disk(root: &Path, prefix: &[u8], all: &mut Shown) {
    use std::os::unix::ffi::OsStrExt;
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let path = bygone::path::join(prefix, entry.file_name().as_bytes());
        let meta = entry.path().symlink_metadata().unwrap();
        let bytes = meta.is_file().then(|| blake3::hash(&fs::read(entry.path()).unwrap()));
        let time = (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
        all.insert(path.clone(), (meta.mode() & 0o7777, time, bytes));
        if meta.is_dir() {
            on_disk(&entry.path(), &path, all);
        }
    }
}

fn in_snapshot(house: &House) -> Shown {
    let browse = house.browse();
    let base = snapshot_path(house);
    house.runtime.block_on(async {
        let mut all = Shown::new();
        let mut walk = browse.walk(browse.subtree(&base).await.unwrap());
        while let Some(found) = walk.next().await.unwrap() {
            let node = found.node();
            let mut hasher = blake3::Hasher::new();
            let mut at = 0;
            let mut data = browse.data(&node.content);
            while let Some((offset, bytes)) = data.next().await.unwrap() {
                hasher.update(&vec![0; usize::try_from(offset - at).unwrap()]);
                hasher.update(&bytes);
                at = offset + bytes.len() as u64;
            }
            hasher.update(&vec![0; usize::try_from(node.content.len() - at).unwrap()]);
            let bytes = (node.kind == Kind::File).then(|| hasher.finalize());
            let path = found.path()[base.len() + 1..].to_vec();
            all.insert(path, (node.meta.mode, (node.meta.mtime.secs, node.meta.mtime.nanos), bytes));
        }
        all
    })
}

fn snapshot_path(house: &House) -> Vec<u8> {
    house.source().canonicalize().unwrap().to_str().unwrap().trim_start_matches('/').as_bytes().to_vec()
}

fn expect_same(house: &House) {
    let mut disk = Shown::new();
    on_disk(&house.source(), b"", &mut disk);
    let snapshot = in_snapshot(house);
    assert_eq!(disk.keys().collect::<Vec<_>>(), snapshot.keys().collect::<Vec<_>>());
    for (path, expected) in &disk {
        assert_eq!(expected, &snapshot[path], "{}", bygone::path::Show(path));
    }
}

fn repository_bytes(house: &House) -> u64 {
    let listed = house.runtime.block_on(house.repo.store().list("packs")).unwrap();
    listed.iter().map(|stored| stored.len).sum()
}

#[test]
fn a_snapshot_is_the_source() {
    let house = House::new();
    fill(&house.source());
    let summary = house.backup();
    expect_same(&house);
    let snapshot = summary.snapshot.unwrap();
    assert_eq!(snapshot.nodes, summary.nodes);
    assert_eq!(snapshot.bytes, summary.bytes);
    assert!(repository_bytes(&house) < 14 << 20, "equal files and holes cost nothing");
    let browse = house.browse();
    let sparse = [&snapshot_path(&house)[..], b"/sparse"].concat();
    let found = house.runtime.block_on(browse.get(&sparse)).unwrap().unwrap();
    assert!(matches!(found.node().content, Content::Extents { len, data, .. } if len == 64 << 20 && data < 1 << 20));
}

#[test]
fn an_unchanged_source_costs_a_record_and_nothing_is_read() {
    let house = House::new();
    fill(&house.source());
    house.backup();
    let stored = repository_bytes(&house);
    let again = house.backup();
    assert_eq!((again.figures.bytes_read, again.figures.bytes_new), (0, 0));
    // The folder for temporary files above the source changes all the time.
    assert!(again.figures.nodes_changed <= 3, "{:?}", again.figures);
    assert!(repository_bytes(&house) - stored < 20_000);
    expect_same(&house);
}

#[test]
fn changes_are_found_and_cost_what_they_are() {
    let house = House::new();
    let root = house.source();
    fill(&root);
    house.backup();
    fs::write(root.join("folder 3/deeper/file 7"), b"changed").unwrap();
    fs::remove_dir_all(root.join("folder 5")).unwrap();
    fs::rename(root.join("small"), root.join("renamed")).unwrap();
    fs::create_dir(root.join("aaa")).unwrap();
    fs::write(root.join("aaa/new"), noise(9, 70_000)).unwrap();
    fs::set_permissions(root.join("tiny"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::File::options().write(true).open(root.join("large")).unwrap().write_all_at(b"more", 9 << 20).unwrap();
    let summary = house.backup();
    expect_same(&house);
    assert!(summary.figures.bytes_new < 1_200_000, "{:?}", summary.figures);
    assert_eq!(summary.nodes_removed, 1 + 1 + 30 + 1);
    assert_eq!(summary.nodes_new, 3);
}

#[test]
fn a_dry_run_stores_nothing() {
    let house = House::new();
    fill(&house.source());
    let options = bygone::backup::Options { dry_run: true, ..house.options() };
    let summary = house.backup_with(options, &Collect::default()).unwrap();
    assert!(summary.snapshot.is_none() && summary.figures.bytes_new > 12 << 20);
    assert_eq!(repository_bytes(&house), 0);
    assert!(house.runtime.block_on(Log::read(&house.repo)).unwrap().snapshots().is_empty());
}

#[test]
fn a_stream_becomes_a_file() {
    let house = House::new();
    let bytes = noise(5, 7_000_000);
    let stream = Box::new(std::io::Cursor::new(bytes.clone()));
    let stdin = Some(Stdin { path: b"dumps/db.sql".to_vec(), stream });
    let options = bygone::backup::Options { stdin, ..house.options() };
    house.backup_with(options, &Collect::default()).unwrap();
    let browse = house.browse();
    let content = house.runtime.block_on(browse.get(b"dumps/db.sql")).unwrap().unwrap().node().content.clone();
    for (offset, len) in [(0, 10), (6_999_990, 100), (1_000_000, 3_000_000), (7_000_000, 1)] {
        let expected = &bytes[offset.min(bytes.len())..(offset + len).min(bytes.len())];
        let got = house.runtime.block_on(browse.read(&content, offset as u64, len)).unwrap();
        assert!(got == expected, "{offset} {len}");
    }
}

#[test]
fn a_cancelled_run_is_continued_and_uploads_nothing_twice() {
    /// Cancels once so many nodes are done.
    struct After(std::sync::atomic::AtomicU64);
    impl bygone::monitor::Monitor for After {
        fn event(&self, event: bygone::monitor::Event<'_>) {
            if let bygone::monitor::Event::Done { nodes, .. } = event {
                self.0.fetch_add(nodes, Ordering::Relaxed);
            }
        }

        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 300
        }
    }
    let house = House::new();
    for i in 0..600 {
        fs::write(house.source().join(format!("file {i:04}")), noise(i, 200_000)).unwrap();
    }
    let options = bygone::backup::Options { checkpoint_every: Duration::ZERO, ..house.options() };
    let cancelled = house.backup_with(options, &After(0.into()));
    assert!(matches!(cancelled, Err(bygone::backup::Error::Cancelled)));
    assert!(house.runtime.block_on(Log::read(&house.repo)).unwrap().snapshots().is_empty());
    let stored = repository_bytes(&house);
    assert!(stored > 20 << 20, "{stored}");
    let summary = house.backup();
    assert!(summary.resumed);
    assert!(summary.figures.bytes_read < 110_000_000, "{:?}", summary.figures);
    expect_same(&house);
    let total = repository_bytes(&house);
    assert!(total < 600 * 200_000 * 103 / 100, "{total} bytes: something was stored twice");
}

#[test]
fn without_a_parent_everything_is_read_but_only_pages_are_stored() {
    let house = House::new();
    fill(&house.source());
    house.backup();
    let stored = repository_bytes(&house);
    let options = bygone::backup::Options { parent: Parent::None, ..house.options() };
    let summary = house.backup_with(options, &Collect::default()).unwrap();
    assert!(summary.figures.bytes_read > 12 << 20);
    assert_eq!(summary.figures.bytes_new, 0);
    assert!(repository_bytes(&house) - stored < 100_000);
}
