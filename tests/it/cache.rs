//! The chunk cache: what it keeps, what it evicts, and that its bound holds on the disk.

use crate::program::Program;
use crate::program::json_lines;
use bygone::cache::Cache;
use bygone::cache::Class;
use bygone::cache::Error;
use bygone::cache::LIMIT_BYTES_MIN;
use bygone::cache::Listed;
use bygone::cache::Options;
use bygone::cache::RUN_SEGMENTS;
use bygone::format::sealed::SEALED_SEGMENT_BYTES;
use bygone::id::ObjectId;
use bytes::Bytes;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn pack(number: u64) -> ObjectId {
    ObjectId(u128::from(number).to_le_bytes())
}

/// What the storage would give for a segment: each differs from all others.
pub(crate) fn sealed(number: u64, segment: u64) -> Vec<u8> {
    let word = blake3::hash(&[number.to_le_bytes(), segment.to_le_bytes()].concat());
    word.as_bytes().iter().copied().cycle().take(SEALED_SEGMENT_BYTES).collect()
}

/// A whole run of a pack.
pub(crate) fn run(number: u64, run: u64) -> Bytes {
    (run * RUN_SEGMENTS..(run + 1) * RUN_SEGMENTS).flat_map(|segment| sealed(number, segment)).collect()
}

pub(crate) fn segments(run: u64) -> std::ops::Range<u64> {
    run * RUN_SEGMENTS..(run + 1) * RUN_SEGMENTS
}

/// A folder for a cache, below one that is removed in the end.
pub(crate) struct Place {
    _scratch: TempDir,
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("cache");
        Place { _scratch: scratch, folder }
    }

    pub(crate) fn open(&self) -> Arc<Cache> {
        Cache::open(&self.folder, &Options::default()).unwrap()
    }

    /// With a limit for all.
    pub(crate) fn with_limit(bytes: u64) -> (Place, Arc<Cache>) {
        let place = Place::new();
        let cache = place.open();
        cache.set_limit(bytes).unwrap();
        (place, cache)
    }

    /// What the folder takes on disk, found out without the cache.
    pub(crate) fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.folder)
    }
}

/// What the folder of a cache takes on disk, found out without the cache.
pub(crate) fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // A log may go while we look.
    let blocks = |path: PathBuf| fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
    entries.chain([folder.to_owned()]).map(blocks).sum()
}

pub(crate) fn keep(cache: &Cache, number: u64, at: u64, class: Class) {
    cache.keep(pack(number), class, at * RUN_SEGMENTS, run(number, at));
    assert!(cache.flush(PATIENCE));
}

/// Whether a run is there, and right.
pub(crate) fn has(cache: &Cache, number: u64, at: u64) -> bool {
    let found: Option<Vec<Bytes>> = cache.read(pack(number), segments(at)).into_iter().collect();
    found.is_some_and(|found| {
        assert!(found.concat() == run(number, at), "run {at} of pack {number} is another");
        true
    })
}

#[test]
fn what_is_kept_is_found_again_by_others_too() {
    let place = Place::new();
    let cache = place.open();
    assert!(!has(&cache, 1, 0));
    keep(&cache, 1, 0, Class::Data);
    assert!(has(&cache, 1, 0) && !has(&cache, 2, 0) && !has(&cache, 1, 1));
    let other = place.open();
    assert!(has(&other, 1, 0));
    drop((cache, other));
    let again = place.open();
    assert!(has(&again, 1, 0));
    let stats = again.stats();
    assert_eq!((stats.hits, stats.misses, stats.bytes_hit), (4, 0, 4 * SEALED_SEGMENT_BYTES as u64));
}

#[test]
fn runs_grow_by_segments_and_end_where_their_pack_ends() {
    let place = Place::new();
    let cache = place.open();
    // Segments 2..7 of a pack whose last one is short.
    let body: Bytes = (2..7).flat_map(|segment| sealed(1, segment)).collect();
    cache.keep(pack(1), Class::Data, 2, body.slice(..body.len() - 1000));
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.holds(pack(1), 0..9), [false, false, true, true, true, true, true, false, false]);
    let read = cache.read(pack(1), 0..9);
    for (segment, found) in (0..9).zip(&read) {
        let expected = sealed(1, segment);
        match segment {
            2..6 => assert_eq!(found.as_deref(), Some(&expected[..])),
            6 => assert_eq!(found.as_deref(), Some(&expected[..expected.len() - 1000])),
            _ => assert!(found.is_none()),
        }
    }
    // The gap in front is filled; nothing that was there is lost.
    cache.keep(pack(1), Class::Data, 0, body_of(1, 0..2));
    assert!(cache.flush(PATIENCE));
    assert!(has(&cache, 1, 0));
    assert_eq!(cache.status().unwrap().runs, 2);
    // From the middle of one run to the middle of the next.
    let read = cache.read(pack(1), 3..6);
    assert!(read.into_iter().map(Option::unwrap).eq((3..6).map(|segment| sealed(1, segment))));
}

