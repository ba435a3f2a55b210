//! Looking back: what changed, what was where and when, through the program and through the catalogue itself.

use crate::house::House;
use crate::program::Program;
use crate::program::json_lines;
use crate::synth;
use bygone::format::record::Event;
use bygone::format::record::Snapshot;
use bygone::history;
use bygone::history::Catalogue;
use bygone::history::CatalogueError;
use bygone::history::Hit;
use bygone::history::Search;
use bygone::id::SnapshotId;
use bygone::meta::Time;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::store::Counted;
use bygone::store::Latency;
use bygone::store::depth;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

fn backup(program: &Program) -> String {
    let told = json_lines(&program.run(&["backup", "--json", program.source().to_str().unwrap()]).ok().stdout);
    told.last().unwrap()["snapshot"]["id"].as_str().unwrap().to_owned()
}

/// A repository whose three snapshots differ in all ways.
fn changed() -> (Program, [String; 3]) {
    let program = Program::with_source();
    let source = program.source();
    let first = backup(&program);
    fs::write(source.join("hello"), "Hello again\n").unwrap();
    fs::rename(source.join("sub/big"), source.join("sub/deeper/large")).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    fs::create_dir(source.join("link")).unwrap();
    fs::write(source.join("new"), "new").unwrap();
    fs::set_permissions(source.join("sub/deeper/note"), fs::Permissions::from_mode(0o600)).unwrap();
    let second = backup(&program);
    fs::write(source.join("hello"), "Hello\n").unwrap();
    fs::remove_dir_all(source.join("sub")).unwrap();
    let third = backup(&program);
    (program, [first, second, third])
}

