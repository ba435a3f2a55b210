//! Repositories written by released versions, kept for ever: each folder `tests/data/golden-*` must be readable by
//! every later version and give what its listing says. Those with disks are read by `golden_disk.rs`.
//!
//! `golden-v1` is from before small chunks were compressed together. `BYGONE_WRITE_GOLDEN=1 cargo test --test it golden` writes
//! `golden-groups-v1` anew; only for as long as version 1 is not released.

use crate::format::second_reader;
use crate::house::House;
use crate::house::open_latest;
use crate::house::open_store;
use crate::listing;
use bygone::chunker::Sizes;
use bygone::crypto::password::Cost;
use bygone::crypto::password::Password;
use bygone::format::record::Event;
use bygone::meta::Time;
use bygone::repo::InitOptions;
use bygone::repo::Log;
use bygone::repo::Repo;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The password of every golden repository.
pub(crate) const PASSWORD: &[u8] = b"golden";
/// The folders this test knows. A folder that is not here fails the test.
const KNOWN: &[&str] = &["golden-disk-v1", "golden-groups-v1", "golden-v1"];

fn password() -> Password {
    Password::new(PASSWORD.to_vec())
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A house with small chunks, so that small files have many.
pub(crate) fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(&folder.path().join("repository"));
    let sizes = Sizes { min: 256, avg: 1024, max: 8192 };
    let cost = Cost { memory_kib: 256, passes: 2, lanes: 2 };
    let options = InitOptions { sizes, cost, create_only: true, now_secs: 1_700_000_000 };
    House::with_options(folder, store, &password(), &options)
}

/// Two snapshots, the first of them forgotten, and a second password.
fn write(to: &Path) {
    let house = house();
    listing::fill(&house.source());
    let first = house.backup().snapshot.unwrap();
    fs::write(house.source().join("many/007"), b"changed").unwrap();
    fs::remove_file(house.source().join("many/008")).unwrap();
    house.backup();
    let event = Event::Forget(first.id);
    let time = Time { secs: 1_700_001_000, nanos: 0 };
    house.runtime.block_on(Log::append(&house.repo, house.author(), time, event, Vec::new())).unwrap();
    let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let second = Password::new(b"another".to_vec());
    house.runtime.block_on(house.repo.add_password(&second, cost, 1_700_001_001)).unwrap();
    let expected = listing::text(&listing::on_disk(&house.source()));
    assert!(
        expected.contains("user.note="),
        "this file system has no attributes: write the golden repository elsewhere"
    );
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    copy(&house.folder.path().join("repository"), &to.join("repository"));
    fs::write(to.join("listing"), expected).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn golden_repositories_are_read() {
    if std::env::var_os("BYGONE_WRITE_GOLDEN").is_some() {
        write(&data().join("golden-groups-v1"));
    }
    let folders = fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<_> = folders.filter(|name| name.starts_with("golden-")).collect();
    assert_eq!(found, KNOWN.iter().map(|name| (*name).to_owned()).collect(), "folders and KNOWN differ");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for name in found.iter().filter(|name| !name.starts_with("golden-disk-")) {
        let expected = fs::read_to_string(data().join(name).join("listing")).unwrap();
        let repository = data().join(name).join("repository");
        for password in [PASSWORD, b"another"] {
            let (read, source) = runtime.block_on(async {
                let password = Password::new(password.to_vec());
                let repo = Repo::open(open_store(&repository), &password).await.unwrap();
                let browse = open_latest(&repo).await;
                (listing::in_snapshot(&browse).await, browse.snapshot().sources[0].clone())
            });
            assert_eq!(listing::text(&read), expected, "{name}");
            let mut short = listing::short_text(&read);
            short.sort();
            assert_eq!(second_reader(&repository, password, &source).unwrap(), short, "{name}");
        }
    }
}
