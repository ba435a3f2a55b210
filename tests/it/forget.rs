//! Forgetting and taking it back, tags, and what later versions say: with the real program over repositories whose
//! snapshots have chosen times.

use crate::format::second_reader;
use crate::house::House;
use crate::house::open_latest;
use crate::house::password;
use crate::listing;
use crate::program::Program;
use crate::program::json_lines;
use crate::s3::s3;
use crate::servers::moto;
use bygone::crypto::password::Cost;
use bygone::crypto::password::Password;
use bygone::format::later::Amend;
use bygone::format::record::Event;
use bygone::format::record::Snapshot;
use bygone::id::ObjectId;
use bygone::id::SnapshotId;
use bygone::id::WriterId;
use bygone::meta::Time;
use bygone::monitor::Collect;
use bygone::repo;
use bygone::repo::Author;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::state::State;
use serde_json::Value;
use std::fs;

const NOW: Time = Time { secs: 1_800_000_000, nanos: 0 };

/// A repository, and the program beside it with a state of its own.
pub(crate) struct Forgetting {
    pub(crate) house: House,
    program: Program,
}

pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Forgetting {
    /// With snapshots of these times (UTC) and hosts.
    pub(crate) fn new(taken: &[(&str, &str)]) -> Forgetting {
        let house = House::new();
        for (time, host) in taken {
            let time: jiff::Timestamp = time.parse().unwrap();
            let mut options = house.options();
            options.time = Time { secs: time.as_second(), nanos: 0 };
            options.host = (*host).to_owned();
            fs::write(house.source().join("file"), time.to_string()).unwrap();
            house.backup_with(options, &Collect::default()).unwrap();
        }
        Forgetting { house, program: Program::new() }
    }

    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Told {
        let mut command = self.program.command(arguments);
        command.env("BYGONE_REPOSITORY", self.house.folder.path().join("repository")).env("BYGONE_PASSWORD", "test");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told =
            Told { code: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert_eq!(told.code, code, "{arguments:?}\nstdout: {}\nstderr: {}", told.stdout, told.stderr);
        told
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        json_lines(&self.run(&[arguments, &["--json"]].concat(), 0).stdout)
    }

    /// The days of the month of the snapshots there are.
    fn days(&self, more: &[&str]) -> Vec<String> {
        let days = |snapshot: &Value| snapshot["time"].as_str().unwrap()[8..10].to_owned();
        self.json(&[&["snapshots"], more].concat()).iter().map(days).collect()
    }

    /// How many records there are.
    fn records(&self) -> usize {
        let log = self.house.folder.path().join("repository/log");
        let chains = fs::read_dir(log).unwrap().map(|chain| chain.unwrap().path());
        chains.map(|chain| fs::read_dir(chain).unwrap().count()).sum()
    }

    fn log(&self) -> Log {
        read(&self.house)
    }
}

fn read(house: &House) -> Log {
    let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
    assert!(log.problems.is_empty(), "{:?}", log.problems);
    log
}

fn say(house: &House, author: Author<'_>, event: Event) -> WriterId {
    house.runtime.block_on(Log::append(&house.repo, author, NOW, event, Vec::new())).unwrap()
}

/// So many records that the chain is summed up once.
pub(crate) fn fill_a_checkpoint(house: &House) {
    for _ in 0..33 {
        say(house, house.author(), Event::Recall(SnapshotId([4; 16])));
    }
}

fn week() -> Forgetting {
    Forgetting::new(&[
        ("2020-11-01T10:00:00Z", "tower"),
        ("2020-11-02T10:00:00Z", "tower"),
        ("2020-11-02T20:00:00Z", "laptop"),
        ("2020-11-03T10:00:00Z", "tower"),
        ("2020-11-04T10:00:00Z", "laptop"),
        ("2020-11-05T10:00:00Z", "tower"),
    ])
}

#[test]
fn a_policy_is_shown_then_done_then_taken_back() {
    let it = week();
    let before = it.records();
    let shown = it.run(&["forget", "--keep-daily", "2", "--dry-run"], 0).stdout;
    for text in
        ["laptop", "tower", "4 snapshots, 2 to forget", "daily", "- goes", "Would forget 2 of 6", "needed by no other"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert_eq!(it.records(), before);
    let done = it.json(&["forget", "--keep-daily", "2"]);
    let (summary, decisions) = done.split_last().unwrap();
    assert_eq!((&summary["kept"], &summary["forgotten"]), (&4.into(), &2.into()));
    assert_eq!(decisions.iter().filter(|line| line["keep"] == false).count(), 2);
    let of_tower = decisions.iter().find(|line| line["time"] == "2020-11-05T10:00:00Z").unwrap();
    assert_eq!((&of_tower["reasons"][0], &of_tower["group"]["host"]), (&"daily".into(), &"tower".into()));
    assert_eq!(of_tower["group"]["tags"], Value::Null);
    // One record for both.
    assert_eq!(it.records(), before + 1);
    assert_eq!(it.days(&[]), ["02", "03", "04", "05"]);
    assert_eq!(it.days(&["--forgotten"]), ["01", "02"]);
    let again = it.run(&["forget", "--keep-daily", "2"], 0).stdout;
    assert!(again.contains("Nothing is to be forgotten"), "{again}");
    assert_eq!(it.records(), before + 1);
    let back = it.json(&["undo-forget", "--last"]);
    assert_eq!(back.len(), 2);
    assert_eq!(it.days(&[]).len(), 6);
    assert!(it.days(&["--forgotten"]).is_empty());
    assert!(it.run(&["undo-forget", "--last"], 13).stderr.contains("has forgotten no snapshot"));
}

#[test]
fn by_name_and_step_by_step_back() {
    let it = week();
    let oldest = it.json(&["snapshots"])[0]["id"].as_str().unwrap().to_owned();
    assert!(it.run(&["forget", &oldest, &oldest[..9]], 0).stdout.contains("Forgot 1 of 6"));
    it.run(&["forget", &oldest], 13);
    it.run(&["forget", "latest", "latest~1", "--host", "tower"], 0);
    assert_eq!(it.days(&["--host", "tower"]), ["02"]);
    it.run(&["undo-forget", "--last", "-q"], 0);
    assert_eq!(it.days(&["--host", "tower"]), ["02", "03", "05"]);
    it.run(&["undo-forget", "--last"], 0);
    assert_eq!(it.days(&["--host", "tower"]), ["01", "02", "03", "05"]);
    // By name, too; and it can be forgotten and taken back again.
    it.run(&["forget", &oldest], 0);
    assert!(it.run(&["undo-forget", &oldest[..9]], 0).stdout.contains("is back"));
    assert!(it.run(&["undo-forget", &oldest], 13).stderr.contains("--forgotten"));
    assert_eq!(it.days(&[]).len(), 6);
}

#[test]
fn groups_and_filters_bound_what_a_policy_sees() {
    let it = week();
    let gone = |more: &[&str]| -> Vec<String> {
        let lines = it.json(&[&["forget", "--keep-last", "1", "--dry-run"], more].concat());
        let gone = lines.iter().filter(|line| line["type"] == "decision" && line["keep"] == false);
        gone.map(|line| line["time"].as_str().unwrap()[8..13].to_owned()).collect()
    };
    assert_eq!(gone(&[]), ["02T20", "01T10", "02T10", "03T10"]);
    assert_eq!(gone(&["--group-by", "none"]), ["01T10", "02T10", "02T20", "03T10", "04T10"]);
    assert_eq!(gone(&["--group-by", "paths,tags"]), ["01T10", "02T10", "02T20", "03T10", "04T10"]);
    assert_eq!(gone(&["--host", "laptop"]), ["02T20"]);
    assert!(gone(&["--path", "/nowhere"]).is_empty());
    assert!(gone(&["--keep-within", "10d"]).is_empty());
    assert_eq!(gone(&["--keep-within-daily", "25h", "--host", "tower"]), ["01T10", "02T10", "03T10"]);
}

#[test]
fn two_machines_of_one_name_are_told_apart_by_their_writers() {
    let it = week();
    let source = it.house.source();
    // The program has a state of its own: to the repository it is another machine.
    it.run(&["backup", source.to_str().unwrap(), "--host", "tower", "--time", "2020-11-06T10:00:00Z"], 0);
    let stays = |by: &str| -> Vec<Value> {
        let lines = it.json(&["forget", "--keep-last", "1", "--dry-run", "--host", "tower", "--group-by", by]);
        lines.into_iter().filter(|line| line["keep"] == true).collect()
    };
    assert_eq!(stays("host").len(), 1);
    let [first, second] = &stays("host,writer")[..] else { panic!("two writers, two groups") };
    assert_ne!(first["group"]["writer"], second["group"]["writer"]);
    let mut times = [first["time"].as_str().unwrap(), second["time"].as_str().unwrap()];
    times.sort_unstable();
    assert_eq!(times, ["2020-11-05T10:00:00Z", "2020-11-06T10:00:00Z"]);
    let shown = it.run(&["forget", "--keep-last", "1", "--dry-run", "--group-by", "writer"], 0).stdout;
    assert!(shown.contains("(writer "), "{shown}");
}

#[test]
fn nothing_is_forgotten_by_mistake() {
    let it = week();
    let before = it.records();
    for (arguments, code, told) in [
        (&["forget"][..], 2, "nothing says what to forget"),
        (&["forget", "latest", "--keep-last", "1"], 2, "not both"),
        (&["forget", "--keep-daily", "many"], 2, "neither a number nor 'all'"),
        (&["forget", "--keep-within", "5 minutes"], 2, "not a length of time"),
        (&["forget", "--keep-last", "0"], 1, "nothing would stay"),
        (&["forget", "--keep-tag", "gold"], 1, "--allow-none-left"),
        (&["forget", "--group-by", "moon", "--keep-last", "1"], 2, "moon"),
        (&["forget", "--group-by", "none,host", "--keep-last", "1"], 2, "stands alone"),
        (&["forget", "0123456789abcdef"], 13, "no snapshot"),
        (&["undo-forget"], 2, "SNAPSHOT"),
        (&["undo-forget", "latest"], 13, "--forgotten"),
    ] {
        let ended = it.run(arguments, code);
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert_eq!((it.records(), it.days(&[]).len()), (before, 6));
    it.run(&["forget", "--keep-tag", "gold", "--allow-none-left", "--host", "laptop"], 0);
    assert_eq!(it.days(&[]), ["01", "02", "03", "05"]);
}

#[test]
fn a_thousand_are_one_record() {
    let it = week();
    let ids: Vec<SnapshotId> = (0..1000_u32)
        .map(|n| SnapshotId([[7; 12].as_slice(), &n.to_le_bytes()].concat().try_into().unwrap()))
        .chain(it.log().snapshots().iter().map(|snapshot| snapshot.id))
        .collect();
    let before = it.records();
    let house = &it.house;
    house.runtime.block_on(Log::forget(&house.repo, house.author(), NOW, &ids)).unwrap();
    assert_eq!(it.records(), before + 1);
    assert!(it.log().snapshots().is_empty());
    let late = house.runtime.block_on(Log::recall(&house.repo, house.author(), NOW, &ids)).unwrap();
    // Those that never were cannot be had back, and are forgotten again.
    assert_eq!(late, ids[..1000]);
    assert_eq!((it.records(), it.log().snapshots().len()), (before + 3, 6));
}

#[test]
fn tags_and_descriptions_change() {
    let it = week();
    let shown = |more: &[&str]| -> Vec<String> {
        let told = |s: &Value| format!("{} {} {}", &s["time"].as_str().unwrap()[8..10], s["tags"], s["description"]);
        it.json(&[&["snapshots"], more].concat()).iter().map(told).collect()
    };
    it.run(&["tag", "latest", "latest~1", "latest", "--add", "b", "--add", "a", "--description", "before"], 0);
    assert_eq!(shown(&["--latest", "2"]), [r#"04 ["a","b"] "before""#, r#"05 ["a","b"] "before""#]);
    assert_eq!(shown(&["--tag", "a"]).len(), 2);
    let one = it.run(&["tag", "latest", "latest~1", "--remove", "a", "--add", "b", "--host", "tower"], 0).stdout;
    assert!(one.contains("Changed 2 snapshots"), "{one}");
    assert_eq!(shown(&["--latest", "3"]), [r#"03 ["b"] """#, r#"04 ["a","b"] "before""#, r#"05 ["b"] "before""#]);
    it.run(&["tag", "latest", "--set", "z", "--set", "y", "--description", ""], 0);
    assert_eq!(shown(&["--latest", "1"]), [r#"05 ["y","z"] """#]);
    let before = it.records();
    assert!(it.run(&["tag", "latest", "--add", "z"], 0).stdout.contains("Changed 0"));
    assert_eq!(it.records(), before);
    it.run(&["tag", "latest", "--set", ""], 0);
    assert_eq!(shown(&["--latest", "1"]), [r#"05 [] """#]);
    it.run(&["tag", "latest"], 2);
    it.run(&["tag", "--add", "x"], 2);
    it.run(&["tag", "latest", "--add", ""], 2);
    it.run(&["tag", "latest", "--add", "x", "--set", "y"], 2);
    it.run(&["tag", "ffff", "--add", "x"], 13);
    let long: Vec<String> = (10..30).map(|n| format!("{n}").repeat(32_000)).collect();
    let long: Vec<&str> = long.iter().flat_map(|tag| ["--add", tag]).collect();
    assert!(it.run(&[&["tag", "latest"], &long[..]].concat(), 2).stderr.contains("together at most"));
    // Policies see the tags of now.
    it.run(&["tag", "latest~3", "--add", "gold"], 0);
    it.run(&["forget", "--keep-tag", "gold", "--group-by", "none"], 0);
    assert_eq!(it.days(&[]), ["02"]);
    // A forgotten snapshot keeps its name.
    it.run(&["undo-forget", "--last"], 0);
    assert_eq!(shown(&["--tag", "gold"]).len(), 1);
}

#[test]
fn a_latest_snapshot_from_the_future_is_told() {
    let it = Forgetting::new(&[("2020-11-01T10:00:00Z", "desk"), ("2099-11-01T10:00:00Z", "tower")]);
    let ahead = it.log().snapshots()[1].id.to_string();
    for command in [&["ls", "latest"][..], &["stats", "latest"], &["check", "--snapshot", "latest"]] {
        let told = it.run(command, 0).stderr;
        for words in ["in the future", &ahead[..8], "2099-11-01", "tower"] {
            assert!(told.contains(words), "{command:?}, {words}: {told}");
        }
    }
    let json = it.run(&["ls", "latest", "--json"], 0).stderr;
    assert!(json_lines(&json).iter().any(|line| line["type"] == "warning"), "{json}");
    // Who names it knows it; and others are none of its business.
    for named in [ahead.as_str(), "latest~1"] {
        assert!(!it.run(&["ls", named], 0).stderr.contains("future"), "{named}");
    }
    assert!(!it.run(&["ls", "latest", "--host", "desk"], 0).stderr.contains("future"));
}

#[test]
fn of_two_amendments_at_once_one_holds_and_the_next_wins() {
    let it = Forgetting::new(&[("2020-11-01T10:00:00Z", "tower")]);
    let house = &it.house;
    let other = State::open(&house.folder.path().join("other"), house.repo.config().repository).unwrap();
    let other = Author { state: &other, machine: b"other" };
    let id = it.log().snapshots()[0].id;
    let called = |log: &Log| log.snapshots()[0].description.clone();
    let seen = it.log();
    let mine = say(house, house.author(), seen.amendment(id, vec![], "mine".into()));
    let theirs = say(house, other, seen.amendment(id, vec![], "theirs".into()));
    assert_ne!(mine, theirs);
    let winner = if mine > theirs { "mine" } else { "theirs" };
    assert_eq!(called(&it.log()), winner);
    // The one that lost sees that, says it again, and wins.
    let (author, text) = if mine > theirs { (other, "theirs again") } else { (house.author(), "mine again") };
    say(house, author, it.log().amendment(id, vec!["t".into(), "s".into(), "t".into()], text.into()));
    assert_eq!(called(&it.log()), text);
    assert_eq!(it.log().snapshots()[0].tags, ["s", "t"]);
    // About a snapshot that nobody knows: nothing comes of it.
    let amend = Amend { snapshot: SnapshotId([3; 16]), turn: 9, tags: vec![], description: "?".into() };
    say(house, house.author(), Event::Amend(Box::new(amend)));
    assert_eq!(it.log().snapshots().len(), 1);
    // Checkpoints carry it along.
    fill_a_checkpoint(house);
    assert_eq!(called(&it.log()), text);
}

/// Removes a record of a chain.
fn lose(house: &House, writer: WriterId, seq: u64) {
    fs::remove_file(house.folder.path().join(format!("repository/log/{writer}/{seq:010}"))).unwrap();
}

#[test]
fn each_word_is_counted_once_and_for_the_chain_that_says_it() {
    let it = Forgetting::new(&[("2020-11-01T10:00:00Z", "tower"), ("2020-11-02T10:00:00Z", "tower")]);
    let (house, repo) = (&it.house, &it.house.repo);
    let other = State::open(&house.folder.path().join("other"), repo.config().repository).unwrap();
    let other = Author { state: &other, machine: b"other" };
    let [id, second] = [0, 1].map(|n| it.log().snapshots()[n].clone());
    let forget = |author, ids: &[SnapshotId]| house.runtime.block_on(Log::forget(repo, author, NOW, ids)).unwrap();
    let recall = |author, ids: &[SnapshotId]| house.runtime.block_on(Log::recall(repo, author, NOW, ids)).unwrap();
    let forgets = |log: &Log| log.events().filter(|(_, _, event)| matches!(event, Event::Forget(_))).count();
    forget(house.author(), &[id.id, id.id]);
    assert_eq!(forgets(&it.log()), 1);
    assert!(recall(other, &[id.id, id.id]).is_empty());
    // The chain that has said it once loses a record: a new one goes on, and has said nothing yet.
    let mine = say(house, house.author(), Event::Recall(SnapshotId([4; 16])));
    say(house, house.author(), Event::Recall(SnapshotId([4; 16])));
    lose(house, mine, 1);
    forget(house.author(), &[id.id]);
    let log = house.runtime.block_on(Log::read(repo)).unwrap();
    assert_eq!(log.problems.len(), 1);
    assert_eq!(log.snapshots().iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [second.id]);
    let fresh = house.author().state.writer(house.author().machine).unwrap().unwrap();
    assert_ne!(fresh, mine);
    assert_eq!(log.last_forgotten(fresh), [id.id]);
    // What a damaged log does not tell of may be there all the same.
    assert!(recall(house.author(), &[SnapshotId([5; 16])]).is_empty());
    // Told of by two chains, it is one snapshot.
    say(house, other, Event::Snapshot(Box::new(second.clone())));
    let log = house.runtime.block_on(Log::read(repo)).unwrap();
    assert_eq!(log.snapshots(), [&second]);
}

#[test]
fn a_chain_that_has_become_too_long_is_followed_by_another() {
    let it = Forgetting::new(&[("2020-11-01T10:00:00Z", "tower")]);
    let house = &it.house;
    // Each record repeats all since the last checkpoint.
    let packs: Vec<ObjectId> = (0..65_000_u128).map(|n| ObjectId(n.to_le_bytes())).collect();
    let mut writers = Vec::new();
    for _ in 0..18 {
        writers.push(say(house, house.author(), Event::Mark(packs.clone())));
    }
    writers.dedup();
    assert_eq!(writers.len(), 2);
    let log = it.log();
    assert_eq!((log.snapshots().len(), log.marked_packs().len()), (1, packs.len()));
    // What no chain could say is refused, and begins none.
    let long = Event::Amend(Box::new(Amend {
        snapshot: SnapshotId([3; 16]),
        turn: 0,
        tags: vec![],
        description: "x".repeat(1 << 17),
    }));
    let refused = house.runtime.block_on(Log::append(&house.repo, house.author(), NOW, long, Vec::new()));
    assert!(matches!(refused, Err(repo::Error::Object { .. })), "{refused:?}");
    assert_eq!(house.author().state.writer(house.author().machine).unwrap(), Some(writers[1]));
}

#[test]
fn what_a_later_version_says_is_skipped_and_carried_along() {
    let house = House::new();
    fs::write(house.source().join("file"), "one").unwrap();
    let first = house.backup().snapshot.unwrap();
    let disk = listing::on_disk(&house.source());
    fs::write(house.source().join("file"), "two").unwrap();
    let second = house.backup().snapshot.unwrap();
    let later = Event::Later { kind: 77, body: b"of the future".to_vec() };
    assert!(!read(&house).has_unknown_events());
    say(&house, house.author(), later.clone());
    say(&house, house.author(), Event::Several(vec![later.clone(), Event::Forget(second.id)]));
    let amended = read(&house).amendment(first.id, vec!["kept".into()], String::new());
    say(&house, house.author(), amended);
    let is_sound = || {
        let log = read(&house);
        let names = |snapshots: Vec<&Snapshot>| snapshots.iter().map(|s| (s.id, s.tags.clone())).collect::<Vec<_>>();
        assert_eq!(names(log.snapshots()), [(first.id, vec!["kept".to_owned()])]);
        assert!(log.has_unknown_events());
        assert_eq!(log.events().filter(|(_, _, event)| **event == later).count(), 2);
        let read = house.runtime.block_on(async { listing::in_snapshot(&open_latest(&house.repo).await).await });
        assert_eq!(listing::text(&read), listing::text(&disk));
        // So the document says, too.
        let repository = house.folder.path().join("repository");
        let mut short = listing::short_text(&disk);
        short.sort();
        assert_eq!(second_reader(&repository, b"test", &first.sources[0]).unwrap(), short);
    };
    is_sound();
    fill_a_checkpoint(&house);
    is_sound();
}

#[test]
fn forgetting_and_passwords_in_a_bucket() {
    let server = moto();
    let house = House::with_store(tempfile::tempdir().unwrap(), s3(&server.url(), "forget", 0));
    fs::write(house.source().join("file"), "one").unwrap();
    let id = house.backup().snapshot.unwrap().id;
    let (repo, author) = (&house.repo, house.author());
    house.runtime.block_on(async {
        Log::forget(repo, author, NOW, &[id]).await.unwrap();
        let log = Log::read(repo).await.unwrap();
        assert!(log.snapshots().is_empty() && log.recallable().len() == 1);
        Log::recall(repo, author, NOW, &[id]).await.unwrap();
        assert_eq!(Log::read(repo).await.unwrap().snapshots().len(), 1);
        let (old, new) = (password(), Password::new(b"new".to_vec()));
        let changed = repo.change_password(&old, &new, Cost::CHEAP, 2).await.unwrap();
        assert!(changed.is_new && changed.removed == [repo.slot()]);
        let open = |password| Repo::open(s3(&server.url(), "forget", 0), password);
        assert!(matches!(open(&old).await, Err(repo::Error::WrongPassword)));
        assert_eq!(open(&new).await.unwrap().slot(), changed.slot);
    });
}
