//! Forgetting, recalling, and what things are called.

use crate::format::later::Amend;
use crate::format::later::DAMAGED_MAX;
use crate::format::later::KeyNote;
use crate::format::record::Event;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::repo::Log;
use crate::repo::log::tests::Machine;
use crate::repo::log::tests::NOW;
use crate::repo::log::tests::World;
use crate::repo::log::tests::id;
use crate::repo::log::tests::ids;
use crate::repo::log::tests::pack;
use crate::repo::log::tests::snapshot;

#[test]
fn forgotten_snapshots_come_back_until_a_prune_takes_them() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.take(&one, [1, 2, 3]);
    let before = world.records();
    // Much at once is one record, each snapshot once.
    world.forget(&two, &[id(2), id(1), id(2)]);
    assert_eq!(world.records(), before + 1);
    let log = world.read();
    assert_eq!((ids(log.snapshots()), ids(log.recallable())), (vec![id(3)], vec![id(1), id(2)]));
    assert_eq!(log.known_snapshots().len(), 3);
    assert_eq!((log.last_forgotten(two.writer()), log.last_forgotten(one.writer())), (vec![id(2), id(1)], vec![]));
    // What was said is not said again.
    world.forget(&one, &[id(1)]);
    assert_eq!(world.records(), before + 1);
    assert_eq!(world.recall(&one, &[id(1), id(3)]), []);
    let log = world.read();
    assert_eq!(ids(log.snapshots()), [id(1), id(3)]);
    assert_eq!(log.last_forgotten(two.writer()), [id(2)]);
    // People change their minds.
    for _ in 0..3 {
        world.forget(&one, &[id(1)]);
        assert_eq!(ids(world.read().snapshots()), [id(3)]);
        assert_eq!(world.recall(&two, &[id(1)]), []);
        assert_eq!(ids(world.read().snapshots()), [id(1), id(3)]);
    }
    // Too late for one of two: it stays forgotten.
    world.forget(&one, &[id(1)]);
    world.say(&two, Event::Sweep(vec![ObjectId(id(2).0)]));
    assert_eq!(world.recall(&one, &[id(2), id(1)]), [id(2)]);
    let log = world.read();
    assert_eq!((ids(log.snapshots()), log.recallable().len()), (vec![id(1), id(3)], 0));
    assert_eq!(log.last_forgotten(two.writer()), []);
}

#[test]
fn a_snapshot_nobody_knows_cannot_be_recalled_unless_the_log_is_damaged() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.forget(&one, &[id(7)]);
    assert_eq!(world.recall(&one, &[id(7)]), [id(7)]);
    // One that is wanted and not known: it is late, too.
    assert_eq!(world.recall(&one, &[id(8)]), [id(8)]);
    // A record that cannot be read may tell of it.
    world.take(&two, [1, 2]);
    world.spoil(two.writer(), 1);
    world.forget(&one, &[id(2)]);
    assert_eq!(world.recall(&one, &[id(2)]), []);
}

#[test]
fn thousands_of_snapshots_are_forgotten_by_few_records() {
    let world = World::new();
    let one = Machine::new();
    let many: Vec<SnapshotId> = (0..8193_u128).map(|n| SnapshotId(n.to_le_bytes())).collect();
    world.forget(&one, &many);
    assert_eq!(world.records(), 2);
    let words = world.read().words();
    assert!(many.iter().all(|id| words.is_forgotten(*id)));
}

#[test]
fn who_said_less_than_others_says_it_more_often() {
    let world = World::new();
    let (one, two, three) = (Machine::new(), Machine::new(), Machine::new());
    world.take(&one, [1]);
    for _ in 0..2 {
        world.forget(&one, &[id(1)]);
        world.recall(&two, &[id(1)]);
    }
    let before = world.records();
    world.forget(&three, &[id(1)]);
    assert_eq!(world.records(), before + 1);
    assert!(world.read().snapshots().is_empty());
    let said = world.read().events().filter(|(by, ..)| *by == three.writer()).count();
    assert_eq!(said, 3);
}

