//! Object Lock of S3: what is stored cannot be removed, and what is still needed stays so.

use crate::house::House;
use crate::house::noise;
use crate::house::open_store;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use crate::servers::Answer;
use crate::servers::Server;
use crate::servers::Stub;
use crate::servers::ask;
use crate::servers::moto;
use bygone::monitor::Collect;
use bygone::monitor::chain;
use bygone::repo::extend_locks;
use bygone::store;
use bygone::store::Asked;
use bygone::store::Counted;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::StoreOptions;
use bygone::store::Verb;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

const DAY: i64 = 86_400;

/// A bucket of its own, made for locks or not, and a program that locks what it stores there.
struct Locked {
    server: Arc<Server>,
    program: Program,
    bucket: &'static str,
}

impl Locked {
    fn new(bucket: &'static str, is_made_for_it: bool) -> Locked {
        let server = moto();
        let lines = if is_made_for_it { "x-amz-bucket-object-lock-enabled: true\r\n" } else { "" };
        assert_eq!(ask(server.address(), "PUT", &format!("/{bucket}"), lines).0, 200);
        Locked { server, program: Program::new(), bucket }
    }

    fn run(&self, lock: &str, arguments: &[&str]) -> Ended {
        let options = [format!("s3.endpoint={}", self.server.url()), format!("object_lock={lock}")];
        let mut command = self.program.command(&[&["-o", &options[0], "-o", &options[1]], arguments].concat());
        command.env("BYGONE_REPOSITORY", format!("s3://{}/some/where", self.bucket));
        command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", "hunter2");
        Ended::of(&mut command)
    }

    /// Names of all objects, how they are locked, and until when.
    fn locks(&self) -> BTreeMap<String, Option<(String, i64)>> {
        let (status, listed) = self.ask("GET", "?list-type=2");
        assert_eq!(status, 200);
        let names = listed.split("<Key>").skip(1).map(|part| part.split('<').next().unwrap());
        let lock = |name: &str| {
            let (_, head) = self.ask("HEAD", &format!("/{name}"));
            let value = |key: &str| Some(head.lines().find_map(|line| line.strip_prefix(key))?.trim().to_owned());
            let until = value("x-amz-object-lock-retain-until-date:")?.parse::<jiff::Timestamp>().unwrap();
            Some((value("x-amz-object-lock-mode:")?, until.as_second()))
        };
        names.map(|name| (name.to_owned(), lock(name))).collect()
    }

    /// What the server says, below the bucket. It believes any signature.
    fn ask(&self, method: &str, below: &str) -> (u16, String) {
        let signed = "Authorization: AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0\r\n";
        ask(self.server.address(), method, &format!("/{}{below}", self.bucket), signed)
    }
}

#[test]
fn everything_is_locked_and_stays_locked() {
    let locked = Locked::new("locks", true);
    let source = locked.program.source();
    fs::create_dir(&source).unwrap();
    (0..3).for_each(|f| fs::write(source.join(format!("{f}")), noise(f, 50_000)).unwrap());
    let path = source.to_str().unwrap();
    let now = jiff::Timestamp::now().as_second();
    let is_locked_for = |days: i64, mode: &str| {
        let locks = locked.locks();
        for (name, lock) in &locks {
            let (found, until) = lock.as_ref().unwrap_or_else(|| panic!("{name} is not locked"));
            let lasts = until - now;
            assert!(found == mode && (days * DAY..days * DAY + 600).contains(&lasts), "{name}: {found} {lasts}");
        }
        locks.len()
    };
    locked.run("governance:10d", &["init", "-q"]).ok();
    let told = locked.run("governance:10d", &["backup", path]).ok();
    assert!(told.stderr.contains("for 10 days"), "the first time all is locked: {}", told.stderr);
    let count = is_locked_for(10, "GOVERNANCE");
    assert!(count >= 8, "{count}");
    // Half of the time is not over: what is new comes with its lock, and nothing else is asked.
    fs::write(source.join("new"), noise(9, 50_000)).unwrap();
    let again = locked.run("governance:10d", &["backup", "--json", path]).ok();
    assert!(!again.stderr.contains("Locked"), "{}", again.stderr);
    assert!(is_locked_for(10, "GOVERNANCE") > count);
    // A longer time counts for what was there before.
    locked.run("governance:30d", &["backup", path]).ok();
    is_locked_for(30, "GOVERNANCE");
    // What is deleted is still there as an older version.
    let pack = locked.locks().into_keys().find(|name| name.contains("/packs/")).unwrap();
    let (_, versions) = locked.ask("GET", &format!("?versions&prefix={pack}"));
    let version = versions.split_once("<VersionId>").unwrap().1.split('<').next().unwrap();
    let (status, said) = locked.ask("DELETE", &format!("/{pack}?versionId={version}"));
    assert_eq!(status, 403, "{said}");
    let check = locked.run("governance:30d", &["check", "--json", "--read-data"]).ok();
    assert!(!json_lines(&check.stdout).is_empty());
}

