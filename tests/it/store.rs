//! The store: its contract on every implementation and decorator, and what clouds and disks do to it.

use crate::contract::content;
use crate::contract::contract;
use crate::contract::contract_without_conditions;
use crate::contract::kind;
use crate::contract::names;
use crate::contract::soon;
use crate::servers::AZURITE_ACCOUNT;
use crate::servers::AZURITE_KEY;
use crate::servers::AZURITE_SAS;
use crate::servers::Answer;
use crate::servers::Server;
use crate::servers::Stub;
use crate::servers::azurite;
use crate::servers::garage;
use crate::servers::moto;
use bygone::monitor::chain;
use bygone::store::AnyStore;
use bygone::store::Counted;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::Latency;
use bygone::store::Limited;
use bygone::store::Probed;
use bygone::store::Retrying;
use bygone::store::Store;
use bygone::store::StoreOptions;
use bygone::store::Totals;
use bygone::store::Verb;
use bygone::store::depth;
use bygone::store::open;
use bygone::store::probe;
use bytes::Bytes;
use futures::future::join_all;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

fn options(settings: &[&str]) -> StoreOptions {
    let mut options = StoreOptions { use_environment: false, ..StoreOptions::default() };
    settings.iter().for_each(|text| options.set(text).unwrap());
    options
}

fn opened(location: &str, options: &StoreOptions) -> bygone::store::Result<AnyStore> {
    open(&location.parse().unwrap(), options)
}

fn memory(name: &str) -> AnyStore {
    opened(&format!("memory://{name}"), &StoreOptions::default()).unwrap()
}

fn s3_options(url: &str, more: &[&str]) -> StoreOptions {
    let endpoint = format!("s3.endpoint={url}");
    let basic = [endpoint.as_str(), "s3.access_key_id=tester", "s3.secret_access_key=hunter2", "s3.region=eu-west-1"];
    options(&[&basic[..], &["retry_secs_max=0"], more].concat())
}

fn s3(server: &Server, prefix: &str) -> AnyStore {
    opened(&format!("s3://tests/{prefix}"), &s3_options(&server.url(), &[])).unwrap()
}

fn az_options(url: &str, more: &[&str]) -> StoreOptions {
    let endpoint = format!("az.endpoint={url}/{AZURITE_ACCOUNT}");
    let account = format!("az.account_name={AZURITE_ACCOUNT}");
    options(&[&[endpoint.as_str(), &account, "retry_secs_max=0"], more].concat())
}

fn az_key() -> String {
    format!("az.account_key={AZURITE_KEY}")
}