pub(crate) fn body_of(number: u64, segments: std::ops::Range<u64>) -> Bytes {
    segments.flat_map(|segment| sealed(number, segment)).collect()
}

#[test]
fn what_does_not_open_is_forgotten_and_kept_anew() {
    let place = Place::new();
    let cache = place.open();
    cache.keep(pack(1), Class::Data, 0, vec![7; 4 * SEALED_SEGMENT_BYTES].into());
    assert!(cache.flush(PATIENCE));
    // Kept already: what comes later does not replace it.
    cache.keep(pack(1), Class::Data, 0, run(1, 0));
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.read(pack(1), 1..2)[0].as_deref(), Some(&[7; SEALED_SEGMENT_BYTES][..]));
    cache.forget(pack(1), 1..2);
    cache.keep(pack(1), Class::Data, 0, run(1, 0));
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.read(pack(1), 1..2)[0].as_deref(), Some(&sealed(1, 1)[..]));
    assert_eq!(cache.read(pack(1), 0..1)[0].as_deref(), Some(&[7; SEALED_SEGMENT_BYTES][..]));
    cache.forget(pack(1), 0..4);
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.status().unwrap().runs, 0);
    assert_eq!(cache.stats().forgotten, 5);
}

#[test]
fn the_least_recently_read_goes_first() {
    let (place, cache) = Place::with_limit(LIMIT_BYTES_MIN);
    let mut count = 0;
    while cache.status().unwrap().runs == count {
        keep(&cache, 1, count, Class::Data);
        count += 1;
        // The oldest is read again and again.
        assert!(has(&cache, 1, 0));
        assert!(cache.flush(PATIENCE));
        assert!(place.disk_bytes() <= LIMIT_BYTES_MIN);
        assert!(count < 100);
    }
    assert!(count > 40, "only {count} runs in 16 MiB");
    // One did not fit: the oldest that was not read gave way.
    assert!(has(&cache, 1, 0) && !has(&cache, 1, 1));
    assert!((2..count).all(|at| has(&cache, 1, at)));
}

#[test]
fn data_does_not_push_out_metadata_but_much_metadata_has_no_privilege() {
    let (_place, cache) = Place::with_limit(LIMIT_BYTES_MIN);
    (0..6).for_each(|at| keep(&cache, 1, at, Class::Metadata));
    (0..200).for_each(|at| keep(&cache, 2, at, Class::Data));
    assert!((0..6).all(|at| has(&cache, 1, at)));
    // An eighth is 7 runs: what is above it and older than all data goes.
    (6..40).for_each(|at| keep(&cache, 1, at, Class::Metadata));
    (200..300).for_each(|at| keep(&cache, 2, at, Class::Data));
    let left = (0..40).filter(|at| cache.holds(pack(1), segments(*at))[0]).count();
    assert_eq!(left, 7);
}

