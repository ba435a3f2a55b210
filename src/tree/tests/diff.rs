//! Differences against a naive model: two sorted lists, compared name by name.

use super::Memory;
use super::build;
use super::node;
use super::sample;
use crate::format::page::compare_keys;
use crate::meta::Kind;
use crate::meta::Node;
use crate::path;
use crate::tree::Change;
use crate::tree::Diff;
use crate::tree::NodeTree;
use crate::tree::Stop;
use crate::tree::What;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A path, and what stands there.
type Model = BTreeMap<Vec<u8>, Node>;
/// `+`, `-` or what changed, and the path.
type Told = (String, Vec<u8>);

fn tree_of(model: &Model, memory: &mut Memory) -> NodeTree {
    let mut all: Vec<(Vec<u8>, Node)> =
        model.iter().map(|(full, node)| (path::split(full).0.to_vec(), node.clone())).collect();
    all.sort_by(|(p, n), (q, m)| compare_keys(p, &n.name, q, &m.name));
    build(&all, memory).0
}

fn words(what: &What) -> String {
    what.words().collect::<Vec<_>>().join(",")
}

fn told(memory: &Memory, mut diff: Diff, (old, new): (&[u8], &[u8])) -> Vec<Told> {
    let mut all = Vec::new();
    while let Some(change) = diff.next(memory).unwrap() {
        all.push(match change {
            Change::Added(found) => ("+".to_owned(), path::strip(&found.path(), new).to_vec()),
            Change::Removed(found) => ("-".to_owned(), path::strip(&found.path(), old).to_vec()),
            Change::Changed(both, what) => {
                assert_eq!(path::strip(&both.0.path(), old), path::strip(&both.1.path(), new));
                (words(&what), path::strip(&both.1.path(), new).to_vec())
            }
        });
    }
    all
}

/// The same by looking at everything.
fn naive(old: &Model, new: &Model, (in_old, in_new): (&[u8], &[u8])) -> Vec<Told> {
    let at_roots = in_old.is_empty() && in_new.is_empty();
    let below = |model: &Model, folder: &[u8]| -> Model {
        let within = model.iter().filter(|(full, _)| path::is_below(full, folder) && (at_roots || *full != folder));
        within.map(|(full, node)| (path::strip(full, folder).to_vec(), node.clone())).collect()
    };
    let (old, new) = (below(old, in_old), below(new, in_new));
    let mut all = Vec::new();
    for (full, node) in &old {
        match new.get(full) {
            None => all.push(("-".to_owned(), full.clone())),
            Some(other) if What::between(node, other).is_nothing() => {}
            Some(other) => all.push((words(&What::between(node, other)), full.clone())),
        }
    }
    all.extend(new.keys().filter(|full| !old.contains_key(*full)).map(|full| ("+".to_owned(), full.clone())));
    all.sort_by(|(_, a), (_, b)| {
        let ((p, n), (q, m)) = (path::split(a), path::split(b));
        compare_keys(p, n, q, m)
    });
    all
}

/// One thing that happens to a tree.
#[derive(Debug, Clone)]
enum Deed {
    Write(usize, usize),
    Chmod(usize, u32),
    Folder(usize),
    Link(usize),
    Remove(usize),
    Rename(usize, usize),
}

/// Few names, so that deeds meet: folders of three levels, some of which sort around `/`.
fn spot(number: usize) -> Vec<u8> {
    let names = ["a", "a!", "b", "sub", "sub-2", "z"];
    let name = |n: usize| names[n % names.len()];
    match number % 3 {
        0 => name(number / 3).to_owned(),
        1 => format!("{}/{}", name(number / 3), name(number / 18)),
        _ => format!("{}/{}/{} {}", name(number / 3), name(number / 18), name(number / 108), number % 700),
    }
    .into_bytes()
}

fn put(model: &mut Model, full: &[u8], kind: Kind, size: usize) {
    let (parent, name) = path::split(full);
    if !parent.is_empty() && model.get(parent).is_none_or(|node| !node.is_folder()) {
        put(model, parent, Kind::Folder, 0);
    }
    if kind != Kind::Folder {
        model.retain(|other, _| other == full || !path::is_below(other, full));
    }
    model.insert(full.to_vec(), node(std::str::from_utf8(name).unwrap(), kind, size));
}

fn act(model: &mut Model, deed: &Deed) {
    match *deed {
        Deed::Write(at, size) => put(model, &spot(at), Kind::File, size),
        Deed::Folder(at) => put(model, &spot(at), Kind::Folder, 0),
        Deed::Link(at) => put(model, &spot(at), Kind::Symlink(b"x".to_vec()), 0),
        Deed::Chmod(at, mode) => drop(model.get_mut(&spot(at)).map(|node| node.meta.mode = mode)),
        Deed::Remove(at) => model.retain(|full, _| !path::is_below(full, &spot(at))),
        Deed::Rename(from, to) => {
            let (from, to) = (spot(from), spot(to));
            if path::is_below(&to, &from) {
                return;
            }
            let moved: Vec<_> = model.iter().filter(|(full, _)| path::is_below(full, &from)).collect();
            let moved: Vec<_> =
                moved.into_iter().map(|(full, node)| (path::strip(full, &from).to_vec(), node.clone())).collect();
            model.retain(|full, _| !path::is_below(full, &from));
            for (below, node) in moved {
                put(model, &path::join(&to, &below), node.kind, usize::try_from(node.content.len()).unwrap());
            }
        }
    }
}

