//! What a store loses or replaces, and who notices.

use crate::repo::copy_name;
use crate::repo::log::LogProblem;
use crate::repo::log::record_name;
use crate::repo::log::tests::Machine;
use crate::repo::log::tests::World;
use crate::repo::log::tests::id;
use crate::repo::log::tests::ids;
use crate::state::Head;

#[test]
fn the_lost_end_of_a_chain_is_a_rollback_to_who_has_seen_it() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    assert_eq!(world.look(&two).1, [""; 0]);
    // Longer than it was is as it should be.
    world.take(&one, [3]);
    let mut log = world.read();
    log.check_heads(&two.state).unwrap();
    assert!(log.problems.is_empty(), "{:?}", log.problems);
    let old = Machine::new();
    world.lose(writer, 2);
    for _ in 0..2 {
        for machine in [&one, &two] {
            let (log, told) = world.look(machine);
            assert!(
                told.len() == 1 && told[0].contains("before record 2") && told[0].contains("rolled back"),
                "{told:?}"
            );
            let lost = format!("gone with it: snapshot {:.8} of ", id(3).to_string());
            assert!(told[0].contains(&lost) && !told[0].contains(&format!("{:.8}", id(2).to_string())), "{told:?}");
            assert_eq!(ids(log.snapshots()), [id(1), id(2)]);
        }
    }
    assert_eq!(world.look(&old).1, [""; 0]);
    // The number is not given again, and what was seen is not forgotten for it.
    world.take(&one, [4]);
    assert_ne!(one.writer(), writer);
    assert!(world.look(&two).1[0].contains("rolled back"));
    // All of the chain.
    world.lose(writer, 1);
    world.lose(writer, 0);
    assert!(world.look(&two).1[0].contains("before record 2"));
}

#[test]
fn another_record_in_the_place_of_a_known_one_is_noticed() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    world.look(&two);
    world.lose(writer, 1);
    // A clone of the machine that was put back.
    world.take(&Machine::twin_of(writer), [3]);
    for machine in [&one, &two] {
        let (_, told) = world.look(machine);
        assert!(told.len() == 1 && told[0].contains("record 1") && told[0].contains("was replaced"), "{told:?}");
        assert!(told[0].contains(&format!("gone with it: snapshot {:.8}", id(2).to_string())), "{told:?}");
    }
}

#[test]
fn what_went_backwards_can_be_accepted() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    world.take(&two, [3]);
    world.look(&one);
    world.lose(writer, 1);
    world.spoil(two.writer(), 0);
    let (mut log, told) = world.look(&one);
    assert_eq!(told.len(), 2, "{told:?}");
    log.accept_heads(&one.state).unwrap();
    // Damage is damage all the same.
    assert!(matches!(&log.problems[..], [LogProblem::Unreadable { .. }]));
    assert_eq!(one.state.heads().unwrap().len(), 1);
    assert_eq!(one.state.writer(b"machine").unwrap(), None);
    assert!(world.look(&one).1.iter().all(|told| told.contains("cannot be read")));
}

#[test]
fn a_second_copy_of_what_was_seen_is_no_rollback() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2, 3]);
    world.take(&two, [4]);
    world.look(&two);
    for seq in [2, 1, 0] {
        world.remove(&record_name(writer, seq));
        let (log, told) = world.look(&two);
        assert_eq!(ids(log.snapshots()), [1, 2, 3, 4].map(id), "{seq}");
        let newest = record_name(writer, 2);
        assert!(told[0].contains(&newest) && told[0].contains("'bygone repair' puts it back"), "{told:?}");
        assert!(told.iter().all(|told| told.contains("its second copy can")), "{told:?}");
    }
    // Whoever has seen less is told of the same.
    let (log, told) = world.look(&Machine::new());
    assert_eq!((log.snapshots().len(), told.len()), (1, 0));
    // Nobody takes the numbers again.
    world.take(&one, [5]);
    assert_ne!(one.writer(), writer);
}

