//! Backups and drives on object servers: S3 (moto) with a network that breaks, S3 without conditions (Garage), Azure
//! (Azurite).

use crate::drive::Mounted;
use crate::drive::attach;
use crate::drive::expect_equal;
use crate::house::House;
use crate::house::noise;
use crate::house::password;
use crate::link::Line;
use crate::link::Link;
use crate::program::Program;
use crate::servers::AZURITE_ACCOUNT;
use crate::servers::AZURITE_KEY;
use crate::servers::Garage;
use crate::servers::azurite;
use crate::servers::garage;
use crate::servers::moto;
use crate::truth::listen;
use bygone::backup;
use bygone::backup::Options;
use bygone::browse::Browse;
use bygone::chunker::Sizes;
use bygone::crypto::password::Cost;
use bygone::drive::DriveOptions;
use bygone::drive::snapshot_drive;
use bygone::id::WriterId;
use bygone::monitor::Collect;
use bygone::repo;
use bygone::repo::Author;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::InitOptions;
use bygone::repo::Repo;
use bygone::state::State;
use bygone::store;
use bygone::store::AnyStore;
use bygone::store::StoreOptions;
use std::fs;
use std::path::Path;
use std::thread;

pub(crate) fn s3(url: &str, prefix: &str, retry_secs_max: u64) -> AnyStore {
    let mut options = StoreOptions { use_environment: false, retry_secs_max, ..StoreOptions::default() };
    for setting in ["access_key_id=tester", "secret_access_key=hunter2", "region=eu-west-1"] {
        options.set(&format!("s3.{setting}")).unwrap();
    }
    options.set(&format!("s3.endpoint={url}")).unwrap();
    store::open(&format!("s3://tests/{prefix}").parse().unwrap(), &options).unwrap()
}

fn fill(root: &Path) {
    fs::write(root.join("large"), noise(1, 20 << 20)).unwrap();
    for d in 0..5 {
        fs::create_dir(root.join(format!("folder {d}"))).unwrap();
        (0..20).for_each(|i| fs::write(root.join(format!("folder {d}/{i}")), noise(d * 100 + i, 9_000)).unwrap());
    }
}

/// Mounts the newest snapshot at the source folder, through this store, with hardly any memory.
fn mount(house: &House, store: AnyStore) -> Mounted {
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let drive = house.runtime.block_on(async {
        let (repo, log) = Repo::open_with_log(store, &password()).await.unwrap();
        assert!(log.problems.is_empty());
        let chunks = Chunks::new(&repo, &ChunksOptions { memory_bytes: 8 << 20 });
        let browse = Browse::open(&chunks, &log, log.snapshots().last().unwrap());
        snapshot_drive(browse, &base, &[], DriveOptions::default()).await.unwrap().unwrap()
    });
    attach(house, drive)
}

#[test]
fn s3_backup_drive_and_a_network_that_breaks() {
    let server = moto();
    let house = House::with_store(tempfile::tempdir().unwrap(), s3(&server.url(), "broken-network", 0));
    fill(&house.source());
    house.backup();
    fs::write(house.source().join("folder 3/7"), "changed").unwrap();
    let second = house.backup();
    assert!(second.figures.bytes_stored < 100_000, "{:?}", second.figures);
    let said = house.runtime.block_on(listen(house.repo.store().clone())).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (2, 0));

    let network = Link::to(server.address(), Line::default());
    let url = network.url();
    // Without patience: errors while the network is cut, and everything right once it is mended.
    let mounted = mount(&house, s3(&url, "broken-network", 0));
    expect_equal(&house.source(), &mounted.at);
    network.cut();
    // What the kernel and the drive still remember is served; of 20 MiB that is not all.
    rustix::fs::fadvise(fs::File::open(mounted.at.join("large")).unwrap(), 0, None, rustix::fs::Advice::DontNeed)
        .unwrap();
    let error = fs::read(mounted.at.join("large")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    network.mend();
    assert!(fs::read(mounted.at.join("large")).unwrap() == noise(1, 20 << 20));
    expect_equal(&house.source(), &mounted.at);
    drop(mounted);

    // With patience: readers wait until it is mended, and see no error.
    let mounted = mount(&house, s3(&url, "broken-network", 120));
    let mut head = vec![0; 1 << 20];
    let file = fs::File::open(mounted.at.join("large")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0).unwrap();
    let before = network.counts().turned_away;
    network.cut();
    let read = thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read(mounted.at.join("large")).unwrap());
        network.until("the reader tries again", |counts| counts.turned_away >= before + 3);
        network.mend();
        reader.join().unwrap()
    });
    assert!(read == noise(1, 20 << 20));
    expect_equal(&house.source(), &mounted.at);
}

#[test]
fn s3_backup_over_a_network_that_breaks() {
    let server = moto();
    let network = Link::to(server.address(), Line::default());
    let store = s3(&network.url(), "broken-backup", 120);
    let house = House::with_store(tempfile::tempdir().unwrap(), store);
    fill(&house.source());
    for i in 0..6 {
        fs::write(house.source().join(format!("large too {i}")), noise(50 + i, 15 << 20)).unwrap();
    }
    thread::scope(|scope| {
        let network = &network;
        scope.spawn(move || {
            for _ in 0..3 {
                let before = network.counts().turned_away;
                network.cut();
                network.until("the backup tries again", |counts| counts.turned_away > before);
                network.mend();
            }
        });
        house.backup();
    });
    let said = house.runtime.block_on(listen(s3(&server.url(), "broken-backup", 0))).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (1, 0));
    let mounted = mount(&house, s3(&server.url(), "broken-backup", 0));
    expect_equal(&house.source(), &mounted.at);
}

