//! Object storage over a network that is slow, narrow or broken: what is tried again, for how long, and what is told.

use crate::contract::content;
use crate::contract::soon;
use crate::drive::expect_equal;
use crate::house::noise;
use crate::link::Line;
use crate::link::Link;
use crate::link::Way;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use crate::servers::Server;
use crate::servers::moto;
use bygone::monitor::chain;
use bygone::store;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Moved;
use bygone::store::StoreOptions;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const MIB: usize = 1 << 20;

/// Answers of a server that is asked too much.
const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// A server, the network before it, and a place in its bucket.
pub(crate) struct Far {
    server: Arc<Server>,
    pub(crate) link: Link,
    place: String,
}

impl Far {
    pub(crate) fn new(place: &str) -> Far {
        Far::over(place, Line::default())
    }

    fn over(place: &str, line: Line) -> Far {
        let server = moto();
        let link = Link::to(server.address(), line);
        Far { server, link, place: format!("s3://tests/network/{place}") }
    }

    fn options(&self, more: &[&str]) -> StoreOptions {
        let mut options = StoreOptions { use_environment: false, ..StoreOptions::default() };
        let endpoint = format!("s3.endpoint={}", self.link.url());
        let login = ["s3.access_key_id=tester", "s3.secret_access_key=hunter2", "s3.region=eu-west-1", &endpoint];
        login.iter().chain(more).for_each(|text| options.set(text).unwrap());
        options
    }

    /// A store at the other end, and what it moves.
    fn open(&self, more: &[&str]) -> (AnyStore, impl Fn() -> Moved + use<>) {
        let options = self.options(more);
        let traffic = options.traffic.clone();
        (store::open(&self.place.parse().unwrap(), &options).unwrap(), move || traffic.moved())
    }

    /// The same store past the network.
    fn nearby(&self) -> AnyStore {
        let mut options = self.options(&[]);
        options.set(&format!("s3.endpoint={}", self.server.url())).unwrap();
        store::open(&self.place.parse().unwrap(), &options).unwrap()
    }

