//! The log in a store in memory: what writers say, what readers make of it, and what both make of what the store loses.
#![allow(clippy::unwrap_used)]

mod loss;
mod requests;
mod wishes;

use crate::chunker::Sizes;
use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::crypto::random;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::record::CHECKPOINT_EVERY;
use crate::format::record::Event;
use crate::format::record::Figures;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::monitor::chain;
use crate::repo::Author;
use crate::repo::InitOptions;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copy_name;
use crate::repo::log::chain::numbers;
use crate::repo::log::record_name;
use crate::state::State;
use crate::store::Location;
use crate::store::StoreOptions;
use crate::store::Stored;
use crate::store::open;
use bytes::Bytes;
use std::cell::Cell;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

const NOW: Time = Time { secs: 1_700_000_000, nanos: 0 };

/// A repository in memory.
struct World {
    runtime: Runtime,
    repo: Repo,
}

/// A machine that writes into it.
struct Machine {
    state: State,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn id(n: u8) -> SnapshotId {
    SnapshotId([n; 16])
}

fn pack(n: u8) -> ObjectId {
    ObjectId([n; 16])
}

/// A snapshot of that moment.
fn taken(n: u8) -> Snapshot {
    let hint = Locator { pack: pack(n), offset: 7, len: 70 };
    Snapshot {
        id: id(n),
        time: Time { secs: n.into(), nanos: 0 },
        host: "host".to_owned(),
        user: "ada".to_owned(),
        sources: vec![Vec::new()],
        tags: Vec::new(),
        description: String::new(),
        program: "test".to_owned(),
        parent: None,
        root: ChunkRef { id: ChunkId([n; 32]), len: 9, hint },
        level: 0,
        nodes: 1,
        bytes: 0,
        with_xattrs: 0,
        figures: Figures::default(),
    }
}

fn snapshot(n: u8) -> Event {
    Event::Snapshot(Box::new(taken(n)))
}

fn partial(n: u8) -> Event {
    Event::Partial(Box::new(taken(n)))
}

fn ids<'a>(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Vec<SnapshotId> {
    snapshots.into_iter().map(|snapshot| snapshot.id).collect()
}

impl Machine {
    fn new() -> Machine {
        Machine { state: State::in_memory().unwrap() }
    }

    /// A second process that knows nothing of the first, with the same chain.
    fn twin_of(writer: WriterId) -> Machine {
        let machine = Machine::new();
        machine.state.set_writer(b"machine", writer).unwrap();
        machine
    }

    fn author(&self) -> Author<'_> {
        Author { state: &self.state, machine: b"machine" }
    }

    fn writer(&self) -> WriterId {
        self.state.writer(b"machine").unwrap().unwrap()
    }
}

impl World {
    fn new() -> World {
        let store = open(&Location::Memory(ObjectId(random()).to_string()), &StoreOptions::default()).unwrap();
        let options = InitOptions { sizes: Sizes::DEFAULT, cost: Cost::CHEAP, create_only: true, now_secs: 1 };
        let runtime = runtime();
        let repo = runtime.block_on(Repo::init(store, &Password::new(b"test".to_vec()), &options)).unwrap();
        World { runtime, repo }
    }

    fn say(&self, by: &Machine, event: Event) -> WriterId {
        self.runtime.block_on(Log::append(&self.repo, by.author(), NOW, event, Vec::new())).unwrap()
    }

    /// Snapshots of these moments.
    fn take(&self, by: &Machine, moments: impl IntoIterator<Item = u8>) -> WriterId {
        for n in moments {
            self.say(by, snapshot(n));
        }
        by.writer()
    }

    fn forget(&self, by: &Machine, snapshots: &[SnapshotId]) {
        self.runtime.block_on(Log::forget(&self.repo, by.author(), NOW, snapshots)).unwrap();
    }

    /// Those for which it is too late.
    fn recall(&self, by: &Machine, snapshots: &[SnapshotId]) -> Vec<SnapshotId> {
        self.runtime.block_on(Log::recall(&self.repo, by.author(), NOW, snapshots)).unwrap()
    }

    fn read(&self) -> Log {
        self.runtime.block_on(Log::read(&self.repo)).unwrap()
    }

    /// Reads it as a command does, for this machine; with what is wrong.
    fn look(&self, by: &Machine) -> (Log, Vec<String>) {
        let mut log = self.read();
        log.check_heads(&by.state).unwrap();
        let log = self.runtime.block_on(log.with_copies(&self.repo, &by.state)).unwrap();
        let told = log.problems.iter().map(|problem| chain(problem)).collect();
        (log, told)
    }

    fn records(&self) -> usize {
        self.runtime.block_on(self.repo.store().list("log")).unwrap().len()
    }

    fn bytes(&self, name: &str) -> Bytes {
        self.runtime.block_on(self.repo.store().get(name)).unwrap()
    }

    fn remove(&self, name: &str) {
        self.runtime.block_on(self.repo.store().delete(name)).unwrap();
    }