#[test]
fn a_snapshot_is_called_as_the_last_amendment_says() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.take(&one, [1, 2]);
    let amend = |log: &Log, tags: &[&str], text: &str| {
        log.amendment(id(1), tags.iter().map(|&tag| tag.to_owned()).collect(), text.to_owned())
    };
    // What another is called is counted by itself.
    world.say(&one, world.read().amendment(id(2), Vec::new(), String::new()));
    let first = amend(&world.read(), &["b", "a", "b"], "first");
    let Event::Amend(first) = first else { panic!("an amendment") };
    assert_eq!((first.turn, &first.tags[..]), (0, &["a".to_owned(), "b".to_owned()][..]));
    world.say(&two, Event::Amend(first));
    let called = || {
        let log = world.read();
        let told = log.snapshots().iter().map(|s| (s.tags.len(), s.description.clone())).collect::<Vec<_>>();
        assert_eq!(ids(log.known_snapshots()), [id(1), id(2)]);
        told
    };
    assert_eq!(called(), [(2, "first".to_owned()), (0, String::new())]);
    // It takes the place of what it knew, whoever said that.
    world.say(&one, amend(&world.read(), &[], "second"));
    assert_eq!(called()[0], (0, "second".to_owned()));
    world.say(&two, amend(&world.read(), &["c"], "third"));
    assert_eq!(called()[0], (1, "third".to_owned()));
    // Two that did not know of each other: the same for all who read.
    let log = world.read();
    world.say(&one, amend(&log, &[], "of one"));
    world.say(&two, amend(&log, &[], "of two"));
    let last = if one.writer() > two.writer() { "of one" } else { "of two" };
    assert_eq!(called()[0].1, last);
    // What was said before counts less, wherever it stands.
    let old = Amend { snapshot: id(1), turn: 1, tags: Vec::new(), description: "old".to_owned() };
    world.say(&one, Event::Amend(Box::new(old)));
    assert_eq!(called()[0].1, last);
}

#[test]
fn of_the_notes_about_a_slot_the_last_one_counts() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let note = |slot: u8, secs: i64, label: &str| {
        let (host, user) = ("host".to_owned(), "ada".to_owned());
        let time = Time { secs, nanos: 0 };
        Event::Key(Box::new(KeyNote { slot: ObjectId([slot; 16]), time, host, user, label: label.to_owned() }))
    };
    let said = vec![note(1, 5, "old"), note(2, 5, "other"), note(1, 9, "new"), note(1, 7, "between")];
    world.runtime.block_on(Log::say(&world.repo, one.author(), NOW, said)).unwrap();
    assert_eq!(world.records(), 1);
    world.say(&two, note(2, 5, "the same moment"));
    let log = world.read();
    let notes = log.key_notes();
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[&ObjectId([1; 16])].label, "new");
    assert!(["other", "the same moment"].contains(&notes[&ObjectId([2; 16])].label.as_str()));
    world.say(&one, note(1, 9, "once more"));
    assert_eq!(world.read().key_notes()[&ObjectId([1; 16])].label, "once more");
}

#[test]
fn damage_is_noted_once_and_taken_back_when_it_is_gone() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.take(&one, [1]);
    let note = |by: &Machine, damaged: &[ObjectId], whole: &[ObjectId]| {
        world.runtime.block_on(Log::note_damage(&world.repo, by.author(), NOW, damaged, whole)).unwrap()
    };
    let of = |by: &Machine| world.read().words().damage_of(by.writer()).map(|named| named.ids.clone());
    assert_eq!(note(&one, &[], &[]), 0);
    assert_eq!(world.records(), 1);
    assert_eq!(note(&one, &[pack(10), pack(11), pack(10)], &[]), 2);
    assert_eq!(of(&one), Some(vec![pack(10), pack(11)]));
    assert_eq!(world.read().marked_packs(), [pack(10), pack(11)].into());
    let before = world.records();
    assert_eq!((note(&one, &[pack(11)], &[]), note(&two, &[pack(11)], &[])), (0, 0));
    assert_eq!(world.records(), before);
    // What is going to be removed is no damage.
    world.say(&two, Event::Sweep(vec![pack(12)]));
    assert_eq!(note(&one, &[pack(12), pack(13)], &[pack(10)]), 1);
    assert_eq!(of(&one), Some(vec![pack(11), pack(13)]));
    // A list has an end: what is new comes first.
    let many: Vec<ObjectId> = (0..DAMAGED_MAX as u128 - 1).map(|n| ObjectId(n.to_le_bytes())).collect();
    assert_eq!(note(&one, &many, &[]), many.len());
    let noted = of(&one).unwrap();
    assert_eq!((noted.len(), noted.contains(&pack(11)), noted.contains(&pack(13))), (DAMAGED_MAX, true, false));
}

#[test]
fn several_wishes_stand_in_one_record() {
    let world = World::new();
    let one = Machine::new();
    world.take(&one, [1, 2]);
    let wishes = vec![Event::Forget(id(1)), Event::Forget(id(2)), Event::Recall(id(1))];
    world.runtime.block_on(Log::say(&world.repo, one.author(), NOW, wishes)).unwrap();
    assert_eq!(world.records(), 3);
    assert_eq!(ids(world.read().snapshots()), [id(1)]);
    world.say(&one, snapshot(3));
    assert_eq!(world.read().last_forgotten(one.writer()), [id(2)]);
    assert_eq!(world.read().last_forgotten(WriterId([0; 16])), []);
}