/// A server that keeps a lock until a given time and never shortens it; what it says then differs.
fn keeper(mode: &'static str, until: &'static str, refuses_with: u16) -> Stub {
    Stub::start(move |head, _, _| match head.split(' ').next() {
        Some("get") => {
            let said = format!("<Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate>");
            Answer::new(200, &format!("<Retention>{said}</Retention>"))
        }
        _ => Answer::new(refuses_with, "<Error><Code>AccessDenied</Code><Message>It is\nlocked.</Message></Error>"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_last_longer_are_left_alone() {
    let long = "2999-01-01T00:00:00.000Z";
    let cases = [
        ("COMPLIANCE", long, 403, true),
        ("COMPLIANCE", long, 400, true),
        ("GOVERNANCE", long, 403, false),
        ("COMPLIANCE", "2026-01-01T00:00:00Z", 403, false),
        ("COMPLIANCE", "soon", 400, false),
    ];
    for (mode, until, status, is_fine) in cases {
        let stub = keeper(mode, until, status);
        let mut options = StoreOptions { use_environment: false, retry_secs_max: 0, ..StoreOptions::default() };
        let endpoint = format!("s3.endpoint={}", stub.url());
        for setting in ["s3.access_key_id=t", "s3.secret_access_key=hunter2", "object_lock=compliance:9d", &endpoint] {
            options.set(setting).unwrap();
        }
        let store = store::open(&"s3://tests/a".parse().unwrap(), &options).unwrap();
        let told = store.extend_lock("log/x").await.map_err(|error| chain(&error));
        assert_eq!(told.is_ok(), is_fine, "{told:?}");
        if let Err(told) = told {
            assert!(told.contains("cannot lock 'log/x' at s3://tests/a"), "{told}");
            assert!(told.ends_with(&format!("the server answered {status}: AccessDenied: It is locked.")), "{told}");
        }
        let seen = stub.seen();
        assert!(seen.iter().all(|head| head.contains("/tests/a/log/x?retention")), "{seen:?}");
        assert!(seen[0].contains("content-md5: "), "{seen:?}");
    }
}

#[test]
fn one_that_cannot_be_locked_does_not_keep_the_others_from_it() {
    let plan = |asked: &Asked<'_>| match asked.verb {
        Verb::Lock if asked.name.starts_with("packs/") => Fault::Before(ErrorKind::Denied),
        Verb::Lock if asked.name.starts_with("index/") => Fault::Vanished,
        _ => Fault::None,
    };
    let folder = tempfile::tempdir().unwrap();
    let store = Counted::with_log(Faulty::new(open_store(&folder.path().join("repository")), plan));
    let house = House::with_store(folder, store.clone());
    fs::write(house.source().join("file"), noise(1, 1000)).unwrap();
    house.backup();
    let told = house.runtime.block_on(extend_locks(&house.repo, &Collect::default())).unwrap_err();
    assert!(chain(&told).contains("cannot lock 'packs/"), "{}", chain(&told));
    let asked: Vec<String> = store.log().into_iter().filter(|r| r.verb == Verb::Lock).map(|r| r.name).collect();
    let there = house.runtime.block_on(house.repo.store().list("")).unwrap();
    assert_eq!(asked.len(), there.len(), "{asked:?}");
}

#[test]
fn what_cannot_lock_says_so() {
    let locked = Locked::new("no-locks", false);
    let told = locked.run("compliance:10d", &["init"]).stderr;
    assert!(told.contains("s3://no-locks/some/where") && told.contains("Lock"), "{told}");
    let folder = locked.program.command(&["-o", "object_lock=compliance:10d", "init"]).output().unwrap();
    assert!(String::from_utf8_lossy(&folder.stderr).contains("only S3 has Object Lock"), "{folder:?}");
}
