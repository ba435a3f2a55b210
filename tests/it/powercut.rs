//! Power cuts: what a disk may hold afterwards, built from what the program told the kernel, and whether the repository
//! bears it.
//!
//! A run is watched, and every call that changes the repository is written down with its data. Then states are built.
//! What a disk promises is little, and is taken by the letter of POSIX:
//! - `fsync` of a file that has returned: its bytes and its length, as far as they were written before it began.
//! - `fsync` of a folder that has returned: its entries, as they were before it began. It says nothing about the bytes
//!   of the files, nor about the folder's own name in the folder above.
//! - Everything else may have happened or not, each piece by itself and in any order: a name without its bytes, bytes
//!   without a name, a rename whose two halves are both there or neither; a write as a whole, its first part only, or
//!   as zeros of the right length.
//! - A call that had begun but not ended counts as not synced.
//!
//! What was in the repository before the run is on disk. The local state is a database that syncs for itself; it is
//! taken from before the run, from after it, or is lost.
//!
//! After each cut: the repository opens and `check --read-data` is content, older snapshots are what they were, a
//! snapshot whose record was stored (its `put_new` returned) is whole, another one is whole or not there, and the next
//! backup does what it should.

use crate::house::copy_folder;
use crate::scene::Place;
use crate::scene::Scene;
use crate::tracer::Act;
use crate::tracer::Call;
use crate::tracer::Watch;
use crate::tracer::What;
use bygone::id::SnapshotId;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// States of each run whose pieces are chosen by chance.
const SEEDS: usize = 130;
const STATES_MIN: usize = 500;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Gone,
    Folder,
    /// A file, by the number of the call that made it.
    File(usize),
}

/// A piece of a call that reaches the disk by itself.
#[derive(Debug)]
enum Piece {
    Name { path: PathBuf, node: Node },
    Bytes { file: usize, offset: usize, bytes: Vec<u8> },
}

#[derive(Debug)]
struct Effect {
    piece: Piece,
    /// The number of its call.
    call: usize,
    /// How many calls had ended when that one began.
    began: usize,
    /// The number of the sync after which it is on disk for sure.
    synced: Option<usize>,
}

/// Everything that a run did to a repository.
#[derive(Default)]
struct Recording {
    below: PathBuf,
    calls: usize,
    effects: Vec<Effect>,
    /// Which file has this name now.
    files: BTreeMap<PathBuf, usize>,
    /// How long they are.
    lens: BTreeMap<usize, usize>,
    /// The number of the sync that ended the storing of the last record.
    stored: usize,
    expects_record: Option<PathBuf>,
}

impl Watch for Recording {
    fn before(&mut self, _: &Call) -> Act {
        Act::Go
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn after(&mut self, call: Call) {
        let number = self.calls;
        self.calls += 1;
        let inside = |path: &Path| path.strip_prefix(&self.below).ok().map(Path::to_owned);
        let Some(path) = inside(&call.path) else { return };
        let to = inside(&call.to).unwrap_or_default();
        match call.what {
            What::Create => {
                self.files.insert(path.clone(), number);
                self.note(number, call.began, Piece::Name { path, node: Node::File(number) });
            }
            What::Mkdir => self.note(number, call.began, Piece::Name { path, node: Node::Folder }),
            What::Write => {
                let file = self.files[&path];
                let len = self.lens.entry(file).or_default();
                let offset = call.offset.map_or(*len, |offset| usize::try_from(offset).unwrap());
                *len = (*len).max(offset + call.bytes.len());
                self.note(number, call.began, Piece::Bytes { file, offset, bytes: call.bytes });
            }
            What::Rename => {
                let file = self.files.remove(&path).unwrap();
                self.files.insert(to.clone(), file);
                if to.starts_with("log") {
                    self.expects_record = to.parent().map(Path::to_owned);
                }
                self.note(number, call.began, Piece::Name { path: to, node: Node::File(file) });
                self.note(number, call.began, Piece::Name { path, node: Node::Gone });
            }
            What::Unlink => {
                self.files.remove(&path);
                self.note(number, call.began, Piece::Name { path, node: Node::Gone });
            }
            What::Sync => self.sync(number, call.began, &path),
            What::Meta => {}
            What::Link | What::Truncate => panic!("nobody has thought of {call:?}"),
        }
    }
}

impl Recording {
    fn note(&mut self, call: usize, began: usize, piece: Piece) {
        self.effects.push(Effect { piece, call, began, synced: None });
    }

    fn sync(&mut self, number: usize, began: usize, path: &Path) {
        let file = self.files.get(path).copied();
        for effect in &mut self.effects {
            let is_meant = match &effect.piece {
                Piece::Bytes { file: of, .. } => Some(*of) == file,
                Piece::Name { path: name, .. } => file.is_none() && name.parent() == Some(path),
            };
            if is_meant && effect.call < began {
                effect.synced.get_or_insert(number);
            }
        }
        if self.expects_record.as_deref() == Some(path) {
            self.stored = number;
            self.expects_record = None;
        }
    }
}

/// What becomes of the pieces that are on their way when the power goes.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// All arrived: as if the program had been killed.
    All,
    /// None did.
    None,
    /// As the dice say.
    Chance(u64),
}

/// Dice that fall the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        let hash = blake3::hash(&self.0.to_le_bytes());
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % sides
    }
}

