//! Backups while somebody else prunes: at every request of a backup, packs it counts on are marked, swept, removed. Whatever it
//! acknowledges is whole; what it cannot make whole it does not acknowledge.

use crate::damage::needs_of;
use crate::house::House;
use crate::house::noise;
use crate::house::password;
use crate::truth::Objects;
use crate::truth::listen;
use bygone::backup;
use bygone::backup::Options;
use bygone::backup::Stdin;
use bygone::backup::Summary;
use bygone::format::record::Event;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::repo::Author;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::repo::pack_name;
use bygone::repo::pack_of;
use bygone::state::State;
use bygone::store::AnyStore;
use bygone::store::Asked;
use bygone::store::Counted;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::Verb;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const NOW: Time = Time { secs: 1_800_000_000, nanos: 0 };

/// A repository with garbage that the next backup of the source finds useful again.
struct Scene {
    house: House,
    objects: Arc<Objects>,
    /// Packs that no wanted snapshot needs.
    garbage: Vec<ObjectId>,
    /// The forgotten snapshot that needed them.
    forgotten: SnapshotId,
    /// The newest wanted one.
    parent: SnapshotId,
}

impl Scene {
    fn new() -> Scene {
        let objects = Arc::new(Objects::default());
        let house = House::with_store(tempfile::tempdir().unwrap(), objects.clone());
        for folder in 0..3 {
            fs::create_dir(house.source().join(format!("{folder}"))).unwrap();
            fs::write(house.source().join(format!("{folder}/kept")), noise(folder, 40_000)).unwrap();
        }
        house.backup();
        fill(&house.source());
        let forgotten = house.backup().snapshot.unwrap().id;
        fs::remove_file(house.source().join("1/large")).unwrap();
        fs::remove_file(house.source().join("1/small")).unwrap();
        let parent = house.backup().snapshot.unwrap().id;
        house.runtime.block_on(Log::forget(&house.repo, house.author(), NOW, &[forgotten])).unwrap();
        let needed = house.runtime.block_on(needs_of(&house.repo)).packs();
        let garbage: Vec<ObjectId> =
            objects.names("packs/").iter().filter(|name| !needed.contains(*name)).filter_map(|n| pack_of(n)).collect();
        assert_eq!(garbage.len(), 2);
        // The same bytes again, and something new.
        fill(&house.source());
        fs::write(house.source().join("2/new"), noise(50, 30_000)).unwrap();
        Scene { house, objects, garbage, forgotten, parent }
    }

    /// Somebody else, who sees the objects as they are.
    fn other(&self, objects: &Arc<Objects>) -> Other {
        Other {
            objects: objects.clone(),
            state: self.house.folder.path().join("other"),
            garbage: self.garbage.clone(),
            forgotten: self.forgotten,
        }
    }

    /// A backup through this store, by a machine whose state lies there.
    fn backup(&self, store: AnyStore, state: &Path, options: Options) -> Result<Summary, backup::Error> {
        let runtime = &self.house.runtime;
        let repo = runtime.block_on(Repo::open(store, &password()))?;
        let state = State::open(state, repo.config().repository).unwrap();
        let author = Author { state: &state, machine: b"test" };
        backup::backup(&repo, author, runtime.handle(), options, &Collect::default())
    }

    /// Every byte of every wanted snapshot can be read. Gives their ids.
    fn expect_whole(&self, objects: &Arc<Objects>, what: &str) -> Vec<SnapshotId> {
        let said = self.house.runtime.block_on(listen(objects.clone())).unwrap();
        assert!(said.complaints().is_empty(), "{what}: {:?}", said.complaints());
        said.snapshots.into_keys().collect()
    }
}

/// Files that were there before.
fn fill(root: &Path) {
    fs::write(root.join("1/large"), noise(60, 3_000_000)).unwrap();
    fs::write(root.join("1/small"), noise(61, 50_000)).unwrap();
}

/// A prune of another machine, step by step.
#[derive(Clone)]
struct Other {
    objects: Arc<Objects>,
    state: PathBuf,
    garbage: Vec<ObjectId>,
    forgotten: SnapshotId,
}