/// The documents of a type, and what one of them says under a key.
fn of_type(text: &str, kind: &str) -> Vec<Value> {
    json_lines(text).into_iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn differences_are_told() {
    let (program, _) = changed();
    let source = program.source();
    let told = program.run(&["diff", "latest~2", "latest~1"]).ok().stdout;
    let at = |below: &str| format!("{}/{below}", source.display());
    let lines: Vec<&str> = told.lines().collect();
    let (changes, summary) = lines.split_at(lines.len() - 1);
    let expected = [
        format!("M {}  content, time, inode  6 B -> 12 B", at("hello")),
        format!("M {}/  type, mode, time, inode  symlink -> folder", at("link")),
        format!("+ {}  3 B", at("new")),
        format!("R {} -> {}  3.0 MiB", at("sub/big"), at("sub/deeper/large")),
    ];
    // Which times and numbers differ is the file system's business.
    assert_eq!(changes.len(), expected.len(), "{told}");
    for (line, expected) in changes.iter().zip(&expected) {
        let ends =
            |text: &str| (text.split("  ").next().unwrap().to_owned(), text.rsplit("  ").next().unwrap().to_owned());
        assert_eq!(ends(line), ends(expected));
    }
    assert!(summary[0].starts_with("Added 1 file (3 B) and 0 folders, removed 0 files"), "{summary:?}");
    assert!(summary[0].contains("moved 1 file"), "{summary:?}");

    let json = program.run(&["diff", "--json", "--metadata", "latest~2", "latest~1"]).ok().stdout;
    let changes = of_type(&json, "change");
    let note = changes.iter().find(|change| change["path"] == at("sub/deeper/note")).unwrap();
    assert!(note["what"].as_array().unwrap().contains(&"mode".into()), "{note}");
    let moved = changes.iter().find(|change| change["change"] == "moved").unwrap();
    assert_eq!((&moved["from"], &moved["path"]), (&at("sub/big").into(), &at("sub/deeper/large").into()));
    assert_eq!(of_type(&json, "summary")[0]["files_changed"], 2);

    let back = program.run(&["diff", "--summary", "latest", "latest~1"]).ok().stdout;
    assert!(back.starts_with("Added 3 files (3.0 MiB) and 2 folders"), "{back}");
    assert!(program.run(&["diff", "latest", "latest"]).ok().stdout.starts_with("Added 0 files"));
}

#[test]
fn differences_below_a_folder_or_of_one_file() {
    let (program, ids) = changed();
    let deeper = program.at(&ids[0], "sub/deeper");
    let json = program.run(&["diff", "--json", &deeper, &ids[1]]).ok().stdout;
    let changes = of_type(&json, "change");
    assert_eq!(changes.len(), 1, "{json}");
    assert_eq!((&changes[0]["change"], &changes[0]["size"]), (&"added".into(), &(3 << 20).into()));
    let json = program.run(&["diff", "--json", &program.at(&ids[0], "hello"), "latest~1"]).ok().stdout;
    assert_eq!(of_type(&json, "change")[0]["old_size"], 6);
    // Another folder of the same snapshot: names below are compared.
    let json = program.run(&["diff", "--json", &program.at(&ids[0], "sub"), &program.at(&ids[0], "sub/deeper")]).ok();
    let changes: Vec<Value> = of_type(&json.stdout, "change");
    let count = |word: &str| changes.iter().filter(|change| change["change"] == word).count();
    assert_eq!((count("added"), count("removed"), count("moved")), (0, 3, 1), "{changes:#?}");
    program.run(&["diff", &program.at(&ids[0], "nothing"), "latest"]).fails(13);
    program.run(&["diff", "latest~9", "latest"]).fails(13);
}

#[test]
fn versions_of_a_path() {
    let (program, ids) = changed();
    let numbers = |arguments: &[&str]| -> Vec<Value> {
        let told = program.run(&[&["versions", "--json"], arguments].concat()).ok().stdout;
        of_type(&told, "version")
    };
    let source = program.source();
    let hello = source.join("hello");
    let found = numbers(&[hello.to_str().unwrap()]);
    let told: Vec<_> =
        found.iter().map(|v| (v["number"].as_u64().unwrap(), v["first_snapshot"].as_str().unwrap())).collect();
    assert_eq!(told, [(1, &ids[0][..]), (2, &ids[1][..]), (1, &ids[2][..])]);
    assert_eq!(numbers(&[&program.at("latest", "hello")]).len(), 3);
    assert_eq!(numbers(&["source/hello"]).len(), 3, "a path of this machine");

    let gone = numbers(&[source.join("sub/deeper/note").to_str().unwrap()]);
    assert_eq!(gone.len(), 2);
    assert_eq!((&gone[0]["snapshots"], &gone[1]["number"]), (&2.into(), &Value::Null));
    let folder = numbers(&[source.join("sub").to_str().unwrap()]);
    assert_eq!(folder.iter().map(|v| v["number"].clone()).collect::<Vec<_>>(), [1.into(), 2.into(), Value::Null]);
    let table = program.run(&["versions", hello.to_str().unwrap()]).ok().stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    program.run(&["versions", "/nothing/at/all"]).fails(13);
    program.run(&["versions", "/a/../b"]).fails(2);
}

#[test]
fn usage_is_the_sum_of_what_is_below() {
    let program = Program::with_source();
    backup(&program);
    let usage = |arguments: &[&str]| -> Vec<(String, u64)> {
        let told = program.run(&[&["du", "--json"], arguments].concat()).ok().stdout;
        let pair = |v: &Value| (v["path"].as_str().unwrap().to_owned(), v["bytes"].as_u64().unwrap());
        of_type(&told, "usage").iter().map(pair).collect()
    };
    let source = program.source().display().to_string();
    let in_sub = (3 << 20) + 4 + 1;
    let below = usage(&[&program.at("latest", ""), "--all"]);
    let names: Vec<&str> = below[1..].iter().map(|(path, _)| path.strip_prefix(&source).unwrap()).collect();
    assert_eq!(names, ["/sparse", "/sub", "/hello", "/link"]);
    assert_eq!(below[2].1, in_sub);
    assert_eq!(below[0].1, below[1..].iter().map(|(_, bytes)| bytes).sum::<u64>());
    let deep = usage(&[&program.at("latest", ""), "--depth", "2"]);
    assert_eq!(deep[1..], [(format!("{source}/sub"), in_sub), (format!("{source}/sub/deeper"), 4)]);
    assert_eq!(usage(&[&program.at("latest", "hello")]), [(format!("{source}/hello"), 6)]);
    let told = program.run(&["du", &program.at("latest", "")]).ok().stdout;
    assert!(told.contains("3.0 MiB") && told.contains("/sub/\n"), "{told}");
}

#[test]
fn what_is_stored_is_counted() {
    let (program, _) = changed();
    let told = program.run(&["stats", "--json", "--growth"]).ok().stdout;
    let stats = &of_type(&told, "stats")[0];
    assert_eq!(of_type(&told, "snapshot").len(), 3);
    assert_eq!(stats["snapshots"], 3);
    let on_disk = |folder: &str| -> u64 {
        fn below(folder: &Path) -> u64 {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { below(&path) } else { path.metadata().unwrap().len() }).sum()
        }
        below(&program.repository().join(folder))
    };
    assert_eq!(stats["pack_bytes"], on_disk("packs"));
    let others = ["index", "log", "keys", "copies", "parity"].map(on_disk);
    assert_eq!(stats["other_bytes"], others.iter().sum::<u64>());
    assert!(stats["bytes_new"].as_u64().unwrap() < stats["bytes"].as_u64().unwrap());
    assert!(program.run(&["stats", "--growth"]).ok().stdout.contains("Stored now"));
}