    fn replace(&self, name: &str, bytes: impl Into<Bytes>) {
        self.runtime.block_on(self.repo.store().replace(name, bytes.into())).unwrap();
    }

    /// Both copies of a record.
    fn lose(&self, writer: WriterId, seq: u64) {
        [record_name(writer, seq), copy_name(&record_name(writer, seq))].iter().for_each(|name| self.remove(name));
    }

    fn spoil(&self, writer: WriterId, seq: u64) {
        let names = [record_name(writer, seq), copy_name(&record_name(writer, seq))];
        names.iter().for_each(|name| self.replace(name, "nonsense"));
    }
}

#[test]
fn the_chains_of_several_writers_are_one_log() {
    let world = World::new();
    assert!(world.read().is_empty());
    let (one, two) = (Machine::new(), Machine::new());
    world.say(&one, snapshot(2));
    world.say(&two, snapshot(1));
    world.say(&two, snapshot(3));
    // Copied by both at once.
    world.say(&one, snapshot(3));
    world.say(&one, partial(4));
    let log = world.read();
    assert!(!log.is_empty() && log.problems.is_empty());
    assert_eq!(ids(log.snapshots()), [id(1), id(2), id(3)]);
    assert_eq!(ids(log.known_snapshots()), [id(1), id(2), id(3)]);
    assert_eq!(ids(log.partials()), [id(4)]);
    assert_eq!(log.ends(), [(one.writer(), 2), (two.writer(), 1)].into());
    assert_eq!((log.head(one.writer()), log.head(two.writer())), (Some(2), Some(1)));
    assert_eq!(log.head(WriterId([0; 16])), None);
    let of_one: Vec<u64> = log.events().filter(|(by, ..)| *by == one.writer()).map(|(_, seq, _)| seq).collect();
    assert_eq!(of_one, [0, 1, 2]);
    // Somebody may go on with an unfinished snapshot until another follows.
    let resumable = |log: &Log| log.resumable().iter().map(|(by, seq, s)| (*by, *seq, s.id)).collect::<Vec<_>>();
    assert_eq!(resumable(&log), [(one.writer(), 2, id(4))]);
    world.say(&one, Event::Forget(id(2)));
    assert_eq!(resumable(&world.read()).len(), 1);
    world.say(&one, snapshot(4));
    assert_eq!(resumable(&world.read()), []);
    // The clock of the store, not of the writer.
    let stored = world.runtime.block_on(Log::stored_secs(&world.repo, one.writer(), 0)).unwrap();
    assert!(stored > NOW.secs, "{stored}");
    assert!(world.runtime.block_on(Log::stored_secs(&world.repo, one.writer(), 9)).is_err());
}

#[test]
fn unfinished_snapshots_come_oldest_first() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.say(&one, partial(9));
    world.say(&two, partial(3));
    world.say(&one, partial(5));
    assert_eq!(ids(world.read().partials()), [id(3), id(5), id(9)]);
}

#[test]
fn the_log_is_read_again_only_if_a_chain_has_grown() {
    let world = World::new();
    let one = Machine::new();
    world.take(&one, [1]);
    let ends = world.read().ends();
    let again = || world.runtime.block_on(Log::read_if_moved(&world.repo, &ends)).unwrap();
    assert!(again().is_none());
    world.take(&one, [2]);
    assert_eq!(ids(again().unwrap().snapshots()), [id(1), id(2)]);
}

#[test]
fn the_newest_record_and_one_checkpoint_tell_everything() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, 0..70);
    assert_eq!(CHECKPOINT_EVERY, 32);
    // All that lies between them may be gone: only that it is gone is told.
    for seq in (1..32).chain(33..64) {
        world.lose(writer, seq);
    }
    let log = world.read();
    assert_eq!(log.snapshots().len(), 70);
    let told: Vec<String> = log.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("(31 missing from 1 on)") && told[1].contains("(31 missing from 33 on)"), "{told:?}");
    assert_eq!(world.look(&one).1, told);
}

#[test]
fn a_record_that_cannot_be_read_costs_what_only_it_says() {
    let all: Vec<SnapshotId> = (0..70).map(id).collect();
    let without = |n: u8| all.iter().copied().filter(|snapshot| *snapshot != id(n)).collect::<Vec<_>>();
    for (spoilt, left) in [(69, without(69)), (64, without(64)), (32, all.clone()), (40, all.clone())] {
        let world = World::new();
        let one = Machine::new();
        let writer = world.take(&one, 0..70);
        world.spoil(writer, spoilt);
        let log = world.read();
        assert_eq!(ids(log.snapshots()), left, "{spoilt}");
        let is_read = ![64, 69].contains(&spoilt);
        assert_eq!(log.problems.is_empty(), is_read, "{spoilt}: {:?}", log.problems);
        assert!(log.problems.iter().all(|p| p.to_string().contains(&record_name(writer, spoilt))));
        assert_eq!(log.head(writer), Some(if spoilt == 69 { 68 } else { 69 }));
        // Nobody continues a chain of which something is not known.
        world.take(&one, [70]);
        assert_eq!(one.writer() == writer, is_read, "{spoilt}");
        assert!(world.read().snapshots().iter().any(|snapshot| snapshot.id == id(70)));
    }
}

