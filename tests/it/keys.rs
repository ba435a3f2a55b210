//! Passwords: several of them, recovery codes, changes that die half-way, and repositories that share their chunks.

use crate::house::House;
use crate::house::open_store;
use crate::house::password;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use bygone::cache;
use bygone::cache::Cache;
use bygone::crypto::password::Cost;
use bygone::crypto::password::Password;
use bygone::extent::ChunkKind;
use bygone::repo::Error;
use bygone::repo::Freshness;
use bygone::repo::Memory;
use bygone::repo::Repo;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Fault;
use bygone::store::Faulty;
use bygone::store::Verb;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs it with another password.
fn with(program: &Program, password: &str, arguments: &[&str]) -> Ended {
    let output = program.command(arguments).env("BYGONE_PASSWORD", password).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn file(program: &Program, text: &str) -> String {
    let path = program.scratch().join("new-password");
    fs::write(&path, format!("{text}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn keys(program: &Program) -> Vec<Value> {
    json_lines(&program.run(&["key", "list", "--json"]).ok().stdout)
}

fn other_key(program: &Program) -> String {
    let keys = keys(program);
    let other = keys.iter().find(|key| key["used_now"] == false).unwrap();
    other["id"].as_str().unwrap()[..10].to_owned()
}

#[test]
fn several_passwords_open_and_one_always_stays() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let only = keys(&program)[0]["id"].as_str().unwrap().to_owned();
    assert!(program.run(&["key", "remove", &only]).fails(1).stderr.contains("only password"));
    let new = file(&program, "second");
    program.run(&["key", "add", "--new-password-file", &new, "--label", "desk"]).ok();
    // Which one opens with it now: adding it again is refused.
    let again = program.run(&["key", "add", "--new-password-command", "echo second"]).fails(1).stderr;
    assert!(again.contains("opens the repository already"), "{again}");
    let listed = keys(&program);
    assert_eq!(listed.len(), 2);
    let added = listed.iter().find(|key| key["used_now"] == false).unwrap();
    assert_eq!(added["label"], "desk");
    assert!(!added["host"].as_str().unwrap().is_empty() && added["time"].is_string());
    let shown = program.run(&["key", "list"]).ok().stdout;
    assert!(shown.contains("desk") && shown.contains("* opened the repository just now"), "{shown}");
    with(&program, "second", &["snapshots"]).ok();
    let id = other_key(&program);
    let own = with(&program, "second", &["key", "remove", &id]).fails(1).stderr;
    assert!(own.contains("is the one that opened") && own.contains("change-password"), "{own}");
    program.run(&["key", "remove", "0123456789abcdef"]).fails(13);
    program.run(&["key", "remove", ""]).fails(13);
    assert!(program.run(&["key", "remove", &id]).ok().stdout.contains("1 password opens"));
    with(&program, "second", &["snapshots"]).fails(12);
    assert_eq!(keys(&program).len(), 1);
    let nobody = program.run(&["key", "add"]).fails(2).stderr;
    assert!(nobody.contains("--new-password-file"), "{nobody}");
    program.run(&["key"]).fails(2);
    let missing = program.run(&["key", "add", "--new-password-file", "/nowhere/x"]).fails(1).stderr;
    assert!(missing.contains("--new-password-file '/nowhere/x'"), "{missing}");
    // Taken as it is, but not without a word.
    let slip = format!("echo {}", ["0"; 40].concat());
    let warned = program.run(&["key", "add", "--new-password-command", &slip]).ok().stderr;
    assert!(warned.contains("looks like a recovery code"), "{warned}");
    program.run(&["key", "add", "--recovery", "--new-password-file", &new]).fails(2);
}

#[test]
fn a_recovery_code_opens_however_it_is_typed() {
    let program = Program::with_source();
    program.run(&["backup", program.source().to_str().unwrap()]).ok();
    let told = program.run(&["key", "add", "--recovery"]).ok().stdout;
    let code = told.lines().next().unwrap();
    assert!(code.split('-').count() == 8 && told.contains("not shown again"), "{told}");
    for typed in [code.to_owned(), code.to_lowercase(), code.replace('-', ""), code.replace('-', " ").to_lowercase()] {
        assert!(with(&program, &typed, &["snapshots"]).ok().stdout.contains("source"), "{typed}");
    }
    let slip = if code.starts_with('0') { code.replacen('0', "2", 1) } else { format!("0{}", &code[1..]) };
    let slip = with(&program, &slip, &["snapshots"]).fails(12).stderr;
    assert!(slip.contains("looks like a recovery code"), "{slip}");
    assert!(!program.run(&["snapshots", "--password-command", "echo wrong"]).fails(12).stderr.contains("recovery"));
    assert!(keys(&program).iter().any(|key| key["label"] == "recovery code"));
    let json = json_lines(&program.run(&["key", "add", "--recovery", "--json", "--label", "safe"]).ok().stdout);
    with(&program, json[0]["recovery_code"].as_str().unwrap(), &["key", "list"]).ok();
}

#[test]
fn a_changed_password_is_the_only_one() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let same = file(&program, "correct horse");
    assert!(program.run(&["key", "change-password", "--new-password-file", &same]).fails(1).stderr.contains("old one"));
    let new = file(&program, "better horse");
    let told = program.run(&["key", "change-password", "--new-password-file", &new]).ok().stdout;
    assert!(told.contains("The new password opens"), "{told}");
    with(&program, "correct horse", &["snapshots"]).fails(12);
    assert_eq!(json_lines(&with(&program, "better horse", &["key", "list", "--json"]).ok().stdout).len(), 1);
    // The variables work as well as the options.
    let mut command = program.command(&["key", "change-password", "-q"]);
    command.env("BYGONE_PASSWORD", "better horse").env("BYGONE_NEW_PASSWORD", "correct horse");
    assert!(command.status().unwrap().success());
    program.run(&["snapshots"]).ok();
}

fn new() -> Password {
    Password::new(b"new".to_vec())
}

async fn opens(store: &AnyStore, password: &Password) -> bool {
    match Repo::open(store.clone(), password).await {
        Ok(_) => true,
        Err(Error::WrongPassword) => false,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_change_that_dies_anywhere_locks_nobody_out() {
    let mut number = 1;
    loop {
        let house = House::new();
        let store = open_store(&house.folder.path().join("repository"));
        let done = house.runtime.block_on(async {
            // Opened before the store begins to fail: three requests.
            let failing = Faulty::stop_at(store.clone(), number + 3);
            let repo = Repo::open(failing, &password()).await.unwrap();
            let first = repo.change_password(&password(), &new(), Cost::CHEAP, 2).await;
            let (old_opens, new_opens) = (opens(&store, &password()).await, opens(&store, &new()).await);
            assert!(old_opens || new_opens, "{number}");
            assert!(first.is_err() || (new_opens && !old_opens), "{number}");
            let is_last = first.is_ok();
            if matches!(first, Err(Error::OldPasswordStays { .. })) {
                assert!(new_opens, "{number}");
            }
            // The same again.
            if old_opens {
                let repo = Repo::open(store.clone(), &password()).await.unwrap();
                let again = repo.change_password(&password(), &new(), Cost::CHEAP, 3).await.unwrap();
                assert_eq!(again.is_new, !new_opens);
            }
            let repo = Repo::open(store.clone(), &new()).await.unwrap();
            assert!(!opens(&store, &password()).await);
            assert_eq!(repo.slots().await.unwrap().len(), 1, "{number}");
            is_last
        });
        if done {
            break;
        }
        number += 1;
        assert!(number < 100);
    }
    assert!(number > 6, "{number}");
}

#[test]
fn where_nothing_can_be_deleted_both_open_and_one_is_told() {
    let house = House::new();
    let store = open_store(&house.folder.path().join("repository"));
    let denied = |asked: &bygone::store::Asked<'_>| match asked.verb {
        Verb::Delete => Fault::Before(ErrorKind::Denied),
        _ => Fault::None,
    };
    house.runtime.block_on(async {
        let repo = Repo::open(Faulty::new(store.clone(), denied), &password()).await.unwrap();
        let error = repo.change_password(&password(), &new(), Cost::CHEAP, 2).await.unwrap_err();
        assert!(matches!(error, Error::OldPasswordStays { .. }), "{error:?}");
        assert!(opens(&store, &password()).await && opens(&store, &new()).await);
    });
}

#[test]
fn two_that_remove_each_other_leave_one() {
    let house = House::new();
    let store = open_store(&house.folder.path().join("repository"));
    house.runtime.block_on(async {
        house.repo.add_password(&new(), Cost::CHEAP, 2).await.unwrap();
        let first = Repo::open(store.clone(), &password()).await.unwrap();
        let second = Repo::open(store.clone(), &new()).await.unwrap();
        assert!(matches!(first.remove_slot(first.slot()).await, Err(Error::SlotInUse { .. })));
        first.remove_slot(second.slot()).await.unwrap();
        // The other one notices before it removes anything.
        assert!(second.remove_slot(first.slot()).await.is_err());
        assert!(opens(&store, &password()).await && !opens(&store, &new()).await);
        // In the middle of it, too: its slot goes while it removes, and it puts it back.
        let second = first.add_password(&new(), Cost::CHEAP, 3).await.unwrap();
        let own = bygone::repo::slot_name(first.slot());
        let folder = house.folder.path().join("repository");
        let meanwhile = move |asked: &bygone::store::Asked<'_>| {
            if asked.verb == Verb::Delete && asked.name.starts_with("keys/") {
                fs::remove_file(folder.join(&own)).unwrap();
            }
            Fault::None
        };
        let racing = Repo::open(Faulty::new(store.clone(), meanwhile), &password()).await.unwrap();
        racing.remove_slot(second).await.unwrap();
        assert!(opens(&store, &password()).await && !opens(&store, &new()).await);
    });
}

#[test]
fn a_slot_that_only_the_cache_has_is_not_what_stays() {
    let house = House::new();
    let repository = house.folder.path().join("repository");
    let cache = Cache::open(&house.folder.path().join("cache"), &cache::Options::default()).unwrap();
    let memory = Memory { cache, freshness: Freshness::Newest };
    house.runtime.block_on(async {
        let other = house.repo.add_password(&new(), Cost::CHEAP, 2).await.unwrap();
        let (repo, _) = Repo::open_remembered(open_store(&repository), &memory, &password()).await.unwrap();
        fs::remove_file(repository.join(bygone::repo::slot_name(repo.slot()))).unwrap();
        let error = repo.remove_slot(other).await.unwrap_err();
        assert!(matches!(&error, Error::Store(error) if error.kind == ErrorKind::NotFound), "{error:?}");
        assert!(opens(&open_store(&repository), &new()).await);
    });
}

#[test]
fn repositories_that_share_cut_and_name_alike() {
    let program = Program::with_source();
    program.run(&["key", "list"]).ok();
    let (first, second) = (program.repository(), program.scratch().join("second"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let from = file(&program, "correct horse");
    let arguments = ["-r", second, "init", "--json", "--from", first, "--from-password-file", &from];
    let made = json_lines(&with(&program, "other", &arguments).ok().stdout);
    let open = |at: &str, password: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let password = Password::new(password.as_bytes().to_vec());
        runtime.block_on(Repo::open(open_store(Path::new(at)), &password)).unwrap()
    };
    let (a, b) = (open(first, "correct horse"), open(second, "other"));
    assert_eq!(made[0]["shares_with"], a.config().repository.to_string());
    assert_ne!(a.config().repository, b.config().repository);
    assert_eq!(a.config().sizes, b.config().sizes);
    assert_eq!(a.keys().gear(), b.keys().gear());
    let id = |repo: &Repo| repo.keys().chunk_id(ChunkKind::Data, b"abc");
    assert_eq!(id(&a), id(&b));
    // Passwords are each repository's own.
    with(&program, "other", &["snapshots"]).fails(12);
    with(&program, "correct horse", &["-r", second, "snapshots"]).fails(12);
    let source = program.source();
    let backup = ["-r", second, "backup", source.to_str().unwrap()];
    with(&program, "other", &backup).ok();
    let wrong = ["-r", "third", "init", "--from", first, "--from-password-command", "echo wrong"];
    with(&program, "other", &wrong).fails(12);
    assert!(!program.scratch().join("third/config").exists());
    program.run(&["-r", "third", "init", "--from", first, "--chunk-size", "1M"]).fails(2);
    program.run(&["-r", "third", "init", "--from-password-file", &from]).fails(2);
}