fn catalogue(program: &Program) -> PathBuf {
    let mut found = fs::read_dir(program.scratch().join("state")).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|ending| ending == "catalogue")).unwrap()
}

#[test]
fn everything_is_found_in_the_snapshots_that_have_it() {
    let (program, ids) = changed();
    let found =
        |arguments: &[&str]| of_type(&program.run(&[&["find", "--json"], arguments].concat()).ok().stdout, "found");
    let source = program.source();
    let hello = &found(&["hello"])[0];
    assert_eq!(hello["path"], source.join("hello").to_str().unwrap());
    assert_eq!((&hello["snapshots"], &hello["versions"], &hello["deleted"]), (&3.into(), &2.into(), &false.into()));
    assert_eq!((&hello["first_snapshot"], &hello["last_snapshot"]), (&ids[0].clone().into(), &ids[2].clone().into()));
    let names = |arguments: &[&str]| -> Vec<String> {
        let below = |v: &Value| v["path"].as_str().unwrap().strip_prefix(source.to_str().unwrap()).unwrap().to_owned();
        found(arguments).iter().map(below).collect()
    };
    assert_eq!(
        names(&["*e*", "--type", "f"]),
        ["/hello", "/new", "/sparse", "/sub/line\nbreak", "/sub/deeper/large", "/sub/deeper/note"]
    );
    assert_eq!(names(&["**/source/*", "--type", "d"]), ["/link", "/sub"]);
    assert_eq!(names(&["LINK", "-i", "--type", "l"]), ["/link"]);
    assert_eq!(names(&["sub/*/n*"]), ["/sub/deeper/note"]);
    assert_eq!(names(&["*", "--larger", "4M"]), ["/sparse"]);
    assert_eq!(names(&["big", "large", "--snapshot", &ids[1]]), ["/sub/deeper/large"]);
    assert_eq!(names(&["n*", "--latest"]), ["/new"]);
    assert_eq!(names(&["*", "--older", "1d"]), Vec::<String>::new());
    assert_eq!(names(&["new", "--newer", "1d"]), ["/new"]);
    assert_eq!(names(&["hello", "--host", "nobody"]), Vec::<String>::new());
    assert_eq!(
        names(&["--deleted", "*"]),
        ["/sub", "/sub/big", "/sub/deeper", "/sub/line\nbreak", "/sub/deeper/large", "/sub/deeper/note"]
    );

    // Nothing that was in the snapshots can be read in what is kept.
    let bytes = fs::read(catalogue(&program)).unwrap();
    for name in ["hello", "deeper", "sparse"] {
        assert!(!bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    assert_eq!(fs::metadata(catalogue(&program)).unwrap().permissions().mode() & 0o777, 0o600);
    // The same without keeping anything, and after it was removed.
    let kept = program.run(&["find", "*", "--json"]).ok().stdout;
    fs::remove_file(catalogue(&program)).unwrap();
    assert_eq!(program.run(&["find", "*", "--json", "--no-catalogue"]).ok().stdout, kept);
    let gone = fs::read_dir(program.scratch().join("state")).unwrap();
    assert!(gone.map(|entry| entry.unwrap().path()).all(|path| path.extension().is_none_or(|e| e != "catalogue")));
    assert_eq!(program.run(&["find", "*", "--json"]).ok().stdout, kept);
    program.run(&["find"]).fails(2);
    program.run(&["find", "x", "--newer", "yesterday"]).fails(2);
}

#[test]
fn what_was_deleted_comes_back_with_the_command_that_is_told() {
    let (program, ids) = changed();
    let told = program.run(&["find", "--deleted", "note"]).ok().stdout;
    let command = told.lines().nth(1).unwrap().trim();
    let expected = format!("bygone restore {}:{}/sub/deeper/note --to .", &ids[1][..8], program.source().display());
    assert_eq!(command, expected);
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    program.run(&arguments).ok();
    assert_eq!(fs::read_to_string(program.scratch().join("note")).unwrap(), "deep");
}

/// Something that happens to a file.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn a_damaged_catalogue_is_made_anew() {
    let (program, _) = changed();
    let expected = program.run(&["find", "*", "--json"]).ok().stdout;
    let path = catalogue(&program);
    let whole = fs::read(&path).unwrap();
    let cases: [Damage<'_>; 4] = [
        &|bytes| bytes.truncate(5000),
        &|bytes| bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x55),
        &|bytes| *bytes = b"something else altogether, and long enough to be looked at".repeat(100),
        &|bytes| bytes[60..64].copy_from_slice(&[0, 0, 0, 77]),
    ];
    for (number, damage) in cases.iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(program.run(&["find", "*", "--json"]).ok().stdout, expected, "case {number}");
    }
    // Where nothing can be kept, all goes on without.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let told = program.run(&["find", "*", "--json"]).ok();
    assert_eq!(told.stdout, expected);
    assert!(told.stderr.contains("going on without a catalogue"), "{}", told.stderr);
}

