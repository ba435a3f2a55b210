//! What every store must do, as one function: run against every implementation and every decorator.

use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bytes::Bytes;
use futures::future::join_all;
use std::ops::Range;
use std::time::Duration;
use std::time::SystemTime;

/// Content of that length in which every position shows.
pub(crate) fn content(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8).wrapping_add(seed)).collect()
}

/// The kind of failure, or none.
pub(crate) fn kind<T>(result: bygone::store::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

/// The names in a listing.
pub(crate) async fn names(store: &AnyStore, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|stored| stored.name).collect()
}

/// The whole contract. Wants an empty store and leaves it empty.
pub(crate) async fn contract(store: AnyStore) {
    what_is_missing(&store).await;
    what_was_written_comes_back(&store).await;
    ranges_end_with_the_object(&store).await;
    nothing_is_replaced(&store).await;
    one_of_many_wins(&store).await;
    listings_are_whole(&store).await;
    names_are_checked(&store).await;
    for name in names(&store, "").await {
        store.delete(&name).await.unwrap();
    }
    assert_eq!(names(&store, "").await, [""; 0]);
}

/// The contract of a store that takes the condition of a put and ignores it. Wants an empty store.
pub(crate) async fn contract_without_conditions(store: AnyStore) {
    what_is_missing(&store).await;
    what_was_written_comes_back(&store).await;
    ranges_end_with_the_object(&store).await;
    the_last_one_stays(&store).await;
    listings_are_whole(&store).await;
    names_are_checked(&store).await;
    for name in names(&store, "").await {
        store.delete(&name).await.unwrap();
    }
    assert_eq!(names(&store, "").await, [""; 0]);
}

async fn the_last_one_stays(store: &AnyStore) {
    store.put_new("log/w/1", content(49, 4)).await.unwrap();
    store.put_new("log/w/1", content(50, 5)).await.unwrap();
    assert_eq!(store.get("log/w/1").await.unwrap(), content(50, 5));
    let puts = (0..8).map(|seed| store.put_new("log/w/2", content(70_000, seed)));
    join_all(puts).await.into_iter().for_each(|put| put.unwrap());
    let there = store.get("log/w/2").await.unwrap();
    assert!((0..8).any(|seed| there == content(70_000, seed)), "one of them, whole");
}

async fn what_is_missing(store: &AnyStore) {
    assert_eq!(names(store, "").await, [""; 0]);
    assert_eq!(names(store, "packs/00").await, [""; 0]);
    assert_eq!(kind(store.get("config").await), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.get_range("packs/00/x", 0..4).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.head("config").await), Some(ErrorKind::NotFound));
    store.delete("config").await.unwrap();
    store.delete("packs/00/x").await.unwrap();
}

async fn what_was_written_comes_back(store: &AnyStore) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for (name, len) in [("config", 1), ("empty", 0), ("packs/00/large", 3 << 20)] {
        let bytes = content(len, 1);
        store.put_new(name, bytes.clone()).await.unwrap();
        assert!(store.get(name).await.unwrap() == bytes, "{name}");
        let stored = store.head(name).await.unwrap();
        assert_eq!((stored.name.as_str(), stored.len), (name, len as u64));
        let age = i128::from(stored.modified_secs) - i128::from(now.as_secs());
        assert!((-5..600).contains(&age), "{name} was written {age} s after now");
        assert!(store.list("").await.unwrap().contains(&stored));
    }
    store.delete("packs/00/large").await.unwrap();
    assert_eq!(kind(store.get("packs/00/large").await), Some(ErrorKind::NotFound));
    store.put_new("packs/00/large", content(9, 2)).await.unwrap();
    assert_eq!(store.get("packs/00/large").await.unwrap(), content(9, 2));
}