#[test]
fn azure_backup_and_back() {
    let server = azurite();
    let mut options = StoreOptions { use_environment: false, retry_secs_max: 0, ..StoreOptions::default() };
    for setting in [
        format!("az.endpoint={}/{AZURITE_ACCOUNT}", server.url()),
        format!("az.account_name={AZURITE_ACCOUNT}"),
        format!("az.account_key={AZURITE_KEY}"),
    ] {
        options.set(&setting).unwrap();
    }
    let store = store::open(&"az://tests/deeds".parse().unwrap(), &options).unwrap();
    let house = House::with_store(tempfile::tempdir().unwrap(), store.clone());
    fill(&house.source());
    house.backup();
    fs::write(house.source().join("folder 3/7"), "changed").unwrap();
    house.backup();
    let said = house.runtime.block_on(listen(store.clone())).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (2, 0));
    let mounted = mount(&house, store);
    expect_equal(&house.source(), &mounted.at);
}

/// A place at Garage, which replaces whatever is there.
fn on_garage(server: &Garage, prefix: &str) -> AnyStore {
    let mut options = StoreOptions { use_environment: false, retry_secs_max: 0, ..StoreOptions::default() };
    server.settings().iter().for_each(|text| options.set(text).unwrap());
    store::open(&format!("s3://tests/{prefix}").parse().unwrap(), &options).unwrap()
}

/// A house whose repository knows that its store enforces no conditions.
fn house_on_garage(store: &AnyStore) -> House {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let create_only = runtime.block_on(store::probe(&**store)).unwrap().create_only;
    assert!(!create_only);
    let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only, now_secs: 1 };
    House::with_options(tempfile::tempdir().unwrap(), store.clone(), &password(), &options)
}

#[test]
fn garage_backup_and_back() {
    let server = garage();
    let store = on_garage(&server, "deeds");
    let house = house_on_garage(&store);
    fill(&house.source());
    house.backup();
    fs::write(house.source().join("folder 3/7"), "changed").unwrap();
    let second = house.backup();
    assert!(second.figures.bytes_stored < 100_000, "{:?}", second.figures);
    let said = house.runtime.block_on(listen(store.clone())).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (2, 0));
    let mounted = mount(&house, store.clone());
    expect_equal(&house.source(), &mounted.at);
    // A second repository is not made over the first one, though the server would let us.
    let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: false, now_secs: 1 };
    let again = house.runtime.block_on(Repo::init(store, &password(), &options));
    assert!(matches!(again, Err(repo::Error::Exists { .. })));
}

#[test]
fn garage_two_writers_at_once() {
    const ROUNDS: usize = 4;
    let server = garage();
    let store = on_garage(&server, "writers");
    let house = house_on_garage(&store);
    fill(&house.source());
    let states = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Two machines, and on the second one two processes.
    let writers = [&states[0], &states[1], &states[1]];
    let options: Vec<Vec<_>> =
        writers.iter().map(|_| (0..ROUNDS).map(|_| Options { threads: 1, ..house.options() }).collect()).collect();
    let written: Vec<WriterId> = thread::scope(|scope| {
        let start = |(state, options): (&tempfile::TempDir, Vec<Options>)| {
            let (state, store) = (state.path().to_owned(), on_garage(&server, "writers"));
            scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                let repo = runtime.block_on(Repo::open(store, &password())).unwrap();
                let state = State::open(&state, repo.config().repository).unwrap();
                let author = Author { state: &state, machine: b"test" };
                for options in options {
                    backup::backup(&repo, author, runtime.handle(), options, &Collect::default()).unwrap();
                }
                state.writer(b"test").unwrap().unwrap()
            })
        };
        let running: Vec<_> = writers.into_iter().zip(options).map(start).collect();
        running.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let said = house.runtime.block_on(listen(store.clone())).unwrap();
    assert_eq!((said.snapshots.len(), said.complaints().len()), (3 * ROUNDS, 0), "{:?}", said.complaints());
    // Who shares no state shares no chain, so there is nothing that conditions would have to keep apart.
    assert!(written[0] != written[1] && written[1] == written[2], "{written:?}");
    let listed = house.runtime.block_on(store.list("log")).unwrap();
    assert_eq!(listed.len(), 3 * ROUNDS, "every record has a number of its own: {listed:#?}");
    let mounted = mount(&house, store);
    expect_equal(&house.source(), &mounted.at);
}

#[test]
fn s3_with_the_program() {
    let server = moto();
    let program = Program::new();
    let source = program.scratch().join("source");
    fs::create_dir(&source).unwrap();
    fill(&source);
    let run = |arguments: &[&str]| {
        let endpoint = format!("s3.endpoint={}", server.url());
        let mut command = program.command(&[&["-r", "s3://tests/program", "-o", &endpoint], arguments].concat());
        command
            .env("AWS_ACCESS_KEY_ID", "tester")
            .env("AWS_SECRET_ACCESS_KEY", "hunter2")
            .env("AWS_REGION", "eu-west-1");
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !told.contains("hunter2"), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["init"]);
    run(&["backup", source.to_str().unwrap()]);
    let back = program.scratch().join("back");
    let what = format!("latest:{}", source.display());
    run(&["restore", &what, "--to", back.to_str().unwrap()]);
    expect_equal(&source, &back);
}