/// The paths that are found, with the number of snapshots that have them and whether they are gone.
fn search(catalogue: &Catalogue, snapshots: &[&Snapshot], ending: &str) -> Vec<(String, u64, bool)> {
    let mut found = Vec::new();
    let names = |_: &[u8], name: &[u8]| !name.is_empty() && name.ends_with(ending.as_bytes());
    let search = Search { snapshots, names: &names, infos: &|_| true };
    let mut tell = |hit: Hit<'_>| {
        found.push((String::from_utf8(hit.path).unwrap(), hit.snapshots, hit.is_deleted));
        Ok::<(), CatalogueError>(())
    };
    history::find(catalogue, &search, &mut tell).unwrap();
    found
}

/// Takes snapshots of a folder that has one file more, and one of the old ones less, each time.
fn grow(house: &House, rounds: std::ops::Range<u32>) {
    for round in rounds {
        fs::write(house.source().join(format!("{round}.txt")), format!("{round}")).unwrap();
        if round >= 3 {
            fs::remove_file(house.source().join(format!("{}.txt", round - 3))).unwrap();
        }
        house.backup();
    }
}

#[test]
fn a_catalogue_follows_the_log() {
    let house = House::new();
    let folder = house.folder.path().join("catalogue");
    let chunks = house.runtime.block_on(async { Chunks::new(&house.repo, &ChunksOptions::default()) });
    let compare = |catalogue: &mut Catalogue| {
        let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
        let snapshots = log.snapshots();
        assert!(house.runtime.block_on(catalogue.update(&chunks, &log, &snapshots)).unwrap().is_empty());
        // One that was never anything but these snapshots.
        let mut fresh = Catalogue::passing(house.repo.keys()).unwrap();
        house.runtime.block_on(fresh.update(&chunks, &log, &snapshots)).unwrap();
        let found = search(catalogue, &snapshots, ".txt");
        assert_eq!(found, search(&fresh, &snapshots, ".txt"));
        for one in &snapshots {
            assert_eq!(search(catalogue, &[one], ".txt"), search(&fresh, &[one], ".txt"));
        }
        found
    };
    let open = || Catalogue::open(&folder, house.repo.keys()).unwrap();
    let forget = |id: SnapshotId| {
        let append = Log::append(&house.repo, house.author(), Time::default(), Event::Forget(id), Vec::new());
        house.runtime.block_on(append).unwrap();
    };
    let ids = || -> Vec<SnapshotId> {
        let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
        log.snapshots().iter().map(|snapshot| snapshot.id).collect()
    };
    grow(&house, 0..6);
    let found = compare(&mut open());
    assert_eq!(found.len(), 6);
    assert_eq!((found[0].1, found[0].2, found[5].1, found[5].2), (3, true, 1, false));
    // Two have it open; each sees what the other one added.
    let (mut one, mut other) = (open(), open());
    grow(&house, 6..8);
    assert_eq!(compare(&mut one), compare(&mut other));
    grow(&house, 8..9);
    assert_eq!(compare(&mut other), compare(&mut one));
    // Forgotten in the middle, at the beginning, at the end, then a new one.
    forget(ids()[4]);
    compare(&mut one);
    forget(ids()[0]);
    compare(&mut other);
    forget(*ids().last().unwrap());
    compare(&mut one);
    grow(&house, 9..10);
    compare(&mut other);
    forget(*ids().last().unwrap());
    forget(ids()[1]);
    grow(&house, 10..12);
    assert_eq!(compare(&mut one), compare(&mut open()));
    // Nearly all forgotten: the rest is noted anew.
    grow(&house, 12..40);
    compare(&mut one);
    ids().iter().skip(1).take(30).for_each(|id| forget(*id));
    assert_eq!(compare(&mut one), compare(&mut open()));
}