// -- the contract

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract(memory("contract")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract(opened(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap()).await;
    let below = format!("file://{}/not/yet%20there", folder.path().display());
    let create = StoreOptions { create: true, ..StoreOptions::default() };
    contract(opened(&below, &create).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decorators_keep_the_contract() {
    contract(Counted::with_log(memory("counted"))).await;
    contract(Latency::new(memory("latency"), Duration::from_micros(10))).await;
    contract(Faulty::without_faults(memory("faulty"))).await;
    contract(Limited::new(memory("limited"), 1)).await;
    contract(Retrying::new(memory("retrying"), 0)).await;
}

#[tokio::test(start_paused = true)]
async fn contract_holds_in_bad_weather() {
    for seed in 0..20 {
        let weather = Faulty::weather(memory(&format!("weather{seed}")), seed, 200);
        contract(Retrying::new(weather.clone(), 3600)).await;
        assert!(weather.requests() > 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    let server = moto();
    contract(s3(&server, "contract/p")).await;
    assert_eq!(probe(&*s3(&server, "probe")).await.unwrap(), Probed { create_only: true, can_delete: true });
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_keeps_the_contract_but_for_conditions() {
    let server = garage();
    let settings = server.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(["retry_secs_max=0"]).collect();
    let at = |prefix: &str| opened(&format!("s3://tests/{prefix}"), &options(&settings)).unwrap();
    contract_without_conditions(at("contract/p")).await;
    assert_eq!(probe(&*at("probe")).await.unwrap(), Probed { create_only: false, can_delete: true });
    let wrong = opened("s3://tests/p", &options(&[&settings[..], &["s3.region=elsewhere"]].concat())).unwrap();
    let error = wrong.put_new("config", content(9, 0)).await.unwrap_err();
    assert!(chain(&error).contains("garage"), "the right region is told: {}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract() {
    let server = azurite();
    let with_key = az_options(&server.url(), &[&az_key()]);
    contract(opened("az://tests/contract", &with_key).unwrap()).await;
    let sas = format!("az.sas_token={AZURITE_SAS}");
    let with_sas = opened("azure://tests/sas", &az_options(&server.url(), &[&sas])).unwrap();
    // No delete: Azurite knows no batch by the signature of an account.
    with_sas.put_new("config", content(9, 0)).await.unwrap();
    assert_eq!(kind(with_sas.put_new("config", content(9, 1)).await), Some(ErrorKind::AlreadyExists));
    assert_eq!(with_sas.get_range("config", 2..5).await.unwrap(), content(9, 0).slice(2..5));
    assert!(names(&with_sas, "").await == ["config"]);
    let missing = with_sas.get("missing").await.unwrap_err();
    assert!(!chain(&missing).contains("sig="), "{}", chain(&missing));
}

// -- clouds

#[tokio::test(flavor = "multi_thread")]
async fn s3_takes_large_and_many_objects() {
    let server = moto();
    let store = s3(&server, "many");
    let puts = (0..12).map(|i| {
        let store = store.clone();
        async move { store.put_new(&format!("packs/{i:02}"), content(8 << 20, i)).await }
    });
    join_all(puts).await.into_iter().for_each(|put| put.unwrap());
    assert!(store.get("packs/07").await.unwrap() == content(8 << 20, 7));
    assert_eq!(store.list("packs").await.unwrap().iter().map(|stored| stored.len).sum::<u64>(), 12 * (8 << 20));

    // More than one page of a listing.
    let small = (0..1_100).map(|i| {
        let store = store.clone();
        async move { store.put_new(&format!("index/{i:04}"), Bytes::from_static(b"x")).await }
    });
    join_all(small).await.into_iter().for_each(|put| put.unwrap());
    let expected: Vec<String> = (0..1_100).map(|i| format!("index/{i:04}")).collect();
    assert!(names(&store, "index").await == expected);
    assert_eq!(names(&store, "").await.len(), 1_112);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_buckets_are_told() {
    let server = moto();
    let store = opened("s3://nowhere/p", &s3_options(&server.url(), &[])).unwrap();
    let error = store.put_new("config", content(5, 0)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(chain(&error).contains("NoSuchBucket"), "{}", chain(&error));
    assert_eq!(kind(store.list("log").await), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.get("config").await), Some(ErrorKind::NotFound));
    let server = azurite();
    let store = opened("az://nowhere", &az_options(&server.url(), &[&az_key()])).unwrap();
    assert_eq!(kind(store.put_new("config", content(5, 0)).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(store.list("").await), Some(ErrorKind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_told() {
    let server = azurite();
    let wrong = az_options(&server.url(), &["az.account_key=aHVudGVyMg=="]);
    let store = opened("az://tests/p", &wrong).unwrap();
    for error in [store.get("config").await.unwrap_err(), store.list("").await.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Denied, "{}", chain(&error));
        assert!(!format!("{error:?}").contains("aHVudGVyMg"));
    }
    assert_eq!(kind(store.put_new("config", content(5, 0)).await), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn missing_credentials_are_told_at_once() {
    let refused = |location: &str, settings: &[&str]| opened(location, &options(settings)).unwrap_err();
    for (location, hint) in [
        ("s3://tests", "AWS_ACCESS_KEY_ID"),
        ("gs://tests", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://tests", "AZURE_STORAGE_ACCOUNT_KEY"),
    ] {
        let error = refused(location, &[]);
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(chain(&error).contains(hint), "{}", chain(&error));
    }
    assert_eq!(refused("s3://tests", &["s3.access_key_id=me"]).kind, ErrorKind::BadLocation);
    assert_eq!(refused("s3://tests", &["s3.skip_signature=maybe"]).kind, ErrorKind::BadLocation);
    let error = refused("s3://tests", &["s3.skip_signature=true", "s3.regoin=hunter2"]);
    assert_eq!(error.kind, ErrorKind::BadLocation);
    assert!(chain(&error).contains("s3.regoin") && !format!("{error:?}").contains("hunter2"));
    opened("s3://tests", &options(&["s3.skip_signature=true"])).unwrap();
    opened("s3://tests", &options(&["s3.metadata_endpoint=http://127.0.0.1:1"])).unwrap();
    let anonymous = ["gs.skip_signature=true", "gs.base_url=http://127.0.0.1:1"];
    assert_eq!(opened("gs://tests/p", &options(&anonymous)).unwrap().location(), "gs://tests/p");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_port_is_unreachable_soon() {
    // A port that no other test can be given meanwhile.
    let url = "http://127.0.0.1:1";
    let began = Instant::now();
    let store = opened("s3://tests/p", &s3_options(url, &["retry_secs_max=2"])).unwrap();
    let error = store.get("config").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{}", chain(&error));
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
    assert_eq!(kind(store.put_new("config", content(5, 0)).await), Some(ErrorKind::Unreachable));
    assert_eq!(kind(store.list("log").await), Some(ErrorKind::Unreachable));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_server_is_unreachable_soon() {
    let stub = Stub::start(|_, _, _| Answer { is_silent: true, ..Answer::default() });
    let store = opened("s3://tests", &s3_options(&stub.url(), &["stall_secs_max=1"])).unwrap();
    for error in soon("silence is noticed", async {
        [
            store.get("config").await.unwrap_err(),
            store.list("").await.unwrap_err(),
            store.put_new("config", content(9, 0)).await.unwrap_err(),
        ]
    })
    .await
    {
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(chain(&error).contains("no answer within 1 seconds"), "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_means_something() {
    let cases = [
        (400, "<Code>ExpiredToken</Code>", ErrorKind::Denied),
        (401, "", ErrorKind::Denied),
        (403, "<Code>InvalidAccessKeyId</Code>", ErrorKind::Denied),
        (403, "<Code>QuotaExceeded</Code>", ErrorKind::Full),
        (404, "", ErrorKind::NotFound),
        (418, "", ErrorKind::Other),
        (429, "", ErrorKind::Unreachable),
        (503, "<Code>SlowDown</Code>", ErrorKind::Unreachable),
        (507, "", ErrorKind::Full),
    ];
    for (status, body, expected) in cases {
        let stub = Stub::start(move |_, _, _| Answer::new(status, body));
        let store = opened("s3://tests", &s3_options(&stub.url(), &[])).unwrap();
        assert_eq!(kind(store.get("config").await), Some(expected), "read, {status}");
        assert_eq!(kind(store.get_range("config", 0..9).await), Some(expected), "range, {status}");
        assert_eq!(kind(store.list("log").await), Some(expected), "list, {status}");
        assert_eq!(kind(store.put_new("config", content(9, 0)).await), Some(expected), "write, {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_conditions_is_written_to_and_found_out() {
    // Says 501 to every condition; otherwise keeps one object and replaces it when asked.
    let kept = std::sync::Mutex::new(Vec::new());
    let stub = Stub::start(move |head, body, _| {
        let mut kept = kept.lock().unwrap();
        let headers = ["ETag: \"x\"", "Last-Modified: Sat, 01 Jan 2028 00:00:00 GMT"].map(String::from).to_vec();
        if head.starts_with("put") && head.contains("if-none-match") {
            return Answer::new(501, "");
        }
        if head.starts_with("put") {
            *kept = body.to_vec();
            return Answer { headers, ..Answer::new(200, "") };
        }
        if head.starts_with("delete") {
            return Answer::new(204, "");
        }
        let Some(range) = head.lines().find_map(|line| line.strip_prefix("range: bytes=")) else {
            return Answer { status: 200, headers, body: kept.clone(), ..Answer::default() };
        };
        let (start, end) = range.split_once('-').unwrap();
        let body = kept[start.parse().unwrap()..=end.parse().unwrap()].to_vec();
        let length = format!("Content-Range: bytes {range}/{}", kept.len());
        Answer { status: 206, headers: [headers, vec![length]].concat(), body, ..Answer::default() }
    });
    let store = opened("s3://tests", &s3_options(&stub.url(), &[])).unwrap();
    assert_eq!(probe(&*store).await.unwrap(), Probed { create_only: false, can_delete: true });
    store.put_new("config", content(9, 1)).await.unwrap();
    let conditional = stub.seen().iter().filter(|head| head.contains("if-none-match")).count();
    assert!((1..=3).contains(&conditional), "the condition is not tried again once refused: {conditional}");
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_download_is_taken_up_again() {
    let body = "0123456789".repeat(1000);
    let headers = || ["ETag: \"x\"", "Last-Modified: Sat, 01 Jan 2028 00:00:00 GMT"].map(String::from).to_vec();
    let stub = Stub::start(move |head, _, before| {
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
        let Some((start, end)) = range else {
            return Answer { headers: headers(), cut: Some(4_321), ..Answer::new(200, &body) };
        };
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        let mut headers = headers();
        headers.push(format!("Content-Range: bytes {start}-{end}/{}", body.len()));
        let cut = (before == 0).then_some(10);
        Answer { headers, cut, ..Answer::new(206, &body[start..=end]) }
    });
    let store = opened("s3://tests", &s3_options(&stub.url(), &[])).unwrap();
    assert_eq!(store.get("config").await.unwrap(), "0123456789".repeat(1000));
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_length_takes_no_memory() {
    let huge = "Content-Range: bytes 0-9/99999999999999";
    let stub = Stub::start(move |_, _, _| Answer {
        headers: ["ETag: \"x\"", "Last-Modified: Sat, 01 Jan 2028 00:00:00 GMT", huge].map(String::from).to_vec(),
        ..Answer::new(206, "0123456789")
    });
    let store = opened("s3://tests", &s3_options(&stub.url(), &[])).unwrap();
    assert_eq!(store.get_range("packs/x", 0..10).await.unwrap(), "0123456789");
    assert_eq!(kind(store.get_range("packs/x", 0..1 << 31).await), Some(ErrorKind::Other));
}

// -- folders

#[tokio::test]
async fn folder_must_exist_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = opened(missing.to_str().unwrap(), &StoreOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    assert!(!missing.exists());
    fs::write(&missing, "a file").unwrap();
    assert_eq!(kind(opened(missing.to_str().unwrap(), &StoreOptions::default())), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn folder_keeps_to_its_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap();
    store.put_new("packs/00/x", content(5, 0)).await.unwrap();
    // What others leave behind: half-written objects, desktop files, a folder nobody may read.
    for name in ["packs/00/x#1", "packs/00/.DS_Store", "packs/Thumbs.db", "packs/00/caf\u{e9}"] {
        fs::write(folder.path().join(name), "theirs").unwrap();
    }
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::set_permissions(folder.path().join("lost+found"), fs::Permissions::from_mode(0o000)).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("packs/loop")).unwrap();
    assert!(names(&store, "packs/00").await == ["packs/00/x"]);
    let all: HashSet<String> = names(&store, "").await.into_iter().collect();
    assert!(all.contains("packs/00/x") && all.iter().all(|name| name.ends_with("packs/00/x")), "{all:?}");
}

#[tokio::test]
async fn half_written_objects_are_never_seen_and_swept_later() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap();
    let store = opened(location, &StoreOptions::default()).unwrap();
    store.put_new("packs/00/x", content(5, 0)).await.unwrap();
    let staging = folder.path().join(".staging");
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "a finished object leaves nothing behind");
    fs::write(staging.join("fresh"), "of a process that still runs").unwrap();
    let old = fs::File::create(staging.join("old")).unwrap();
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(25 * 3600)).unwrap();
    let store = opened(location, &StoreOptions::default()).unwrap();
    assert!(names(&store, "").await == ["packs/00/x"]);
    assert!(staging.join("fresh").exists() && !staging.join("old").exists());
}

#[tokio::test]
async fn folder_that_went_away_is_not_empty_but_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("usb/repo");
    let create = StoreOptions { create: true, ..StoreOptions::default() };
    let store = opened(root.to_str().unwrap(), &create).unwrap();
    store.put_new("config", content(5, 0)).await.unwrap();
    fs::rename(folder.path().join("usb"), folder.path().join("gone")).unwrap();
    assert_eq!(kind(store.list("").await), Some(ErrorKind::Unreachable));
    assert_eq!(kind(store.get("config").await), Some(ErrorKind::Unreachable));
    assert_eq!(kind(store.head("config").await), Some(ErrorKind::Unreachable));
    assert_eq!(kind(store.delete("config").await), Some(ErrorKind::Unreachable));
    assert_eq!(kind(store.put_new("log/w/1", content(5, 0)).await), Some(ErrorKind::Unreachable));
    assert!(!folder.path().join("usb").exists(), "nothing is written to the disk below");
    fs::rename(folder.path().join("gone"), folder.path().join("usb")).unwrap();
    assert_eq!(store.get("config").await.unwrap(), content(5, 0));
}

#[tokio::test]
async fn folder_tidied_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap();
    store.put_new("packs/00/x", content(5, 0)).await.unwrap();
    store.delete("packs/00/x").await.unwrap();
    fs::remove_dir_all(folder.path().join("packs")).unwrap();
    store.put_new("packs/00/y", content(5, 0)).await.unwrap();
    assert!(names(&store, "").await == ["packs/00/y"]);
}

#[tokio::test]
async fn folder_is_probed_and_a_read_only_one_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path().to_str().unwrap(), &StoreOptions::default()).unwrap();
    assert_eq!(probe(&*store).await.unwrap(), Probed { create_only: true, can_delete: true });
    // Not even root may make files there.
    let read_only = opened("/sys", &StoreOptions::default()).unwrap();
    let error = read_only.put_new("config", content(5, 0)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{}", chain(&error));
}

// -- decorators

#[tokio::test]
async fn counted_counts() {
    let counted = Counted::with_log(memory("counts"));
    let store: AnyStore = counted.clone();
    store.put_new("a/x", content(100, 0)).await.unwrap();
    store.get("a/x").await.unwrap();
    store.get_range("a/x", 10..30).await.unwrap();
    store.list("a").await.unwrap();
    store.head("a/x").await.unwrap();
    store.get("missing").await.unwrap_err();
    store.delete("a/x").await.unwrap();
    let expected = Totals {
        requests: 7,
        gets: 3,
        puts: 1,
        lists: 1,
        deletes: 1,
        heads: 1,
        locks: 0,
        bytes_read: 120,
        bytes_written: 100,
    };
    assert_eq!(counted.totals(), expected);
    let log = counted.log();
    assert_eq!((log.len(), depth(&log)), (7, 7));
    assert_eq!((log[2].verb, log[2].name.as_str(), log[2].range.clone()), (Verb::Get, "a/x", Some(10..30)));
    assert!(!log[5].is_ok);
    counted.reset();
    assert_eq!((counted.totals(), counted.log().len()), (Totals::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_are_one_round_trip() {
    let latency = Latency::new(memory("trips"), Duration::from_millis(50));
    let counted = Counted::with_log(latency.clone());
    let began = tokio::time::Instant::now();
    let puts = (0..10).map(|i| {
        let counted = counted.clone();
        async move { counted.put_new(&format!("x{i}"), content(5, 0)).await }
    });
    join_all(puts).await.into_iter().for_each(|put| put.unwrap());
    assert_eq!((depth(&counted.log()), latency.round_trips(began).round()), (1, 1.0));
    let limited: AnyStore = Limited::new(counted.clone(), 5);
    let gets = (0..10).map(|i| {
        let limited = limited.clone();
        async move { limited.get(&format!("x{i}")).await }
    });
    join_all(gets).await.into_iter().for_each(|get| drop(get.unwrap()));
    assert_eq!((depth(&counted.log()), latency.round_trips(began).round()), (3, 3.0));
}

#[tokio::test(start_paused = true)]
async fn faults_are_what_they_say() {
    let memory = memory("faults");
    memory.put_new("a/x", content(8, 0)).await.unwrap();
    let with = |fault: Fault| -> AnyStore { Faulty::new(memory.clone(), move |_| fault) };
    assert_eq!(kind(with(Fault::Before(ErrorKind::Full)).put_new("a/y", content(8, 0)).await), Some(ErrorKind::Full));
    assert_eq!(kind(memory.head("a/y").await), Some(ErrorKind::NotFound));
    let lost = with(Fault::After(ErrorKind::Unreachable)).put_new("a/y", content(8, 1)).await;
    assert_eq!(kind(lost), Some(ErrorKind::Unreachable));
    assert_eq!(memory.get("a/y").await.unwrap(), content(8, 1));
    assert_eq!(kind(with(Fault::Throttled).get("a/y").await), Some(ErrorKind::Unreachable));
    assert_eq!(with(Fault::Torn).get("a/x").await.unwrap(), content(8, 0).slice(..4));
    assert_eq!(kind(with(Fault::Torn).get_range("a/x", 0..4).await), Some(ErrorKind::Truncated));
    assert_eq!(kind(with(Fault::Torn).put_new("a/z", content(8, 0)).await), Some(ErrorKind::Unreachable));
    assert_eq!(memory.head("a/z").await.unwrap().len, 4);
    let flipped = with(Fault::Flipped).get("a/x").await.unwrap();
    assert_eq!(flipped.iter().zip(content(8, 0)).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
    assert_eq!(kind(with(Fault::Vanished).get("a/x").await), Some(ErrorKind::NotFound));
    assert!(names(&with(Fault::Vanished), "a").await == ["a/y", "a/z"]);
    let stale: AnyStore = Faulty::new(memory.clone(), |asked| match asked.verb {
        Verb::List => Fault::Stale(1),
        _ => Fault::None,
    });
    stale.put_new("a/v", content(8, 0)).await.unwrap();
    stale.put_new("a/w", content(8, 0)).await.unwrap();
    assert!(names(&stale, "a").await == ["a/v", "a/x", "a/y", "a/z"]);
}

#[tokio::test(start_paused = true)]
async fn stopped_store_stays_stopped() {
    for (stop, expected) in [(Faulty::stop_at as fn(_, _) -> _, vec!["x1"]), (Faulty::stop_after, vec!["x1", "x2"])] {
        let memory = memory(&format!("stop{}", expected.len()));
        let faulty: Arc<Faulty> = stop(memory.clone(), 2);
        let store: AnyStore = faulty.clone();
        store.put_new("x1", content(5, 0)).await.unwrap();
        for name in ["x2", "x3"] {
            assert_eq!(kind(store.put_new(name, content(5, 0)).await), Some(ErrorKind::Other));
        }
        assert_eq!(kind(store.get("x1").await), Some(ErrorKind::Other));
        assert_eq!(faulty.requests(), 4);
        assert!(names(&memory, "").await == expected);
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_bounded() {
    let down: AnyStore = Faulty::new(memory("down"), |_| Fault::Throttled);
    let began = tokio::time::Instant::now();
    assert_eq!(kind(Retrying::new(down.clone(), 0).get("x").await), Some(ErrorKind::Unreachable));
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Never answered: given up early.
    assert_eq!(kind(Retrying::new(down, 300).get("x").await), Some(ErrorKind::Unreachable));
    assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    // Answered once: worth waiting for.
    let flaky = Faulty::new(memory("flaky"), |asked| if asked.number > 1 { Fault::Throttled } else { Fault::None });
    let patient = Retrying::new(flaky, 300);
    assert_eq!(kind(patient.get("x").await), Some(ErrorKind::NotFound));
    let began = tokio::time::Instant::now();
    assert_eq!(kind(patient.get("x").await), Some(ErrorKind::Unreachable));
    let waited = began.elapsed().as_secs();
    assert!((270..=300).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn lost_answer_is_no_conflict() {
    let memory = memory("lost");
    let faulty = Faulty::new(memory.clone(), |asked| match asked.number {
        1 => Fault::After(ErrorKind::Unreachable),
        _ => Fault::None,
    });
    let store: AnyStore = Retrying::new(faulty, 300);
    store.put_new("log/w/1", content(500, 0)).await.unwrap();
    assert_eq!(memory.get("log/w/1").await.unwrap(), content(500, 0));
    assert_eq!(kind(store.put_new("log/w/1", content(500, 1)).await), Some(ErrorKind::AlreadyExists));
}

#[tokio::test]
async fn probe_finds_out() {
    assert_eq!(probe(&*memory("probe")).await.unwrap(), Probed { create_only: true, can_delete: true });
    assert!(names(&memory("probe"), "").await.is_empty());
    let write_only = Faulty::new(memory("append"), |asked| match asked.verb {
        Verb::Delete => Fault::Before(ErrorKind::Denied),
        _ => Fault::None,
    });
    assert_eq!(probe(&*write_only).await.unwrap(), Probed { create_only: true, can_delete: false });
    for fault in [Fault::Flipped, Fault::Torn, Fault::Vanished] {
        let broken = Faulty::new(memory("broken"), move |asked| match (asked.verb, &asked.range) {
            (Verb::Get, None) => fault,
            _ => Fault::None,
        });
        assert!(probe(&*broken).await.is_err(), "{fault:?}");
    }
    assert!(names(&memory("broken"), "").await.is_empty(), "a failed probe tidies up too");
}