impl Other {
    /// On a thread and a runtime of its own: it is called in the middle of a request.
    fn act<T: Send>(&self, deed: impl AsyncFnOnce(&Repo, Author<'_>) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let repo = Repo::open(self.objects.clone(), &password()).await.unwrap();
                    let state = State::open(&self.state, repo.config().repository).unwrap();
                    deed(&repo, Author { state: &state, machine: b"other" }).await
                })
            });
            acting.join().unwrap()
        })
    }

    fn say(&self, event: Event) {
        self.act(async move |repo, author| {
            Log::append(repo, author, NOW, event, Vec::new()).await.unwrap();
        });
    }

    fn names(&self) -> Vec<ObjectId> {
        self.garbage.iter().copied().chain([ObjectId(self.forgotten.0)]).collect()
    }

    fn mark(&self) {
        self.say(Event::Mark(self.names()));
    }

    fn sweep(&self) {
        self.say(Event::Sweep(self.names()));
    }

    fn wanted(&self) -> Vec<SnapshotId> {
        self.act(async |repo, _| Log::read(repo).await.unwrap().snapshots().iter().map(|s| s.id).collect())
    }

    fn remove(&self) {
        self.garbage.iter().for_each(|pack| self.objects.set(&pack_name(*pack), None));
    }
}

/// What was asked, in this order.
type Requests = Arc<Mutex<Vec<(Verb, String)>>>;

/// Calls `deed` just before the n-th request.
fn at(objects: &Arc<Objects>, number: u64, deed: impl Fn() + Send + Sync + 'static) -> (AnyStore, Requests) {
    let requests = Requests::default();
    let all = requests.clone();
    let store = Faulty::new(objects.clone(), move |asked: &Asked<'_>| {
        if asked.number == number {
            deed();
        }
        all.lock().unwrap().push((asked.verb, asked.name.to_owned()));
        Fault::None
    });
    (store, requests)
}

/// True if the look before the record came after the n-th request.
fn is_seen(requests: &[(Verb, String)], number: usize) -> bool {
    let record = requests.iter().rposition(|(verb, name)| *verb == Verb::Put && name.starts_with("log/")).unwrap();
    let look = requests[..record].iter().rposition(|(verb, name)| *verb == Verb::List && name == "log");
    number <= look.unwrap() + 1
}

/// Calls `deed` once, just before a request of this kind.
fn once(
    objects: &Arc<Objects>,
    is_meant: impl Fn(&Asked<'_>) -> bool + Send + Sync + 'static,
    deed: impl Fn() + Send + Sync + 'static,
) -> Arc<Faulty> {
    let done = AtomicBool::new(false);
    Faulty::new(objects.clone(), move |asked: &Asked<'_>| {
        if is_meant(asked) && !done.swap(true, Ordering::SeqCst) {
            deed();
        }
        Fault::None
    })
}

fn writes(asked: &Asked<'_>, prefix: &str) -> bool {
    asked.verb == Verb::Put && asked.name.starts_with(prefix)
}