/// Files, snapshots, and what it cost to look back over them. `BYGONE_HISTORY=1000000x100` makes it as large as that;
/// the times are printed and nothing depends on them.
#[test]
fn what_did_not_change_is_not_read_again() {
    let size = std::env::var("BYGONE_HISTORY").unwrap_or_else(|_| "30000x12".to_owned());
    let (files, snapshots) = size.split_once('x').unwrap();
    let (files, count): (u64, u64) = (files.parse().unwrap(), snapshots.parse().unwrap());
    let house = House::new();
    synth::commit_history(&house, files, count);
    let store = Counted::with_log(Latency::new(house.repo.store().clone(), Duration::from_millis(5)));
    let (repo, log) = house.runtime.block_on(Repo::open_with_log(store.clone(), &crate::house::password())).unwrap();
    let snapshots = log.snapshots();
    assert_eq!(snapshots.len() as u64, count);
    let folder = house.folder.path().join("catalogue");
    let fresh = || house.runtime.block_on(async { Chunks::new(&repo, &ChunksOptions::default()) });
    let (mut before, mut began) = (store.log().len(), Instant::now());
    let mut told = |what: &str| {
        let requests = &store.log()[before..];
        println!("{size}: {what}: {:?}, {} requests, {} deep", began.elapsed(), requests.len(), depth(requests));
        let requests = requests.len();
        (before, began) = (store.log().len(), Instant::now());
        requests
    };
    let mut catalogue = Catalogue::open(&folder, repo.keys()).unwrap();
    house.runtime.block_on(catalogue.update(&fresh(), &log, &snapshots[..snapshots.len() - 1])).unwrap();
    told("first search reads the names");
    house.runtime.block_on(catalogue.update(&fresh(), &log, &snapshots)).unwrap();
    let added = told("one more snapshot");
    assert!(added < 40, "{added} requests for one snapshot");
    // Through a store of its own: what was fetched ahead before may still be on its way.
    let silent = Counted::with_log(house.repo.store().clone());
    let opened = house.runtime.block_on(Repo::open(silent.clone(), &crate::house::password())).unwrap();
    let (asked, chunks) =
        (silent.log().len(), house.runtime.block_on(async { Chunks::new(&opened, &ChunksOptions::default()) }));
    told("in between");
    let mut catalogue = Catalogue::open(&folder, repo.keys()).unwrap();
    house.runtime.block_on(catalogue.update(&chunks, &log, &snapshots)).unwrap();
    assert_eq!(search(&catalogue, &snapshots, "file 007").len() as u64, files.div_ceil(100));
    told("find one name");
    assert_eq!(search(&catalogue, &snapshots, "").len() as u64, files + files.div_ceil(100));
    told("find everything");
    assert_eq!(silent.log().len(), asked);
    let bytes: u64 = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("{size}: catalogue: {bytes} bytes");
    let path = format!("{:07}/file 007", files / 100 - 1);
    let chunks = fresh();
    let mut numbers = history::Numbers::default();
    let versions = history::versions(&chunks, &log, &snapshots, path.as_bytes(), &mut numbers);
    assert!(!house.runtime.block_on(versions).unwrap().is_empty());
    told("versions of a file");
    let chunks = fresh();
    let first = bygone::browse::Browse::open(&chunks, &log, snapshots[0]);
    let last = bygone::browse::Browse::open(&chunks, &log, snapshots[snapshots.len() - 1]);
    let mut changes = bygone::browse::Changes::new((&first, b""), (&last, b""));
    let mut differences = 0;
    while house.runtime.block_on(changes.next()).unwrap().is_some() {
        differences += 1;
    }
    assert!(differences > 0);
    let read = told("diff of the first and the last");
    assert!(read < 60 + differences, "{read} requests for {differences} differences");
}