impl Recording {
    /// Makes of the repository at `root`, as it was before the run, what is left of it after a cut behind so many calls.
    fn build(&self, root: &Path, calls: usize, fate: Fate) {
        let mut dice = Dice(if let Fate::Chance(seed) = fate { seed } else { 0 });
        // Some cuts lose nearly all, some nearly nothing.
        let luck = dice.roll(101);
        let (mut names, mut files) = (BTreeMap::new(), BTreeMap::<usize, Vec<u8>>::new());
        for effect in &self.effects {
            let is_synced = effect.synced.is_some_and(|synced| synced < calls);
            let (has_ended, has_begun) = (effect.call < calls, effect.began < calls);
            let arrives = is_synced
                || match fate {
                    Fate::All => has_ended,
                    Fate::None => false,
                    Fate::Chance(_) => (has_ended || has_begun) && dice.roll(100) < luck,
                };
            if !arrives {
                continue;
            }
            match &effect.piece {
                Piece::Name { path, node } => drop(names.insert(path.clone(), *node)),
                Piece::Bytes { file, offset, bytes } => {
                    let content = files.entry(*file).or_default();
                    let mut bytes = bytes.clone();
                    if let (Fate::Chance(_), false) = (fate, is_synced) {
                        match dice.roll(4) {
                            0 => bytes.truncate(dice.roll(bytes.len() as u64 + 1) as usize),
                            1 => bytes.fill(0),
                            _ => {}
                        }
                    }
                    content.resize(content.len().max(offset + bytes.len()), 0);
                    content[*offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        // Folders come before what is in them.
        for (path, node) in names {
            let at = root.join(path);
            match node {
                Node::Gone => drop(fs::remove_file(at)),
                // Nothing below a folder that is not there.
                _ if !at.parent().unwrap().is_dir() => {}
                Node::Folder => fs::create_dir(at).unwrap(),
                Node::File(file) => fs::write(at, files.get(&file).map_or(&[][..], |bytes| bytes)).unwrap(),
            }
        }
    }
}

/// A run that was watched.
struct Watched<'a> {
    scene: &'a Scene,
    recording: Recording,
    /// Repository and state after it.
    after: Place<'a>,
    makes_snapshot: bool,
    may_be_gone: &'a [SnapshotId],
}

impl<'a> Watched<'a> {
    fn new(scene: &'a Scene, arguments: &[&str], may_be_gone: &'a [SnapshotId]) -> Watched<'a> {
        let after = scene.place();
        let mut recording = Recording { below: after.repository(), ..Recording::default() };
        let traced = after.trace(arguments, &mut recording);
        assert_eq!((traced.code, traced.stderr.as_str()), (Some(0), ""));
        assert!(recording.stored > 0 && recording.expects_record.is_none(), "its last record was not synced");
        Watched { scene, recording, after, makes_snapshot: arguments[0] == "backup", may_be_gone }
    }

    /// One state, and what becomes of it.
    fn try_state(&self, calls: usize, fate: Fate) {
        let is_stored = self.recording.stored < calls;
        let what = format!("cut after {calls} of {} calls, {fate:?}", self.recording.calls);
        let place = self.scene.empty_place();
        copy_folder(&self.scene.program.repository(), &place.repository());
        self.recording.build(&place.repository(), calls, fate);
        match calls % 3 {
            0 => copy_folder(&self.scene.program.scratch().join("state"), &place.folder().join("state")),
            1 if is_stored => copy_folder(&self.after.folder().join("state"), &place.folder().join("state")),
            _ => {}
        }
        place.expect_clean(&what);
        let fresh = place.expect_sound(self.may_be_gone, &what);
        if self.makes_snapshot {
            assert!(fresh.len() == 1 || (fresh.is_empty() && !is_stored), "{what}: the snapshot was lost");
        }
        place.expect_next_backup(self.may_be_gone, fresh.len(), &what);
    }

    fn try_all(&self) -> usize {
        let calls = self.recording.calls;
        let states = AtomicUsize::new(0);
        self.scene.count_up(|number| {
            let number = number - 1;
            let (cut, fate) = match number / (calls + 1) {
                0 => (number, Fate::All),
                1 => (number - calls - 1, Fate::None),
                _ if number - 2 * (calls + 1) >= SEEDS => return false,
                _ => {
                    let seed = number as u64 * 1_000_003;
                    ((Dice(seed ^ 0xff).roll(calls as u64 + 1)) as usize, Fate::Chance(seed))
                }
            };
            // Other calls, of the local state, leave the repository as it was.
            let is_news =
                |effect: &Effect| effect.call + 1 == cut || effect.synced.is_some_and(|synced| synced + 1 == cut);
            if matches!(fate, Fate::Chance(_)) || cut == 0 || self.recording.effects.iter().any(is_news) {
                self.try_state(cut, fate);
                states.fetch_add(1, Ordering::SeqCst);
            }
            true
        });
        let effects = self.recording.effects.len();
        println!("{} states of {effects} pieces in {calls} calls", states.load(Ordering::SeqCst));
        states.into_inner()
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let began = Instant::now();
    let (first, scene, forgotten) = (Scene::new(0), Scene::new(2), Scene::new(2));
    let recallable: Vec<_> = forgotten.before.snapshots.keys().copied().collect();
    // Of the packs of the first snapshot the second needs a part, which is copied.
    forgotten.run(&["forget", "-q", "latest~1"]).ok();
    let (in_first, source) = (first.program.source(), scene.program.source());
    let all: Vec<_> = scene.before.snapshots.keys().copied().collect();
    let runs = [
        Watched::new(&first, &["backup", "-q", in_first.to_str().unwrap()], &[]),
        Watched::new(&scene, &["backup", "-q", "--checkpoint-every", "0s", source.to_str().unwrap()], &[]),
        Watched::new(&scene, &["forget", "-q", "latest"], &all),
        Watched::new(&forgotten, &["prune", "-q", "--grace", "0", "--max-unused", "0%"], &recallable),
    ];
    let states: usize = runs.iter().map(Watched::try_all).sum();
    println!("{states} states in {:?}, no violation", began.elapsed());
    assert!(states >= STATES_MIN, "only {states} states");
}