#[test]
fn a_prune_that_comes_at_any_request() {
    let scene = Scene::new();
    let (mut runs, mut is_over) = (0, false);
    for number in 1.. {
        for how in ["marks", "sweeps", "sweeps and removes"] {
            let what = format!("somebody {how} before request {number}");
            let objects = scene.objects.copy();
            let other = scene.other(&objects);
            let meanwhile = {
                let other = other.clone();
                move || {
                    let before = other.wanted().len();
                    if how == "marks" {
                        return other.mark();
                    }
                    other.sweep();
                    // What a wanted snapshot needs it would copy out first.
                    if how == "sweeps and removes" && other.wanted().len() == before && before == 2 {
                        other.remove();
                    }
                }
            };
            let (store, requests) = at(&objects, number, meanwhile);
            let state = tempfile::tempdir().unwrap();
            let summary = scene.backup(store, state.path(), scene.house.options());
            let summary = summary.unwrap_or_else(|error| panic!("{what}: {error}"));
            let requests = requests.lock().unwrap();
            is_over = (requests.len() as u64) < number;
            // What was stored again counts, in the summary and in the snapshot unless it was after the record.
            let old = scene.objects.names("packs/");
            let new = objects.names("packs/").into_iter().filter(|name| !old.contains(name));
            let stored: u64 = new.map(|name| objects.bytes(&name).len() as u64).sum();
            let told = summary.figures.bytes_stored;
            // One that begins anew counts from there: the new file was stored before.
            assert!((stored.saturating_sub(40_000)..=stored).contains(&told), "{what}: {told} of {stored}");
            let noted = summary.snapshot.as_ref().unwrap().figures.bytes_stored;
            assert!(noted == told || !is_seen(&requests, number as usize), "{what}: {noted} of {told}");
            // What is marked is swept one day, unless a snapshot counts on it that did not see the mark.
            match how {
                "marks" if !is_over && is_seen(&requests, number as usize) => {
                    other.sweep();
                    other.remove();
                }
                "marks" => {}
                _ if !is_over => other.remove(),
                _ => {}
            }
            let wanted = scene.expect_whole(&objects, &what);
            assert_eq!(wanted.len(), 3, "{what}");
            assert!(wanted.contains(&summary.snapshot.unwrap().id), "{what}");
            runs += 1;
        }
        if is_over {
            break;
        }
    }
    println!("{runs} runs");
    assert!(runs > 60, "{runs}");
}

