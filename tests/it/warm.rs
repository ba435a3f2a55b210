//! A repository seen before, opened through the local cache: what was read is not asked for again, and nothing that is
//! remembered is believed against the store.

use crate::house::House;
use crate::house::noise;
use crate::house::password;
use bygone::browse::Browse;
use bygone::cache;
use bygone::cache::Cache;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::monitor::Collect;
use bygone::pin::pin;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Error;
use bygone::repo::Freshness;
use bygone::repo::Log;
use bygone::repo::Memory;
use bygone::repo::Repo;
use bygone::store::Counted;
use bygone::store::ErrorKind;
use bygone::store::Verb;
use bygone_mount::drive::ROOT;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn open_cache(folder: &Path) -> Arc<Cache> {
    Cache::open(folder, &cache::Options { limit: Some(256 << 20), ..cache::Options::default() }).unwrap()
}

/// Waits until everything is on disk, as the end of a process does.
fn settle(cache: &Cache) {
    assert!(cache.flush(Duration::from_secs(60)));
}

struct Opened {
    counted: Arc<Counted>,
    repo: Repo,
    log: Log,
}

async fn open(house: &House, cache: &Arc<Cache>, freshness: Freshness) -> Result<Opened, Error> {
    let counted = Counted::with_log(house.repo.store().clone());
    let memory = Memory { cache: cache.clone(), freshness };
    let (repo, log) = Repo::open_remembered(counted.clone(), &memory, &password()).await?;
    Ok(Opened { counted, repo, log })
}

impl Opened {
    fn browse(&self) -> Browse {
        let chunks = Chunks::new(&self.repo, &ChunksOptions::default());
        Browse::open(&chunks, &self.log, self.log.snapshots().last().unwrap())
    }

    async fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let browse = self.browse();
        let path = path.canonicalize().unwrap();
        let found = browse.get(path.to_str().unwrap().trim_start_matches('/').as_bytes()).await?.unwrap();
        let content = &found.node().content;
        Ok(browse.read(content, 0, content.len() as usize).await?.to_vec())
    }

    async fn list_root(&self) -> usize {
        let drive = snapshot_drive(self.browse(), b"", &[], DriveOptions::default()).await.unwrap().unwrap();
        drive.list(ROOT, 0, 100).wait().await.unwrap().entries.len()
    }

    fn requests(&self) -> u64 {
        self.counted.totals().requests
    }
}

fn house_with(files: &[(&str, Vec<u8>)]) -> House {
    let house = House::new();
    for (name, content) in files {
        fs::write(house.source().join(name), content).unwrap();
    }
    house.backup();
    house
}

#[test]
fn what_was_seen_is_not_asked_for_again() {
    let content = noise(1, 3 << 20);
    let house = house_with(&[("a", content.clone()), ("b", noise(2, 3 << 20))]);
    let folder = house.folder.path().join("cache");
    house.runtime.block_on(async {
        let cache = open_cache(&folder);
        let cold = open(&house, &cache, Freshness::Newest).await.unwrap();
        assert_eq!(cold.list_root().await, 1);
        assert!(cold.read(&house.source().join("a")).await.unwrap() == content);
        assert!(cold.requests() > 5);
        settle(&cache);
    });
    // As another process would: what is on disk is all there is.
    house.runtime.block_on(async {
        let cache = open_cache(&folder);
        let warm = open(&house, &cache, Freshness::Newest).await.unwrap();
        assert_eq!(warm.list_root().await, 1);
        assert!(warm.read(&house.source().join("a")).await.unwrap() == content);
        assert_eq!(warm.requests(), 1, "{:#?}", warm.counted.log());

        let known = open(&house, &cache, Freshness::Known).await.unwrap();
        assert_eq!(known.list_root().await, 1);
        assert!(known.read(&house.source().join("a")).await.unwrap() == content);
        assert_eq!(known.requests(), 0, "{:#?}", known.counted.log());

        let offline = open(&house, &cache, Freshness::Offline).await.unwrap();
        assert_eq!(offline.list_root().await, 1);
        assert!(offline.read(&house.source().join("a")).await.unwrap() == content);
        let refused = offline.read(&house.source().join("b")).await.unwrap_err();
        assert!(matches!(refused.inner(), Error::Store(e) if e.kind == ErrorKind::Offline), "{refused:?}");
        assert_eq!(offline.requests(), 0);
    });
}

#[test]
fn the_newest_snapshot_is_seen_unless_the_known_will_do() {
    let house = house_with(&[("a", noise(1, 1000))]);
    let folder = house.folder.path().join("cache");
    let cache = open_cache(&folder);
    house.runtime.block_on(open(&house, &cache, Freshness::Newest)).map(drop).unwrap();
    house.backup();
    settle(&cache);
    house.runtime.block_on(async {
        let known = open(&house, &cache, Freshness::Known).await.unwrap();
        assert_eq!(known.log.snapshots().len(), 1);
        let newest = open(&house, &cache, Freshness::Newest).await.unwrap();
        assert_eq!(newest.log.snapshots().len(), 2);
    });
}

