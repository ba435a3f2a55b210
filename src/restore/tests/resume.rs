//! Restores that are cut short, and going on afterwards.

use super::*;
use crate::monitor::Event as Told;
use crate::monitor::Monitor;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Cancels when so many nodes or bytes are done.
struct Until {
    nodes_max: u64,
    bytes_max: u64,
    nodes: AtomicU64,
    bytes: AtomicU64,
    total: AtomicU64,
}

impl Until {
    fn new(nodes_max: u64, bytes_max: u64) -> Until {
        Until { nodes_max, bytes_max, nodes: AtomicU64::new(0), bytes: AtomicU64::new(0), total: AtomicU64::new(0) }
    }
}

impl Monitor for Until {
    fn event(&self, event: Told<'_>) {
        match event {
            Told::Done { nodes, bytes } => {
                self.nodes.fetch_add(nodes, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Told::Total { nodes, .. } => self.total.store(nodes, Ordering::Relaxed),
            _ => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        self.nodes.load(Ordering::Relaxed) >= self.nodes_max || self.bytes.load(Ordering::Relaxed) >= self.bytes_max
    }
}

fn many() -> Model {
    let mut model = Model::new();
    for folder in 0..10 {
        model.folder(&format!("f{folder}"), 0o555);
        for file in 0..60 {
            let path = format!("f{folder}/{file}");
            model.file(&path, &noise(&path, 3000));
        }
    }
    model
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_goes_on_where_it_was() {
    let model = many();
    let stored = model.store().await;
    let (_dir, to) = target();
    let options = Options { threads: 1, ..Options::default() };
    let until = Until::new(100, u64::MAX);
    let result = restore(&stored.browse().await, b"", &to, &options, &until).await;
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    let finished = paths_below(&to).iter().filter(|path| path.contains('/')).count() as u64;
    assert!((100..400).contains(&finished), "{finished}");
    fs::write(to.join("f0/.bygone-0123456789abcdef01234567.part"), b"left by a killed run").unwrap();
    let summary = stored.restore("", &to, &options).await;
    assert_eq!((summary.unchanged, summary.written), (finished, 600 - finished));
    // The folder was there already, so its own metadata stays.
    model.assert_restored(&to, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_is_interrupted_is_not_there() {
    let mut model = Model::new();
    model.file("large", &noise("large", 4 << 20));
    let stored = model.store().await;
    for base in ["", "large"] {
        let (_dir, to) = target();
        let until = Until::new(u64::MAX, 1 << 20);
        let result = restore(&stored.browse().await, base.as_bytes(), &to, &Options::default(), &until).await;
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert!(until.bytes.load(Ordering::Relaxed) < 4 << 20);
        assert_eq!(paths_below(&to), BTreeSet::new());
    }
}

#[tokio::test]
async fn progress_ends_at_the_total() {
    let mut model = rich();
    model.file("docs/deep/er/left out.tmp", b"left out");
    let stored = model.store().await;
    let rules = [(&[][..], &[][..]), (&[], &["*.tmp"]), (&["docs/"], &["er"]), (&["tiny"], &[]), (&["/x/one"], &[])];
    for (includes, excludes) in rules {
        let own = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect();
        let (includes, excludes) = (own(includes), own(excludes));
        let options = Options { includes, excludes, ..Options::default() };
        for _ in 0..2 {
            let (_dir, to) = target();
            let all = Until::new(u64::MAX, u64::MAX);
            let summary = restore(&stored.browse().await, b"", &to, &options, &all).await.unwrap();
            let done = all.nodes.load(Ordering::Relaxed);
            assert_eq!((done, all.total.load(Ordering::Relaxed)), (summary.nodes, summary.nodes), "{options:?}");
            assert_eq!(all.bytes.load(Ordering::Relaxed), summary.bytes, "{options:?}");
        }
    }
}

/// A file system of a few pages, mounted for one test; `None` where that is not allowed.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: &Path) -> Option<Tiny> {
        fs::create_dir(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tiny", at, "tmpfs", flags, Some(c"size=256k")).ok()?;
        Some(Tiny(at.to_owned()))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_restore_at_once() {
    let stored = many().store().await;
    let mut large = Model::new();
    large.file("large", &noise("large", 1 << 20));
    let large = large.store().await;
    for stored in [&stored, &large] {
        let (dir, to) = target();
        let Some(_tiny) = Tiny::mount(&to) else {
            // The rule alone.
            let full = std::io::ErrorKind::StorageFull.into();
            let full = crate::target::Error::Io { verb: "write", path: Vec::new(), source: full };
            let problem = crate::restore::problem::Problem::Target(full);
            assert!(matches!(problem.fatal(), Err(Error::Target(error)) if error.is_full()));
            drop(dir);
            return;
        };
        let (result, problems) = stored.try_restore("", &to, &Options::default()).await;
        assert!(matches!(&result, Err(Error::Target(error)) if error.is_full()), "{result:?}");
        assert_eq!(problems, Vec::<String>::new());
        assert!(paths_below(&to).iter().all(|path| !path.ends_with(".part")));
    }
}