#[test]
fn a_second_copy_of_something_else_excuses_nothing() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    world.look(&two);
    let copy = copy_name(&record_name(writer, 1));
    let first = world.bytes(&record_name(writer, 0));
    // Another record of the same number.
    world.lose(writer, 1);
    world.take(&Machine::twin_of(writer), [3]);
    let other = world.bytes(&record_name(writer, 1));
    world.remove(&record_name(writer, 1));
    for bytes in [first, other, b"nonsense".as_slice().into()] {
        world.replace(&copy, bytes);
        let (_, told) = world.look(&two);
        assert!(told.iter().any(|told| told.contains("rolled back")), "{told:?}");
    }
    // A newer one tells that nothing is missing.
    world.remove(&copy);
    world.take(&Machine::twin_of(writer), [4, 5]);
    world.remove(&record_name(writer, 2));
    world.remove(&record_name(writer, 1));
    assert!(!world.look(&two).1.iter().any(|told| told.contains("rolled back")));
}

#[test]
fn a_gap_is_told_with_what_is_left_of_it() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, [1, 2, 3]);
    world.remove(&record_name(writer, 0));
    let (log, told) = world.look(&one);
    assert_eq!(ids(log.snapshots()), [1, 2, 3].map(id));
    assert!(told.len() == 2 && told[0].contains("(1 missing from 0 on)"), "{told:?}");
    assert!(told[1].contains("its second copy can"), "{told:?}");
    world.remove(&copy_name(&record_name(writer, 0)));
    let (log, told) = world.look(&one);
    assert_eq!(ids(log.snapshots()), [2, 3].map(id));
    assert_eq!(told.len(), 1, "{told:?}");
    // Such a chain is not continued.
    world.take(&one, [4]);
    assert_ne!(one.writer(), writer);
}

#[test]
fn a_damaged_record_is_read_from_its_second_copy() {
    let world = World::new();
    let one = Machine::new();
    let writer = world.take(&one, [1, 2]);
    let name = record_name(writer, 1);
    world.replace(&name, "nonsense");
    let (log, told) = world.look(&one);
    assert_eq!(ids(log.snapshots()), [1, 2].map(id));
    assert!(told.len() == 1 && told[0].contains(&name) && told[0].contains("its second copy can"), "{told:?}");
    // All is known, so the chain goes on.
    assert_eq!(world.take(&one, [3]), writer);
    assert_eq!(log.head(writer), Some(1));
}

#[test]
fn a_record_is_read_nowhere_but_in_its_place() {
    let (world, other) = (World::new(), World::new());
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    world.take(&two, [3, 4]);
    other.take(&Machine::twin_of(writer), [5, 6]);
    let name = record_name(writer, 1);
    let strangers =
        [world.bytes(&record_name(writer, 0)), world.bytes(&record_name(two.writer(), 1)), other.bytes(&name)];
    for bytes in strangers {
        world.replace(&name, bytes.clone());
        world.replace(&copy_name(&name), bytes);
        let (log, told) = world.look(&Machine::new());
        assert_eq!(ids(log.snapshots()), [1, 3, 4].map(id));
        assert!(told.len() == 1 && told[0].contains(&name) && told[0].contains("cannot be read"), "{told:?}");
        assert_eq!(log.head(writer), Some(0));
    }
}

#[test]
fn others_tell_what_is_gone_from_a_chain() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    assert_eq!(world.read().unseen(), None);
    world.take(&two, [3]);
    assert_eq!(world.read().unseen(), None);
    world.take(&one, [4]);
    world.lose(writer, 2);
    assert_eq!(world.read().unseen(), None);
    world.lose(writer, 1);
    assert_eq!(world.read().unseen(), Some((writer, 1)));
    world.lose(writer, 0);
    assert_eq!(world.read().unseen(), Some((writer, 1)));
}

#[test]
fn heads_are_remembered_as_they_are_seen_and_written() {
    let world = World::new();
    let (one, two) = (Machine::new(), Machine::new());
    let writer = world.take(&one, [1, 2]);
    let hash = *blake3::hash(&world.bytes(&record_name(writer, 1))).as_bytes();
    let head = Head { writer, seq: 1, hash };
    assert_eq!(one.state.heads().unwrap(), [head]);
    world.look(&two);
    assert_eq!(two.state.heads().unwrap(), [head]);
    assert_eq!(world.bytes(&copy_name(&record_name(writer, 1))), world.bytes(&record_name(writer, 1)));
    // One listing is enough where nothing is missing.
    let log = world.read();
    let whole = world.runtime.block_on(log.with_copies(&world.repo, &two.state)).unwrap();
    assert!(whole.problems.is_empty());
}