#[test]
fn what_is_gone_for_good_leaves_the_checkpoints() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.take(&one, [1, 2, 3]);
    world.forget(&one, &[id(1), id(2)]);
    world.say(&two, Event::Mark(vec![pack(200)]));
    world.say(&two, Event::Sweep(vec![ObjectId(id(1).0)]));
    let note = Event::Later { kind: 200, body: vec![7] };
    world.say(&one, note.clone());
    world.take(&one, 10..45);
    let log = world.read();
    assert!(ids(log.known_snapshots()).starts_with(&[id(2), id(3)]));
    assert_eq!(ids(log.recallable()), [id(2)]);
    assert_eq!(log.marked_packs(), [pack(200), ObjectId(id(1).0)].into());
    // What this version does not know is carried along.
    assert!(log.has_unknown_events() && log.events().any(|(.., event)| *event == note));
    assert!(!World::new().read().has_unknown_events());
}

#[test]
fn a_decision_counts_only_while_its_chain_stands_still() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    world.take(&one, [1]);
    let decided = world.read();
    let say = || {
        let said = Log::append_if_unmoved(&world.repo, one.author(), NOW, snapshot(9), &decided);
        world.runtime.block_on(said).unwrap()
    };
    // Others may say what they like.
    world.take(&two, [2]);
    assert_eq!(say(), Some(one.writer()));
    assert_eq!(say(), None);
    assert_eq!(world.records(), 3);
}

#[test]
fn who_meets_another_at_the_end_of_a_chain_decides_again() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, [1]);
    let asked = Cell::new(0_u64);
    let decide = |log: &Log, me: WriterId| {
        assert_eq!((me, log.head(me)), (writer, Some(asked.get())));
        if asked.replace(asked.get() + 1) == 0 {
            let repo = world.repo.clone();
            let meet = move || {
                let twin = Machine::twin_of(writer);
                runtime().block_on(Log::append(&repo, twin.author(), NOW, snapshot(2), Vec::new())).unwrap();
            };
            std::thread::spawn(meet).join().unwrap();
        }
        Some(snapshot(3))
    };
    let said = Log::append_decided(&world.repo, one.author(), NOW, Vec::new(), decide);
    assert_eq!(world.runtime.block_on(said).unwrap(), Some(writer));
    assert_eq!(asked.get(), 2);
    let log = world.read();
    assert_eq!((ids(log.snapshots()), log.head(writer)), (vec![id(1), id(2), id(3)], Some(2)));
}

#[test]
fn a_chain_with_too_much_to_repeat_is_followed_by_another() {
    let world = World::new();
    let one = Machine::new();
    let much = |n: u8| Event::Later { kind: 200, body: vec![n; (1 << 20) - 64] };
    let chains: Vec<WriterId> = (0..18).map(|n| world.say(&one, much(n))).collect();
    assert!(chains[0] == chains[14] && chains[0] != chains[17], "{chains:?}");
    assert_eq!(world.read().events().count(), 18);
    // What is too long for itself is refused, whatever there is to repeat.
    world.take(&one, [2, 3]);
    let page = vec![0; 20 << 20];
    let said = Log::append(&world.repo, one.author(), NOW, snapshot(1), page);
    let refused: Result<WriterId> = world.runtime.block_on(said);
    assert!(refused.is_err());
    assert_eq!((one.writer(), world.records()), (chains[17], 20));
}

#[test]
fn the_root_page_of_the_newest_snapshot_comes_with_the_log() {
    let world = World::new();
    let one = Machine::new();
    let say = |n: u8| Log::append(&world.repo, one.author(), NOW, snapshot(n), vec![n; 3]);
    world.runtime.block_on(say(1)).unwrap();
    let log = world.read();
    assert_eq!((log.root_page(id(1)), log.root_page(id(2))), (Some(&[1; 3][..]), None));
}

#[test]
fn strange_names_are_no_records() {
    let writer = WriterId([0xab; 16]);
    let name = |seq: &str| format!("log/{writer}/{seq}");
    let listed = [
        name("0000000000"),
        name("9999999999"),
        format!("copies/{}", name("0000000007")),
        name("10000000000"),
        name("1"),
        name("x"),
        "log/x/0000000001".to_owned(),
        format!("log/{writer}"),
        format!("more/{}", name("0000000002")),
    ];
    let stored = |name: &String| Stored { name: name.clone(), len: 1, modified_secs: 1 };
    let found = numbers(&listed.iter().map(stored).collect::<Vec<_>>());
    assert_eq!(found, [(writer, [0, 7, 9_999_999_999].into())].into());
}