    /// Runs the program with a repository at the other end.
    pub(crate) fn run(&self, program: &Program, arguments: &[&str]) -> Ended {
        let endpoint = format!("s3.endpoint={}", self.link.url());
        let mut command = program.command(&[&["-r", &self.place, "-o", &endpoint], arguments].concat());
        command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", "hunter2");
        let output = command.env("AWS_REGION", "eu-west-1").output().unwrap();
        Ended {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

// -- a server that is asked too much

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let far = Far::new("pause");
    let (store, moved) = far.open(&[]);
    store.put_new("a", content(MIB, 1)).await.unwrap();
    for (status, seconds) in [(503, 2), (429, 1)] {
        let (before, began) = (moved(), Instant::now());
        far.link.answer(2, status, &format!("Retry-After: {seconds}\r\n"), SLOW_DOWN);
        assert!(soon("the pause ends", store.get("a")).await.unwrap() == content(MIB, 1));
        assert!(began.elapsed() >= Duration::from_secs(2 * seconds), "{status}: {:?}", began.elapsed());
        let after = moved();
        assert_eq!((after.throttled - before.throttled, after.retries - before.retries), (2, 2));
        assert_eq!(after.requests - before.requests, 3);
    }
    // All requests of the store leave it alone, not only the one that was told to.
    let (before, told, began) = (far.link.counts().requests, moved().throttled, Instant::now());
    far.link.answer(1, 503, "Retry-After: 2\r\n", SLOW_DOWN);
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.get("a").await }
    });
    // When it was understood, not when it was sent.
    soon("it was told", async {
        while moved().throttled == told {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon("another request", store.head("a")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2) && far.link.counts().requests == before + 3);
    first.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_his_patience() {
    let far = Far::new("impatient");
    let (store, _) = far.open(&["retry_secs_max=1"]);
    store.put_new("a", content(9, 1)).await.unwrap();
    let before = far.link.counts().requests;
    far.link.answer(1, 429, "Retry-After: 3600\r\n", SLOW_DOWN);
    let error = soon("it gives up", store.get("a")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(chain(&error).contains("asks to be left alone"), "{}", chain(&error));
    assert_eq!(far.link.counts().requests, before + 1, "it is left alone");
}

// -- bodies that break off

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_goes_on_where_it_was() {
    let far = Far::new("broken-download");
    let (store, moved) = far.open(&["retry_secs_max=60"]);
    far.nearby().put_new("a", content(12 * MIB, 1)).await.unwrap();
    far.link.cut_after(Way::Down, 3 * MIB as u64, 2);
    assert!(soon("the download", store.get("a")).await.unwrap() == content(12 * MIB, 1));
    assert_eq!((far.link.counts().cuts, moved().retries), (2, 2));
    // Two more heads, but no byte of the body twice.
    assert!(moved().bytes_down < 12 * MIB as u64 + 4096, "{:?}", moved());
    // More often than is tried at once: begun anew, and still right.
    far.link.cut_after(Way::Down, MIB as u64, 7);
    assert!(
        soon("the range", store.get_range("a", 100..9 * MIB as u64)).await.unwrap()[..]
            == content(12 * MIB, 1)[100..9 * MIB]
    );
    assert_eq!(far.link.counts().cuts, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_is_made_again() {
    let far = Far::new("broken-upload");
    let (store, moved) = far.open(&["retry_secs_max=60"]);
    far.link.cut_after(Way::Up, 3 * MIB as u64, 4);
    soon("the upload", store.put_new("a", content(8 * MIB, 1))).await.unwrap();
    assert!(far.nearby().get("a").await.unwrap() == content(8 * MIB, 1));
    assert!(far.link.counts().cuts >= 2 && moved().retries >= 2, "{:?}", far.link.counts());
    // The answer is lost: the object is there, and it is ours.
    far.link.mend();
    far.link.cut_after(Way::Down, 20, 1);
    soon("the second upload", store.put_new("b", content(MIB, 2))).await.unwrap();
    assert!(far.nearby().get("b").await.unwrap() == content(MIB, 2));
    assert_eq!(store.put_new("b", content(MIB, 3)).await.unwrap_err().kind, ErrorKind::AlreadyExists);
}

// -- silence

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_wherever_it_begins() {
    let far = Far::new("silence");
    far.nearby().put_new("large", content(12 * MIB, 1)).await.unwrap();
    let (store, _) = far.open(&["retry_secs_max=0", "stall_secs_max=1"]);
    // In the middle of a large upload: long before a slow link would have taken all of it.
    let upload = tokio::spawn({
        let store = store.clone();
        async move { store.put_new("a", content(64 * MIB, 1)).await }
    });
    far.link.until("it has begun", |counts| counts.bytes_up > 100_000);
    far.link.hold();
    let error = soon("the dead upload", upload).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{}", chain(&error));
    assert!(chain(&error).contains("for 1 seconds"), "{}", chain(&error));
    far.link.mend();
    // In the middle of a download; and after it, everything is as before.
    let before = far.link.counts().bytes_down;
    let download = tokio::spawn({
        let store = store.clone();
        async move { store.get("large").await }
    });
    far.link.until("it has begun", |counts| counts.bytes_down > before + 10_000);
    far.link.hold();
    // It may have been quicker.
    match soon("the dead download", download).await.unwrap() {
        Ok(bytes) => assert!(bytes == content(12 * MIB, 1)),
        Err(error) => assert!(chain(&error).contains("within 1 seconds"), "{}", chain(&error)),
    }
    far.link.mend();
    assert!(soon("a new download", store.get("large")).await.unwrap() == content(12 * MIB, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_left() {
    let far = Far::new("nowhere");
    let (store, _) = far.open(&["retry_secs_max=60", "stall_secs_max=1"]);
    store.put_new("a", content(MIB, 1)).await.unwrap();
    far.link.fall_silent();
    let connections = far.link.counts().connections;
    let get = tokio::spawn({
        let store = store.clone();
        async move { store.get("a").await }
    });
    far.link.until("it tries another connection", |counts| counts.connections >= connections + 2);
    far.link.mend();
    assert!(soon("the download", get).await.unwrap().unwrap() == content(MIB, 1));
}

// -- limits

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_inside_a_request_and_over_all_of_them() {
    let far = Far::new("limits");
    // A stall time that is shorter than the transfer: keeping to a limit is no silence.
    let (store, moved) = far.open(&["limit_upload=4M", "limit_download=4M", "stall_secs_max=1", "retry_secs_max=0"]);
    let began = Instant::now();
    let upload = tokio::spawn({
        let store = store.clone();
        async move { store.put_new("a", content(12 * MIB, 1)).await }
    });
    far.link.until("a third of it", |counts| counts.bytes_up > 4 * MIB as u64);
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
    far.link.until("two thirds of it", |counts| counts.bytes_up > 8 * MIB as u64);
    assert!(began.elapsed() >= Duration::from_millis(1800), "{:?}", began.elapsed());
    soon("all of it", upload).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(2800), "{:?}", began.elapsed());
    // Two at once share what there is.
    let began = Instant::now();
    let half = 6 * MIB as u64;
    let (first, second) = soon("the halves", async {
        futures::join!(store.get_range("a", 0..half), store.get_range("a", half..2 * half))
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(2800), "{:?}", began.elapsed());
    assert!([first.unwrap(), second.unwrap()].concat() == content(12 * MIB, 1));
    let moved = moved();
    for bytes in [moved.bytes_up, moved.bytes_down] {
        assert!((12 * MIB as u64..12 * MIB as u64 + 10_000).contains(&bytes), "{moved:?}");
    }
    assert_eq!((moved.retries, moved.throttled), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_folders() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.set("limit_upload=8M").unwrap();
    options.set("limit_download=8M").unwrap();
    let store = store::open(&folder.path().to_str().unwrap().parse().unwrap(), &options).unwrap();
    let began = Instant::now();
    store.put_new("a", content(8 * MIB, 1)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(store.get("a").await.unwrap() == content(8 * MIB, 1));
    assert!(began.elapsed() >= Duration::from_millis(1800), "{:?}", began.elapsed());
    let moved = options.traffic.moved();
    assert_eq!((moved.bytes_up, moved.bytes_down, moved.requests), (8 << 20, 8 << 20, 0));
}

// -- the program

fn fill(root: &Path) {
    fs::create_dir_all(root).unwrap();
    for i in 0..4 {
        fs::write(root.join(format!("large {i}")), noise(i, 20 * MIB)).unwrap();
    }
    for i in 0..50 {
        fs::write(root.join(format!("small {i}")), noise(100 + i, 9_000)).unwrap();
    }
}

#[test]
fn a_host_that_does_not_exist_is_told_at_once() {
    let program = Program::new();
    let began = Instant::now();
    let mut command =
        program.command(&["-r", "s3://tests/p", "-o", "s3.endpoint=http://nowhere.invalid", "ls", "latest"]);
    let output = command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(16), "{told}");
    assert!(told.contains("the name 'nowhere.invalid' is not known"), "{told}");
    assert!(told.contains("hint: check the address"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn what_cannot_get_better_is_not_tried_again() {
    let far = Far::new("denied");
    let program = Program::new();
    far.run(&program, &["init"]).ok();
    for (status, code, message, hint) in [
        (403, "RequestTimeTooSkewed", "The difference is too large.", "the clock of this machine is wrong"),
        (400, "ExpiredToken", "The provided token has expired.", "the session token has expired"),
        (403, "AccessDenied", "No.", "check the credentials"),
    ] {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        far.link.answer(100, status, "", &body);
        let before = far.link.counts().answered;
        let ended = far.run(&program, &["snapshots"]).fails(1);
        assert!(ended.stderr.contains("access denied"), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("{code}: {message}")) && ended.stderr.contains(hint),
            "{}",
            ended.stderr
        );
        let asked = far.link.counts().answered - before;
        assert!((1..=4).contains(&asked), "asked {asked} times");
        far.link.mend();
    }
}

#[test]
fn everything_is_counted_and_told() {
    let far = Far::new("counts");
    let program = Program::new();
    far.run(&program, &["init"]).ok();
    let source = program.scratch().join("source");
    fill(&source);
    far.link.answer(1, 503, "Retry-After: 1\r\n", SLOW_DOWN);
    let told = far.run(&program, &["backup", "--json", source.to_str().unwrap()]).ok();
    let lines = json_lines(&told.stderr);
    let requests = lines.iter().find(|line| line["type"] == "requests").unwrap();
    let number = |key: &str| requests[key].as_u64().unwrap_or_else(|| panic!("{key}: {requests}"));
    assert_eq!((number("throttled"), number("retries")), (1, 1), "{requests}");
    assert!(number("puts") >= 4 && number("gets") >= 2 && number("lists") >= 1, "{requests}");
    assert!(number("http_requests") > number("requests"), "{requests}");
    assert!(number("bytes_up") > 80 << 20 && number("bytes_up") >= number("bytes_written"), "{requests}");
    assert!(number("bytes_down") >= number("bytes_read"), "{requests}");

    let told = far.run(&program, &["ls", "latest"]).ok().stderr;
    assert!(told.lines().count() == 1 && told.contains(" requests to the repository, "), "{told}");
    assert_eq!(far.run(&program, &["ls", "latest", "--quiet"]).ok().stderr, "");
}

#[test]
fn a_backup_outlives_an_outage() {
    let far = Far::new("outage");
    let program = Program::new();
    far.run(&program, &["init"]).ok();
    let source = program.scratch().join("source");
    fill(&source);
    let path = source.to_str().unwrap();
    let begun = far.link.counts().bytes_up + 10_000_000;
    thread::scope(|scope| {
        let backup =
            scope.spawn(|| far.run(&program, &["-o", "stall_secs_max=1", "--limit-upload", "20M", "backup", path]));
        // Nobody listens for three seconds; then everything leads nowhere for as long.
        far.link.until("it is under way", |counts| counts.bytes_up > begun);
        far.link.refuse();
        far.link.reset();
        thread::sleep(Duration::from_secs(3));
        far.link.mend();
        far.link.until("it goes on", |counts| counts.bytes_up > begun + 20_000_000);
        far.link.fall_silent();
        thread::sleep(Duration::from_secs(3));
        far.link.mend();
        backup.join().unwrap().ok();
    });
    let back = program.scratch().join("back");
    let what = format!("latest:{path}");
    far.run(&program, &["restore", &what, "--to", back.to_str().unwrap()]).ok();
    expect_equal(&source, &back);
}

#[test]
fn a_drive_waits_until_its_deadline_and_recovers() {
    let far = Far::new("drive");
    let program = Program::new();
    far.run(&program, &["init"]).ok();
    let source = program.scratch().join("source");
    fill(&source);
    far.run(&program, &["backup", source.to_str().unwrap()]).ok();
    let drive = program.scratch().join("drive");
    let what = format!("latest:{}", source.display());
    // With little memory little is fetched ahead: what is read during an outage must not be there already.
    far.run(&program, &["mount", "--deadline", "4s", "--memory", "16M", &what, drive.to_str().unwrap()]).ok();
    let names: Vec<String> = (0..4).map(|i| format!("large {i}")).collect();
    let listed = fs::read_dir(&drive).unwrap().count();
    assert!(fs::read(drive.join(&names[0])).unwrap() == noise(0, 20 * MIB));

    // Two ways to be away: each ends one read with an error, after the deadline, and no other.
    let outages: [(&dyn Fn(), &str); 2] = [(&|| far.link.fall_silent(), &names[2]), (&|| far.link.cut(), &names[3])];
    for (begin, name) in outages {
        begin();
        let began = Instant::now();
        let error = fs::read(drive.join(name)).map(|bytes| bytes.len()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(3500), "{:?}", began.elapsed());
        assert_eq!(fs::read_dir(&drive).unwrap().count(), listed);
        far.link.mend();
        let seed = name.trim_start_matches("large ").parse().unwrap();
        // Nobody waits for long before the storage is heard of again, and a dead connection is given up in a second.
        let mended = Instant::now();
        let read = loop {
            match fs::read(drive.join(name)) {
                Err(error) => assert!(mended.elapsed() < Duration::from_secs(30), "{name}: {error}"),
                Ok(read) => break read,
            }
        };
        assert!(read == noise(seed, 20 * MIB), "{name}");
    }
    // An outage shorter than the deadline is only a wait.
    far.link.hold();
    thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read(drive.join(&names[1])).unwrap());
        thread::sleep(Duration::from_secs(1));
        far.link.mend();
        assert!(reader.join().unwrap() == noise(1, 20 * MIB));
    });
    expect_equal(&source, &drive);
    program.run(&["umount", drive.to_str().unwrap()]).ok();
}