#[test]
fn another_repository_in_the_same_place_is_opened() {
    let house = house_with(&[("a", noise(1, 1000))]);
    let cache_folder = tempfile::tempdir().unwrap();
    let cache = open_cache(cache_folder.path());
    house.runtime.block_on(open(&house, &cache, Freshness::Newest)).map(drop).unwrap();
    settle(&cache);

    let repository = house.folder.path().join("repository");
    let other = house_with(&[("a", noise(3, 1000)), ("b", noise(4, 1000))]);
    fs::remove_dir_all(&repository).unwrap();
    fs::rename(other.folder.path().join("repository"), &repository).unwrap();
    house.runtime.block_on(async {
        for freshness in [Freshness::Newest, Freshness::Newest] {
            let opened = open(&house, &cache, freshness).await.unwrap();
            assert_eq!(opened.repo.config().repository, other.repo.config().repository);
            assert!(opened.log.problems.is_empty());
            settle(&cache);
        }
    });

    fs::remove_dir_all(&repository).unwrap();
    fs::create_dir(&repository).unwrap();
    let gone = house.runtime.block_on(open(&house, &cache, Freshness::Newest)).err().unwrap();
    assert!(matches!(gone, Error::NoRepository { .. }), "{gone:?}");
}

#[test]
fn a_cache_that_lies_is_not_believed() {
    let content = noise(1, 5 << 20);
    let house = house_with(&[("a", content.clone())]);
    let folder = house.folder.path().join("cache");
    let read = |cache: &Arc<Cache>| {
        house.runtime.block_on(async {
            let opened = open(&house, cache, Freshness::Newest).await.unwrap();
            assert!(opened.read(&house.source().join("a")).await.unwrap() == content);
            settle(cache);
            opened.requests()
        })
    };
    let cold = read(&open_cache(&folder));
    let slots = folder.join("slots");
    let mut bytes = fs::read(&slots).unwrap();
    for at in (1000..bytes.len()).step_by(30_000) {
        bytes[at] ^= 1;
    }
    fs::write(&slots, &bytes).unwrap();
    let lied_to = read(&open_cache(&folder));
    assert!(lied_to > 1 && lied_to <= cold, "{lied_to} of {cold}");
    assert_eq!(read(&open_cache(&folder)), 1, "what was bad was written anew");
}

#[test]
fn what_is_pinned_stays_and_is_enough_to_be_read_offline() {
    let house = House::new();
    let source = house.source().canonicalize().unwrap();
    let wanted = source.join("wanted");
    fs::create_dir_all(wanted.join("below")).unwrap();
    fs::create_dir(source.join("other")).unwrap();
    let large = noise(1, 30 << 20);
    fs::write(wanted.join("large"), &large).unwrap();
    for i in 0..300 {
        fs::write(wanted.join(format!("below/{i}")), noise(i, 3000)).unwrap();
    }
    fs::write(source.join("other/large"), noise(2, 40 << 20)).unwrap();
    house.backup();
    let cache_folder = tempfile::tempdir().unwrap();
    let small = cache::Options { limit: Some(cache::LIMIT_BYTES_MIN), ..cache::Options::default() };
    let path = |path: &Path| path.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    house.runtime.block_on(async {
        let cache = Cache::open(cache_folder.path(), &small).unwrap();
        let opened = open(&house, &cache, Freshness::Newest).await.unwrap();
        let pinned = pin(&opened.browse(), &path(&wanted), "mine", 1, &Collect::default()).await.unwrap();
        assert_eq!(pinned.nodes, 303);
        assert!(pinned.fetched > large.len() as u64);
        // Everything else fights for the rest.
        opened.read(&source.join("other/large")).await.unwrap();
        settle(&cache);
        let again = pin(&opened.browse(), &path(&wanted), "mine", 2, &Collect::default()).await.unwrap();
        assert_eq!(again.fetched, 0);
    });
    house.runtime.block_on(async {
        let cache = Cache::open(cache_folder.path(), &small).unwrap();
        let offline = open(&house, &cache, Freshness::Offline).await.unwrap();
        let drive =
            snapshot_drive(offline.browse(), &path(&wanted), &[], DriveOptions::default()).await.unwrap().unwrap();
        assert_eq!(drive.list(ROOT, 0, 100).wait().await.unwrap().entries.len(), 2);
        assert!(offline.read(&wanted.join("large")).await.unwrap() == large);
        for i in 0..300 {
            assert!(offline.read(&wanted.join(format!("below/{i}"))).await.unwrap() == noise(i, 3000), "{i}");
        }
        assert!(offline.read(&source.join("other/large")).await.is_err());
        assert_eq!(offline.requests(), 0);
        cache.unpin("mine").unwrap();
        assert!(cache.pins().unwrap().is_empty());
    });
}

#[test]
fn pages_of_a_backup_need_not_be_fetched_afterwards() {
    let mut house = House::new();
    for i in 0..2000 {
        fs::write(house.source().join(format!("{i:04}")), noise(i, 300)).unwrap();
    }
    let folder = house.folder.path().join("cache");
    let cache = open_cache(&folder);
    house.backup();
    let opened = house.runtime.block_on(open(&house, &cache, Freshness::Newest)).map(|o| (o.repo, o.counted)).unwrap();
    let counted = opened.1;
    house.repo = opened.0;
    fs::write(house.source().join("new"), b"new").unwrap();
    house.backup();
    settle(&cache);
    counted.reset();
    fs::write(house.source().join("newer"), b"newer").unwrap();
    house.backup();
    let pages =
        counted.log().into_iter().filter(|request| request.verb == Verb::Get && request.name.starts_with("packs/"));
    assert_eq!(pages.count(), 0, "{:#?}", counted.log());
}