#[test]
fn objects_and_listings() {
    let (place, cache) = Place::with_limit(LIMIT_BYTES_MIN);
    let listed = vec![Listed { name: "log/a/0".into(), len: 5, modified_secs: 7 }];
    assert_eq!((cache.object("s3://a", "config"), cache.listing("s3://a", "config")), (None, None));
    cache.keep_object("s3://a", "config", Bytes::from_static(b"one"));
    cache.keep_listing("s3://a", "config", &listed);
    cache.keep_listing("s3://a", "", &[]);
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.object("s3://a", "config").as_deref(), Some(&b"one"[..]));
    assert_eq!(cache.listing("s3://a", "config"), Some(listed));
    assert_eq!(cache.listing("s3://a", ""), Some(vec![]));
    assert_eq!(cache.object("s3://b", "config"), None);
    cache.keep_object("s3://a", "config", Bytes::from_static(b"two"));
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.object("s3://a", "config").as_deref(), Some(&b"two"[..]));
    assert_eq!(cache.status().unwrap().objects, 3);
    cache.forget_object("s3://a", "config");
    assert!(cache.flush(PATIENCE));
    assert_eq!(cache.object("s3://a", "config"), None);
    // An eighth of the limit is theirs; the oldest go, and what was read stays.
    cache.keep_object("s3://a", "kept", Bytes::from_static(b"kept"));
    for i in 0..400u32 {
        cache.keep_object("s3://a", &format!("{i}"), vec![i as u8; 20_000].into());
        assert!(cache.flush(PATIENCE));
        assert!(cache.object("s3://a", "kept").is_some(), "{i}");
        assert!(place.disk_bytes() <= LIMIT_BYTES_MIN);
    }
    let bytes = cache.status().unwrap().object_bytes;
    assert!((1 << 20..LIMIT_BYTES_MIN / 8 + 1).contains(&bytes), "{bytes}");
    assert!(cache.object("s3://a", "0").is_none() && cache.object("s3://a", "399").is_some());
}