#[test]
fn what_a_stream_has_lost_is_copied_or_the_backup_fails() {
    let scene = Scene::new();
    let options = || {
        let stream = Box::new(std::io::Cursor::new(noise(60, 3_000_000)));
        let stdin = Some(Stdin { path: b"stream".to_vec(), stream });
        Options { stdin, ..scene.house.options() }
    };
    for (prefix, removes) in [("packs/", false), ("packs/", true), ("log/", false), ("log/", true)] {
        let what = format!("before the first of {prefix}, removes: {removes}");
        let objects = scene.objects.copy();
        let other = scene.other(&objects);
        let meanwhile = {
            let other = other.clone();
            move || {
                other.sweep();
                if removes {
                    other.remove();
                }
            }
        };
        let store = once(&objects, move |asked| writes(asked, prefix), meanwhile);
        let state = tempfile::tempdir().unwrap();
        let done = scene.backup(store, state.path(), options());
        other.remove();
        let wanted = scene.expect_whole(&objects, &what);
        match done {
            Ok(summary) => assert!(!removes && wanted.contains(&summary.snapshot.unwrap().id), "{what}"),
            Err(backup::Error::Removed { chunks }) => {
                assert!(removes && chunks > 0 && wanted.len() == 2, "{what}: {chunks} {wanted:?}");
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

#[test]
fn a_parent_that_goes_is_not_counted_on() {
    let scene = Scene::new();
    let (objects, parent) = (scene.objects.copy(), scene.parent);
    let other = scene.other(&objects);
    // All that only the parent and the snapshot that is going to be need.
    let needs = |objects: Arc<Objects>| {
        let repo = scene.house.runtime.block_on(Repo::open(objects, &password())).unwrap();
        scene.house.runtime.block_on(needs_of(&repo)).packs()
    };
    let forget = move |repo: &Repo| (repo.clone(), parent);
    let meanwhile = {
        let other = other.clone();
        move || {
            other.act(async move |repo, author| {
                let (repo, parent) = forget(repo);
                let all: Vec<SnapshotId> = Log::read(&repo).await.unwrap().snapshots().iter().map(|s| s.id).collect();
                Log::forget(&repo, author, NOW, &all).await.unwrap();
                let packs = repo.store().list("packs").await.unwrap();
                let mut names: Vec<ObjectId> = packs.iter().filter_map(|stored| pack_of(&stored.name)).collect();
                names.push(ObjectId(parent.0));
                Log::append(&repo, author, NOW, Event::Mark(names), Vec::new()).await.unwrap();
            });
        }
    };
    let before = objects.names("packs/");
    let state = tempfile::tempdir().unwrap();
    let store = once(&objects, |asked| writes(asked, "packs/"), meanwhile);
    let summary = scene.backup(store, state.path(), scene.house.options()).unwrap();
    assert_eq!(summary.parent, Some(parent));
    let names = before.iter().filter_map(|name| pack_of(name)).chain([ObjectId(parent.0)]).collect();
    other.say(Event::Sweep(names));
    before.iter().for_each(|name| objects.set(name, None));
    assert_eq!(scene.expect_whole(&objects, "parent gone"), [summary.snapshot.unwrap().id]);
    assert!(needs(objects).iter().any(|pack| before.contains(pack)), "its pages lead to where it was");
}

#[test]
fn a_snapshot_that_was_taken_away_before_it_was_done_gets_another_id() {
    let scene = Scene::new();
    let objects = scene.objects.copy();
    let other = scene.other(&objects);
    let stands = AtomicBool::new(false);
    let is_look_after = move |asked: &Asked<'_>| {
        let stood = stands.load(Ordering::SeqCst);
        stands.fetch_or(writes(asked, "log/"), Ordering::SeqCst);
        stood && asked.verb == Verb::List && asked.name == "log"
    };
    let known = scene.parent;
    let meanwhile = {
        let other = other.clone();
        move || {
            let fresh = other.act(async |repo, author| {
                let log = Log::read(repo).await.unwrap();
                let fresh = log.snapshots().last().unwrap().id;
                Log::forget(repo, author, NOW, &[fresh]).await.unwrap();
                fresh
            });
            assert_ne!(fresh, known);
            other.say(Event::Sweep(vec![ObjectId(fresh.0)]));
        }
    };
    let state = tempfile::tempdir().unwrap();
    let store = once(&objects, is_look_after, meanwhile);
    let summary = scene.backup(store, state.path(), scene.house.options()).unwrap();
    let wanted = scene.expect_whole(&objects, "taken away");
    assert!(wanted.len() == 3 && wanted.contains(&summary.snapshot.unwrap().id));
}

#[test]
fn the_next_backup_fills_the_holes_of_one_that_died_before_its_second_look() {
    let scene = Scene::new();
    let objects = scene.objects.copy();
    let other = scene.other(&objects);
    let stands = AtomicBool::new(false);
    let sweeper = other.clone();
    let dying = Faulty::new(objects.clone(), move |asked: &Asked<'_>| {
        if stands.load(Ordering::SeqCst) {
            return Fault::Before(ErrorKind::Other);
        }
        if writes(asked, "log/") {
            stands.store(true, Ordering::SeqCst);
            sweeper.sweep();
            sweeper.remove();
        }
        Fault::None
    });
    let state = tempfile::tempdir().unwrap();
    assert!(scene.backup(dying, state.path(), scene.house.options()).is_err());
    let said = scene.house.runtime.block_on(listen(objects.clone())).unwrap();
    assert_eq!(said.snapshots.len(), 3);
    assert!(!said.complaints().is_empty(), "the snapshot that was never acknowledged has holes");
    let summary = scene.backup(objects.clone(), state.path(), scene.house.options()).unwrap();
    assert!(!said.snapshots.contains_key(&summary.snapshot.unwrap().id));
    // Both are whole: a chunk is found wherever it lies.
    assert_eq!(scene.expect_whole(&objects, "after the next backup").len(), 4);
}

#[test]
fn looking_twice_costs_one_listing_of_the_log_when_nobody_prunes() {
    let scene = Scene::new();
    let counted = Counted::with_log(scene.objects.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let lists = asked.clone();
    let store = Faulty::new(counted.clone(), move |asked: &Asked<'_>| {
        lists.fetch_add(u64::from(asked.verb == Verb::List && asked.name == "packs"), Ordering::SeqCst);
        Fault::None
    });
    let state = tempfile::tempdir().unwrap();
    scene.backup(store.clone(), state.path(), scene.house.options()).unwrap();
    asked.store(0, Ordering::SeqCst);
    let before = store.requests();
    scene.backup(store.clone(), state.path(), scene.house.options()).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "packs are listed once, at the beginning");
    println!("{} requests for a backup without changes: {:#?}", store.requests() - before, counted.log());
}