async fn ranges_end_with_the_object(store: &AnyStore) {
    let bytes = content(10_000, 3);
    store.put_new("ranges", bytes.clone()).await.unwrap();
    for range in [0..1, 0..10_000, 1..2, 4_095..4_097, 9_999..10_000] {
        let expected = bytes.slice(range.start as usize..range.end as usize);
        assert!(store.get_range("ranges", range.clone()).await.unwrap() == expected, "{range:?}");
    }
    for start in [0, 10_000, 20_000] {
        assert_eq!(store.get_range("ranges", start..start).await.unwrap(), Bytes::new());
    }
    for range in [9_999..10_001, 0..1 << 30] {
        let expected = bytes.slice(range.start as usize..);
        assert!(store.get_range("ranges", range.clone()).await.unwrap() == expected, "{range:?}");
    }
    for range in [10_000..10_001, 20_000..20_001] {
        let failed = kind(store.get_range("ranges", range.clone()).await);
        assert_eq!(failed, Some(ErrorKind::Truncated), "{range:?}");
    }
    assert_eq!(kind(store.get_range("empty", 0..1).await), Some(ErrorKind::Truncated));
    let reversed = Range { start: 9, end: 3 };
    assert_eq!(kind(store.get_range("ranges", reversed).await), Some(ErrorKind::Other));
}

async fn nothing_is_replaced(store: &AnyStore) {
    store.put_new("log/w/1", content(50, 4)).await.unwrap();
    assert_eq!(kind(store.put_new("log/w/1", content(50, 5)).await), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(store.put_new("log/w/1", content(49, 4)).await), Some(ErrorKind::AlreadyExists));
    // What is damaged can be put right all the same.
    store.replace("log/w/1", content(60, 7)).await.unwrap();
    assert_eq!(store.get("log/w/1").await.unwrap(), content(60, 7));
    store.replace("log/w/1", content(50, 4)).await.unwrap();
    // The answer to the first attempt may have been lost: the same bytes again are no conflict.
    store.put_new("log/w/1", content(50, 4)).await.unwrap();
    assert_eq!(store.get("log/w/1").await.unwrap(), content(50, 4));
}

async fn one_of_many_wins(store: &AnyStore) {
    let puts = (0..8).map(|seed| store.put_new("log/w/2", content(70_000, seed)));
    let results = join_all(puts).await;
    let winners: Vec<usize> = (0..8).filter(|&i| results[i].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert!(store.get("log/w/2").await.unwrap() == content(70_000, winners[0] as u8));
    let losers = results.into_iter().filter_map(kind);
    assert!(losers.into_iter().all(|kind| kind == ErrorKind::AlreadyExists));
}

async fn listings_are_whole(store: &AnyStore) {
    for name in ["logs/1", "log-1", "log.1", "log/w/10", "log/v/1", "lo/1"] {
        store.put_new(name, content(5, 6)).await.unwrap();
    }
    assert_eq!(names(store, "log").await, ["log/v/1", "log/w/1", "log/w/10", "log/w/2"]);
    assert_eq!(names(store, "log/w").await, ["log/w/1", "log/w/10", "log/w/2"]);
    assert_eq!(names(store, "lo").await, ["lo/1"]);
    assert_eq!(names(store, "l").await, [""; 0]);
    let all = names(store, "").await;
    assert!(all.is_sorted() && all.len() == 12, "{all:?}");
    let lens: Vec<u64> = store.list("log/w").await.unwrap().iter().map(|stored| stored.len).collect();
    assert_eq!(lens, [50, 5, 70_000]);
}

async fn names_are_checked(store: &AnyStore) {
    for name in ["/config", "config/", "a//b", "../config", "a/../config", "A", "a#1", "a b", ".staging/x", "%41"] {
        assert_eq!(kind(store.get(name).await), Some(ErrorKind::Other), "{name}");
        assert_eq!(kind(store.get_range(name, 0..1).await), Some(ErrorKind::Other), "{name}");
        assert_eq!(kind(store.put_new(name, Bytes::new()).await), Some(ErrorKind::Other), "{name}");
        assert_eq!(kind(store.list(name).await), Some(ErrorKind::Other), "{name}");
        assert_eq!(kind(store.head(name).await), Some(ErrorKind::Other), "{name}");
        assert_eq!(kind(store.delete(name).await), Some(ErrorKind::Other), "{name}");
    }
    assert_eq!(kind(store.get("").await), Some(ErrorKind::Other));
}

/// Waits for something that must happen soon; fails the test if it does not.
pub(crate) async fn soon<T>(what: &str, step: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| panic!("{what}: not done within {limit:?}"))
}
