//! Killed at every call that changes a file: what was acknowledged stays, and the next run goes on as if nothing had been.
//!
//! The program is stopped before its first change of a file, its second and so on, until a run comes to its end; there
//! it is killed before the call, or half way through what it writes. Files of repository and local state are both among
//! them. What `kill -9` leaves is what the kernel was told: power cuts are the business of `powercut`.

use crate::scene::Scene;
use crate::tracer::Act;
use crate::tracer::At;
use crate::tracer::What;
use bygone::id::SnapshotId;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Of so many states one is looked at with the real program, which takes longer.
const THOROUGH_EVERY: usize = 24;

/// Kills a command at each of its calls; returns how many states there were.
fn kill_everywhere(scene: &Scene, arguments: &[&str], may_be_gone: &[SnapshotId], act: Act) -> usize {
    let states = AtomicUsize::new(0);
    let kinds = Mutex::new(std::collections::BTreeMap::<What, usize>::new());
    scene.count_up(|number| {
        let place = scene.place();
        let mut at = At::new(number, act);
        let traced = place.trace(arguments, &mut at);
        let Some(call) = at.hit else {
            assert_eq!(traced.code, Some(0), "{}", traced.stderr);
            return false;
        };
        assert_eq!(traced.code, None, "it was not killed");
        if act == Act::Tear && call.what != What::Write {
            // The same as being killed there.
            return true;
        }
        let what = format!("{arguments:?}, {act:?} at call {number}, {:?} {}", call.what, call.path.display());
        place.expect_clean(&what);
        let known = place.expect_sound(may_be_gone, &what);
        place.expect_next_backup(may_be_gone, known.len(), &what);
        if number % THOROUGH_EVERY == 0 {
            place.expect_restores(&what);
        }
        *kinds.lock().unwrap().entry(call.what).or_default() += 1;
        states.fetch_add(1, Ordering::SeqCst);
        true
    });
    println!("{act:?} of {:?}: {:?}", arguments[0], kinds.into_inner().unwrap());
    states.into_inner()
}

#[test]
fn killed_at_every_call_that_changes_a_file() {
    let began = Instant::now();
    let (first, scene, forgotten) = (Scene::new(0), Scene::new(2), Scene::new(2));
    let recallable: Vec<_> = forgotten.before.snapshots.keys().copied().collect();
    // Of the packs of the first snapshot the second needs a part, which is copied.
    forgotten.run(&["forget", "-q", "latest~1"]).ok();
    let in_first = first.program.source();
    let source = scene.program.source();
    let source = source.to_str().unwrap();
    let all: Vec<_> = scene.before.snapshots.keys().copied().collect();
    // What everyone does who changes a repository; a new command is one more line.
    let actions: [(&Scene, &[&str], &[SnapshotId]); 7] = [
        (&first, &["backup", "-q", in_first.to_str().unwrap()], &[]),
        (&scene, &["backup", "-q", "--checkpoint-every", "0s", source], &[]),
        (&scene, &["forget", "-q", "latest"], &all),
        (&scene, &["backup", "-q", "--force", source], &[]),
        (&forgotten, &["undo-forget", "-q", "--last"], &recallable),
        (&scene, &["tag", "-q", "--add", "kept", "latest"], &[]),
        (&forgotten, &["prune", "-q", "--grace", "0", "--max-unused", "0%"], &recallable),
    ];
    let mut states = 0;
    for (scene, arguments, may_be_gone) in actions {
        for act in [Act::Kill, Act::Tear] {
            states += kill_everywhere(scene, arguments, may_be_gone, act);
        }
    }
    println!("{states} states in {:?}, no violation", began.elapsed());
    assert!(states >= 400, "only {states} states");
}
