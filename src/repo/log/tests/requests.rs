//! What reading and appending ask of the store, and what becomes of them when it does not answer.

use crate::format::record::Event;
use crate::id::WriterId;
use crate::repo::Error;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::copy_name;
use crate::repo::log::RawLog;
use crate::repo::log::record_name;
use crate::repo::log::tests::Machine;
use crate::repo::log::tests::NOW;
use crate::repo::log::tests::World;
use crate::repo::log::tests::id;
use crate::repo::log::tests::ids;
use crate::repo::log::tests::snapshot;
use crate::store::AnyStore;
use crate::store::Asked;
use crate::store::Counted;
use crate::store::ErrorKind;
use crate::store::Fault;
use crate::store::Faulty;
use crate::store::Verb;

impl World {
    /// The same repository, through another store.
    fn through(&self, store: AnyStore) -> Repo {
        Repo { store, ..self.repo.clone() }
    }

    /// The same repository, in a store of which requests that do this to records fail so.
    fn failing(&self, verb: Verb, kind: ErrorKind) -> Repo {
        let fault = move |asked: &Asked<'_>| match asked.verb == verb && asked.name.starts_with("log/") {
            true => Fault::Before(kind),
            false => Fault::None,
        };
        self.through(Faulty::new(self.repo.store().clone(), fault))
    }
}

#[test]
fn a_listing_and_two_requests_a_chain_tell_everything() {
    let world = World::new();
    world.take(&Machine::new(), 0..40);
    world.take(&Machine::new(), 40..73);
    let counted = Counted::with_log(world.repo.store().clone());
    let repo = world.through(counted.clone());
    let mut raw = world.runtime.block_on(RawLog::list(repo.store())).unwrap();
    world.runtime.block_on(raw.fetch_heads(repo.store()));
    // The newest of the second chain is a checkpoint.
    let totals = counted.totals();
    assert_eq!((totals.lists, totals.gets, totals.requests), (1, 3, 4), "{:?}", counted.log());
    // Once the key is known, nothing is asked for again.
    let log = world.runtime.block_on(Log::from_raw(&repo, raw)).unwrap();
    assert_eq!((log.snapshots().len(), log.problems.len(), counted.totals().requests), (73, 0, 4));
    counted.reset();
    let unmoved = world.runtime.block_on(Log::read_if_moved(&repo, &log.ends())).unwrap();
    assert!(unmoved.is_none() && counted.totals().requests == 1);
}

#[test]
fn what_cannot_be_reached_is_not_taken_for_damaged() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, [1, 2]);
    let repo = world.failing(Verb::Get, ErrorKind::Unreachable);
    let refused = world.runtime.block_on(Log::read(&repo)).unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    let refused = world.runtime.block_on(Log::append(&repo, one.author(), NOW, snapshot(3), Vec::new()));
    assert!(refused.is_err_and(|error| error.is_transient()));
    // No other chain was begun for it.
    assert_eq!((one.writer(), world.records()), (writer, 2));
    // What the store refuses is told, and costs no more than what it says.
    let log = world.runtime.block_on(Log::read(&world.failing(Verb::Get, ErrorKind::Other))).unwrap();
    assert_eq!(ids(log.snapshots()), [id(1), id(2)]);
    assert!(!log.problems.is_empty());
}

#[test]
fn a_record_that_cannot_be_written_is_told_at_once() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, [1]);
    for kind in [ErrorKind::Denied, ErrorKind::Full, ErrorKind::Unreachable] {
        let counted = Counted::new(world.failing(Verb::Put, kind).store().clone());
        let repo = world.through(counted.clone());
        let said = Log::append(&repo, one.author(), NOW, Event::Forget(id(1)), Vec::new());
        let refused = world.runtime.block_on(said).unwrap_err();
        assert!(matches!(&refused, Error::Store(error) if error.kind == kind), "{refused:?}");
        assert_eq!(counted.totals().puts, 1);
    }
    assert_eq!((ids(world.read().snapshots()), one.writer()), (vec![id(1)], writer));
}

#[test]
fn a_log_that_ends_before_what_is_known_of_it_is_behind() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    world.take(&two, [3]);
    let log = world.read();
    let known = |seq: u64| [(writer, seq)].into();
    assert_eq!([0, 1, 2].map(|seq| log.behind(&known(seq))), [None, None, Some((writer, 2))]);
    let stranger = WriterId([0; 16]);
    assert_eq!(log.behind(&[(stranger, 0)].into()), Some((stranger, 0)));
    // Second copies come after the first ones.
    let of_copies = || world.runtime.block_on(Log::ends_of_copies(&world.repo)).unwrap();
    assert_eq!((of_copies(), log.behind(&of_copies())), (log.ends(), None));
    world.remove(&record_name(writer, 1));
    assert_eq!(world.read().behind(&of_copies()), Some((writer, 1)));
    world.remove(&copy_name(&record_name(writer, 1)));
    assert_eq!(of_copies(), [(writer, 0), (two.writer(), 0)].into());
}