fn deeds(max: usize) -> impl Strategy<Value = Vec<Deed>> {
    let at = || 0..5000usize;
    let deed = prop_oneof![
        8 => (at(), 0..300usize).prop_map(|(at, size)| Deed::Write(at, size)),
        2 => (at(), 0..0o777u32).prop_map(|(at, mode)| Deed::Chmod(at, mode)),
        1 => at().prop_map(Deed::Folder),
        1 => at().prop_map(Deed::Link),
        1 => at().prop_map(Deed::Remove),
        1 => (at(), at()).prop_map(|(from, to)| Deed::Rename(from, to)),
    ];
    proptest::collection::vec(deed, 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn differences_are_those_of_two_lists(before in deeds(700), after in deeds(60), a in 0..500usize, b in 0..500usize) {
        let mut memory = Memory::default();
        let mut old = Model::from([(Vec::new(), node("", Kind::Folder, 0))]);
        before.iter().for_each(|deed| act(&mut old, deed));
        let mut new = old.clone();
        after.iter().for_each(|deed| act(&mut new, deed));
        let (old_tree, new_tree) = (tree_of(&old, &mut memory), tree_of(&new, &mut memory));
        let (a, b) = (spot(a), spot(b));
        for (in_old, in_new) in [(&b""[..], &b""[..]), (&a, &a), (&a, &b), (b"", &a), (b"sub", b"")] {
            let diff = Diff::new((old_tree, in_old), (new_tree, in_new));
            let expected = naive(&old, &new, (in_old, in_new));
            prop_assert_eq!(told(&memory, diff, (in_old, in_new)), expected);
        }
        let whole = told(&memory, Diff::whole(new_tree), (b"", b""));
        prop_assert_eq!(whole.len(), new.len());
    }
}

/// Deep enough for pages on three levels.
fn large() -> Vec<(Vec<u8>, Node)> {
    sample(1700, 60)
}

#[test]
fn one_change_costs_the_way_to_it() {
    let all = large();
    let mut memory = Memory::default();
    let (old, _) = build(&all, &mut memory);
    for (at, mode) in [(0, 0o700), (all.len() / 2, 0o600), (all.len() - 1, 0o640)] {
        let mut changed = all.clone();
        changed[at].1.meta.mode = mode;
        let (new, _) = build(&changed, &mut memory);
        memory.reads.set(0);
        let found = told(&memory, Diff::new((old, b""), (new, b"")), (b"", b""));
        assert_eq!(found.len(), 1);
        let pages = memory.reads.get();
        assert!(pages <= 2 * (usize::from(old.level) + 1), "{pages} pages, root at level {}", old.level);
    }
    memory.reads.set(0);
    assert!(told(&memory, Diff::new((old, b""), (old, b"")), (b"", b"")).is_empty());
    assert_eq!(memory.reads.get(), 0);
}

#[test]
fn trees_that_moved_apart_still_share_their_pages() {
    let all = large();
    let mut memory = Memory::default();
    let (old, _) = build(&all, &mut memory);
    let mut changed = all.clone();
    // A folder is gone and new names stand elsewhere: pages shift against each other.
    changed.retain(|(parent, _)| parent != b"dir3/sub20");
    for i in 0..500 {
        changed.push((b"dir9/sub9".to_vec(), node(&format!("new {i}"), Kind::File, i % 50)));
    }
    changed.sort_by(|(p, n), (q, m)| compare_keys(p, &n.name, q, &m.name));
    let (new, _) = build(&changed, &mut memory);
    memory.reads.set(0);
    let found = told(&memory, Diff::new((old, b""), (new, b"")), (b"", b""));
    assert_eq!(found.len(), 60 + 500);
    assert!(memory.reads.get() < 40, "{} pages", memory.reads.get());
}

#[test]
fn a_missing_page_interrupts_and_is_named_in_advance() {
    let all = large();
    let mut memory = Memory::default();
    let (old, _) = build(&all, &mut memory);
    let mut changed = all.clone();
    changed.iter_mut().step_by(500).for_each(|(_, node)| node.meta.mode = 0o600);
    let (new, _) = build(&changed, &mut memory);
    let expected = told(&memory, Diff::new((old, b""), (new, b"")), (b"", b""));
    // Nothing is at hand; whatever is missed comes together with what was named for later.
    let mut here = Memory::default();
    let mut diff = Diff::new((old, b""), (new, b""));
    let (mut count, mut misses) = (0, 0);
    loop {
        match diff.next(&here) {
            Ok(Some(_)) => count += 1,
            Ok(None) => break,
            Err(Stop::Miss(_, page)) => {
                misses += 1;
                for wanted in diff.upcoming(64).iter().chain([&page]) {
                    here.pages.insert(wanted.id, memory.pages[&wanted.id].clone());
                }
            }
            Err(Stop::Bad(error)) => panic!("{error}"),
        }
    }
    assert_eq!(count, expected.len());
    assert!(misses < here.pages.len() / 4, "{misses} misses for {} pages", here.pages.len());
}
