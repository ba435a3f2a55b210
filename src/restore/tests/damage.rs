//! Repositories that are damaged: everything else is restored, and what is not is named.

use super::*;
use crate::store::ErrorKind;
use crate::store::Fault;
use crate::store::Faulty;

impl Stored {
    /// Turns a bit of an object.
    async fn flip(&self, name: &str) {
        let mut bytes = self.store.get(name).await.unwrap().to_vec();
        // Behind the header, in the first segment.
        bytes[200] ^= 1;
        self.store.delete(name).await.unwrap();
        self.store.put_new(name, bytes.into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_pack_costs_only_the_files_in_it() {
    let mut model = Model::new();
    for name in ["a", "b", "c", "d"] {
        model.folder(name, 0o755);
        model.file(&format!("{name}/small"), &noise(&format!("{name} small"), 3000));
        model.file(&format!("{name}/large"), &noise(&format!("{name} large"), CHUNK_BYTES * 4));
        model.file(&format!("{name}/tiny"), b"tiny");
    }
    for is_lost in [false, true] {
        let stored = model.store_with(Layout { pack_bytes: 1, page_packs: false }).await;
        for victim in ["b/small", "c/large"] {
            match is_lost {
                true => stored.store.delete(&stored.packs[victim]).await.unwrap(),
                false => stored.flip(&stored.packs[victim]).await,
            }
        }
        let (_dir, to) = target();
        fs::create_dir_all(to.join("b")).unwrap();
        fs::write(to.join("b/small"), b"the old one").unwrap();
        let (result, mut problems) = stored.try_restore("", &to, &Options::default()).await;
        problems.sort();
        assert!(problems.len() == 2 && problems[0].starts_with("b/small: its content cannot be read"), "{problems:?}");
        assert!(problems[1].starts_with("c/large: its content cannot be read"), "{problems:?}");
        assert_eq!(result.unwrap().written, 10);
        assert_eq!(fs::read(to.join("b/small")).unwrap(), b"the old one");
        let mut found = paths_below(&to);
        assert!(!found.contains("c/large"));
        found.insert("c/large".into());
        assert_eq!(found, model.paths().into_iter().collect());
        for (path, entry) in
            model.entries.iter().skip(1).filter(|(path, _)| !["b/small", "c/large"].contains(&path.as_str()))
        {
            model.assert_node(&to.join(path), entry, false);
        }
    }
}

fn wide() -> Model {
    let mut model = Model::new();
    for folder in 0..40 {
        model.folder(&format!("f{folder:02}"), 0o755);
        for file in 0..100 {
            let path = format!("f{folder:02}/{file:03}");
            model.file(&path, path.as_bytes());
        }
    }
    model
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_costs_only_the_nodes_in_it() {
    let model = wide();
    for case in 0..4 {
        let stored = model.store_with(Layout { pack_bytes: usize::MAX, page_packs: true }).await;
        // The last page is the root; where leaves end differs from repository to repository.
        let leaves = stored.pages.len() - 1;
        assert!(leaves >= 8, "{leaves}");
        let victims = [vec![3], vec![4, 5, 6], vec![leaves - 1], vec![0]][case].clone();
        for victim in &victims {
            stored.flip(&stored.pages[*victim]).await;
        }
        let to = tempfile::tempdir().unwrap();
        if victims == [0] {
            // The root node itself is in it; below the root everything else can be had.
            let (result, _) = stored.try_restore("", to.path(), &Options::default()).await;
            assert!(matches!(result, Err(Error::Repo(_))), "{result:?}");
            continue;
        }
        let (result, problems) = stored.try_restore("", to.path(), &Options::default()).await;
        assert_eq!(problems.len(), victims.len(), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("of the snapshot cannot be read")), "{problems:?}");
        let lost: u64 = problems.iter().map(|problem| span(problem)).sum();
        let summary = result.unwrap();
        assert_eq!(summary.nodes + lost, model.entries.len() as u64);
        assert!(lost > 0 && lost < 2500, "{lost}");
        for path in paths_below(to.path()) {
            assert!(
                model.entries[&path].kind == Kind::Folder
                    || fs::read(to.path().join(&path)).unwrap() == path.as_bytes()
            );
        }
        assert_eq!(paths_below(to.path()).iter().filter(|path| path.contains('/')).count() as u64, summary.written);
    }
}

/// How many nodes a problem is about.
fn span(problem: &str) -> u64 {
    let numbers = problem.split("nodes ").nth(1).unwrap().split(" of").next().unwrap();
    let (first, last) = numbers.split_once(" to ").unwrap();
    last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1
}

#[tokio::test]
async fn deletion_spares_folders_that_cannot_be_read() {
    let model = wide();
    let stored = model.store_with(Layout { pack_bytes: usize::MAX, page_packs: true }).await;
    let (_dir, to) = target();
    stored.restore("", &to, &Options::default()).await;
    let stored = model.store_with(Layout { pack_bytes: usize::MAX, page_packs: true }).await;
    stored.flip(&stored.pages[stored.pages.len() / 2]).await;
    for folder in 0..40 {
        fs::write(to.join(format!("f{folder:02}/extra")), b"x").unwrap();
    }
    let delete = Options { delete: true, ..Options::default() };
    let (result, problems) = stored.try_restore("", &to, &delete).await;
    let summary = result.unwrap();
    assert!(problems.len() >= 2, "{problems:?}");
    assert!(summary.removed >= 20 && summary.removed < 40, "{summary:?}");
    assert_eq!(paths_below(&to).len() as u64, model.paths().len() as u64 + 40 - summary.removed);
}

#[tokio::test]
async fn storage_that_cannot_be_reached_ends_the_restore() {
    let model = many_chunks();
    let stored = model.store_with(Layout { pack_bytes: 100_000, page_packs: false }).await;
    let victim = stored.packs["30"].clone();
    let fails = move |asked: &crate::store::Asked<'_>| match asked.name == victim {
        true => Fault::Before(ErrorKind::Unreachable),
        false => Fault::None,
    };
    let faulty = Faulty::new(stored.store.clone(), fails);
    let repo = Repo::open(faulty, &Password::new(b"x".to_vec())).await.unwrap();
    let stored = Stored { repo, ..stored };
    let (_dir, to) = target();
    let (result, problems) = stored.try_restore("", &to, &Options::default()).await;
    assert!(matches!(&result, Err(Error::Repo(error)) if error.is_transient()), "{result:?}");
    assert_eq!(problems, Vec::<String>::new());
    for path in paths_below(&to) {
        assert!(fs::read(to.join(&path)).unwrap() == model.entries[&path].bytes(), "{path}");
    }
}

fn many_chunks() -> Model {
    let mut model = Model::new();
    for file in 0..60 {
        model.file(&format!("{file:02}"), &noise(&file.to_string(), 20_000));
    }
    model
}

#[tokio::test]
async fn weather_changes_nothing() {
    let model = rich();
    let stored = model.store_with(Layout { pack_bytes: 4096, page_packs: true }).await;
    let weather = crate::store::Retrying::new(Faulty::weather(stored.store.clone(), 7, 100), 1);
    let repo = Repo::open(weather, &Password::new(b"x".to_vec())).await.unwrap();
    let stored = Stored { repo, ..stored };
    let (_dir, to) = target();
    stored.restore("", &to, &Options { verify: true, ..Options::default() }).await;
    model.assert_restored(&to, false);
}