#[test]
fn the_folder_is_private_and_marked_and_others_are_left_alone() {
    let place = Place::new();
    let cache = place.open();
    assert_eq!(fs::metadata(&place.folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(
        fs::read(place.folder.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with(b"Signature: 8a477f597d28d172789f06886806bc55")
    );
    drop(cache);
    // A file of somebody else does no harm in our folder, and comes to none.
    fs::write(place.folder.join("mine"), "mine").unwrap();
    fs::write(place.folder.join("cache.sqlite"), "not a database").unwrap();
    let cache = place.open();
    keep(&cache, 1, 0, Class::Data);
    cache.clear(true).unwrap();
    assert_eq!(fs::read(place.folder.join("mine")).unwrap(), b"mine");
    // A folder that is not ours is refused and not touched, even if some names are.
    let scratch = tempfile::tempdir().unwrap();
    for name in ["slots", "letter"] {
        fs::write(scratch.path().join(name), "dear").unwrap();
    }
    let refused = Cache::open(scratch.path(), &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::NotOurs { .. }), "{refused}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    assert_eq!(fs::read(scratch.path().join("slots")).unwrap(), b"dear");
}

#[test]
fn a_lower_limit_gives_room_back_at_once() {
    let (place, cache) = Place::with_limit(64 << 20);
    for at in 0..300 {
        keep(&cache, 1, at, Class::Data);
    }
    assert!(place.disk_bytes() > 50 << 20 && place.disk_bytes() <= 64 << 20, "{}", place.disk_bytes());
    let other = place.open();
    cache.set_limit(20 << 20).unwrap();
    assert!(place.disk_bytes() <= 20 << 20, "{}", place.disk_bytes());
    assert!(has(&other, 1, 299) && !has(&other, 1, 0));
    assert_eq!((other.limit().unwrap(), place.open().limit().unwrap()), (20 << 20, 20 << 20));
    // For one process alone.
    let small = Cache::open(&place.folder, &Options { limit: Some(LIMIT_BYTES_MIN), ..Options::default() }).unwrap();
    assert!(place.disk_bytes() <= LIMIT_BYTES_MIN);
    assert_eq!((small.limit().unwrap(), cache.limit().unwrap()), (LIMIT_BYTES_MIN, 20 << 20));
    let refused = cache.set_limit(1).unwrap_err();
    assert!(matches!(refused, Error::LimitTooSmall { .. }), "{refused}");
    cache.clear(false).unwrap();
    assert!(place.disk_bytes() < 1 << 20, "{}", place.disk_bytes());
    assert_eq!(cache.limit().unwrap(), 20 << 20);
    assert!(!has(&other, 1, 299));
    keep(&other, 1, 5, Class::Data);
    assert!(has(&other, 1, 5) && has(&place.open(), 1, 5));
}

#[test]
fn pins_stay_and_count_apart() {
    let (place, cache) = Place::with_limit(LIMIT_BYTES_MIN);
    // Pinned before it is there, while it is there, and beyond the limit.
    cache.pin("photos", "s3://a", 77, &[(pack(1), 0..9)]).unwrap();
    keep(&cache, 1, 0, Class::Data);
    keep(&cache, 2, 0, Class::Metadata);
    cache.pin("photos", "s3://a", 78, &[(pack(2), 0..4)]).unwrap();
    for at in 0..100 {
        cache.write_pinned("photos", pack(3), Class::Data, at * RUN_SEGMENTS, &run(3, at)).unwrap();
    }
    cache.keep_object("s3://a", "config", Bytes::from_static(b"one"));
    for at in 0..100 {
        keep(&cache, 4, at, Class::Data);
    }
    for i in 0..300u32 {
        cache.keep_object("s3://b", &format!("{i}"), vec![i as u8; 20_000].into());
        assert!(cache.flush(PATIENCE));
    }
    assert!(has(&cache, 1, 0) && has(&cache, 2, 0) && (0..100).all(|at| has(&cache, 3, at)));
    assert_eq!(cache.object("s3://a", "config").as_deref(), Some(&b"one"[..]));
    let status = cache.status().unwrap();
    assert!(status.pinned_bytes > 102 * 4 * SEALED_SEGMENT_BYTES as u64 && status.data_bytes > 10 << 20);
    assert!(place.disk_bytes() <= LIMIT_BYTES_MIN + status.pinned_bytes);
    let pins = cache.pins().unwrap();
    assert_eq!((pins.len(), &pins[0].label[..], &pins[0].place[..], pins[0].created_secs), (1, "photos", "s3://a", 77));
    assert_eq!(pins[0].bytes / 102, 266_240);
    // What two pins keep is let go by the last of them.
    cache.pin("more", "s3://a", 79, &[(pack(3), 8..12)]).unwrap();
    cache.clear(false).unwrap();
    assert!(has(&cache, 3, 2) && has(&cache, 3, 99) && !has(&cache, 4, 99));
    cache.unpin("photos").unwrap();
    assert!(place.disk_bytes() <= LIMIT_BYTES_MIN + cache.status().unwrap().pinned_bytes);
    (0..100).for_each(|at| keep(&cache, 5, at, Class::Data));
    assert!(has(&cache, 3, 2) && !has(&cache, 3, 99) && !has(&cache, 1, 0));
    cache.unpin("more").unwrap();
    assert_eq!(cache.status().unwrap().pinned_bytes, 0);
    assert!(matches!(cache.unpin("more"), Err(Error::NoPin { .. })));
    let no_pin = cache.write_pinned("more", pack(3), Class::Data, 0, &run(3, 0));
    assert!(matches!(no_pin, Err(Error::NoPin { .. })));
    assert!(place.disk_bytes() <= LIMIT_BYTES_MIN);
}

#[test]
fn what_comes_too_fast_is_dropped_not_waited_for() {
    let place = Place::new();
    let options = Options { queue_bytes_max: 1 << 20, ..Options::default() };
    let cache = Cache::open(&place.folder, &options).unwrap();
    cache.keep(pack(1), Class::Data, 0, vec![0; 2 << 20].into());
    assert_eq!(cache.stats().bytes_dropped, 2 << 20);
    keep(&cache, 1, 0, Class::Data);
    assert!(has(&cache, 1, 0));
}

// -- the program

#[test]
fn the_command_shows_bounds_and_empties_the_cache() {
    let program = Program::new();
    let folder = program.scratch().join(".cache/bygone");
    assert!(program.run(&["cache", "status"]).ok().stdout.starts_with("There is no cache yet"));
    assert_eq!(json_lines(&program.run(&["cache", "status", "--json"]).ok().stdout)[0]["exists"], false);
    assert_eq!(json_lines(&program.run(&["cache", "clear", "--json"]).ok().stdout)[0]["bytes_freed"], 0);
    assert!(!folder.exists(), "looking makes nothing");
    assert_eq!(program.run(&["cache", "limit", "64M"]).ok().stdout, "64 MiB\n");
    let cache = Cache::open(&folder, &Options::default()).unwrap();
    (0..20).for_each(|at| keep(&cache, 1, at, Class::Data));
    cache.pin("photos", "s3://a", 1, &[(pack(1), 0..8)]).unwrap();
    let status = &json_lines(&program.run(&["cache", "status", "--json"]).ok().stdout)[0];
    let number = |name: &str| status[name].as_u64().unwrap();
    assert_eq!((number("limit"), number("runs"), number("data_bytes")), (64 << 20, 20, 18 * 266_240));
    assert!(number("pinned_bytes") >= 2 * 266_240 && number("disk_bytes") > 20 * 266_240);
    let shown = program.run(&["cache", "status"]).ok().stdout;
    assert!(shown.contains("Contents  4.6 MiB") && shown.contains("pin 'photos'"), "{shown}");
    let freed = program.run(&["cache", "clear", "--json"]).ok().stdout;
    assert!(json_lines(&freed)[0]["bytes_freed"].as_u64().unwrap() >= 18 * 266_240, "{freed}");
    assert!(has(&cache, 1, 0) && !has(&cache, 1, 19));
    program.run(&["cache", "clear", "--pinned"]).ok();
    assert!(!has(&cache, 1, 0));
    let usual = json_lines(&program.run(&["cache", "limit", "auto", "--json"]).ok().stdout)[0]["limit"].as_u64();
    assert!((64 << 20) + 1 < usual.unwrap() && usual <= Some(10 << 30), "{usual:?}");
    assert_eq!(json_lines(&program.run(&["cache", "limit", "--json"]).ok().stdout)[0]["limit"].as_u64(), usual);
    let other = program.scratch().join("elsewhere");
    let named = program.run(&["--cache-dir", other.to_str().unwrap(), "cache", "limit", "--json", "20M"]).ok().stdout;
    assert_eq!(json_lines(&named)[0]["limit"], 20 << 20);
    let by_variable = program.command(&["cache", "limit"]).env("BYGONE_CACHE_DIR", &other).output().unwrap();
    assert_eq!(by_variable.stdout, b"20 MiB\n");
    // A folder with other things in it.
    let refused = program.run(&["--cache-dir", program.scratch().to_str().unwrap(), "cache", "limit"]).fails(1);
    assert!(
        refused.stderr.contains("neither empty nor a cache") && refused.stderr.contains("hint: "),
        "{}",
        refused.stderr
    );
    program.run(&["cache", "limit", "1M"]).fails(2);
}

// -- against a model

#[derive(Debug, Clone)]
enum Step {
    Keep { metadata: bool, at: u64 },
    Read { at: u64 },
    Forget { at: u64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..90u64).prop_map(|at| Step::Keep { metadata: at.is_multiple_of(9), at }),
        6 => (0..90u64).prop_map(|at| Step::Read { at }),
        1 => (0..90u64).prop_map(|at| Step::Forget { at }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Every run that is there is one of the most recently used ones: what the cache has lost is older than anything
    /// it has, within its class.
    #[test]
    fn it_evicts_as_a_list_in_order_of_use_would(steps in steps()) {
        let (place, mut cache) = Place::with_limit(LIMIT_BYTES_MIN);
        let floor = LIMIT_BYTES_MIN / 8 / 266_240;
        // In order of use, the newest last.
        let mut model: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Keep { metadata, at } => {
                    keep(&cache, 1, at, if metadata { Class::Metadata } else { Class::Data });
                    model.retain(|other| *other != at);
                    model.push(at);
                    prop_assert!(has(&cache, 1, at));
                    prop_assert!(cache.flush(PATIENCE));
                    let lost: Vec<u64> =
                        model.iter().copied().filter(|at| !cache.holds(pack(1), segments(*at))[0]).collect();
                    // At most a few at once, when the file of slots or the database has grown.
                    prop_assert!(lost.len() < 4, "{lost:?}");
                    for lost in lost {
                        let class = |at: &u64| at.is_multiple_of(9);
                        let metadata = model.iter().filter(|at| class(at)).count() as u64;
                        let older = model.iter().take_while(|at| **at != lost).filter(|at| class(at) == class(&lost));
                        prop_assert_eq!(older.count(), 0, "{} was not the oldest of its class", lost);
                        prop_assert!(!class(&lost) || metadata > floor, "metadata has a floor");
                        model.retain(|at| *at != lost);
                    }
                }
                Step::Read { at } => {
                    let is_known = model.contains(&at);
                    prop_assert_eq!(has(&cache, 1, at), is_known);
                    prop_assert!(cache.flush(PATIENCE));
                    if is_known {
                        model.retain(|other| *other != at);
                        model.push(at);
                    }
                }
                Step::Forget { at } => {
                    cache.forget(pack(1), segments(at));
                    prop_assert!(cache.flush(PATIENCE));
                    model.retain(|other| *other != at);
                }
                Step::Reopen => {
                    drop(cache);
                    cache = place.open();
                }
            }
            prop_assert!(place.disk_bytes() <= LIMIT_BYTES_MIN);
        }
    }
}
