//! `repair`: what can be put right is, out of what is at hand; what cannot is told with the files that need it. Damage is
//! done to real files, and the real program puts it right.

use crate::drive::expect_equal;
use crate::forget::Forgetting;
use crate::forget::fill_a_checkpoint;
use crate::house::noise;
use crate::program::Program;
use crate::program::json_lines;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// All objects of a repository, by name.
fn objects(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name.starts_with('.') => {}
                true => folders.push(path),
                false => drop(found.insert(name, path)),
            }
        }
    }
    found
}

fn below(program: &Program, prefix: &str) -> Vec<PathBuf> {
    let all = objects(&program.repository());
    all.into_iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, path)| path).collect()
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

/// The largest data pack.
fn data_pack(program: &Program) -> PathBuf {
    let packs = below(program, "packs/");
    let data = packs.into_iter().filter(|pack| fs::read(pack).unwrap()[11] == 1);
    data.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap()
}

fn backup(program: &Program) {
    program.run(&["backup", program.source().to_str().unwrap()]).ok();
}

/// Two snapshots of a small source.
fn two_snapshots() -> Program {
    let program = Program::with_source();
    backup(&program);
    fs::write(program.source().join("sub/more"), noise(3, 1 << 20)).unwrap();
    backup(&program);
    program
}

/// The newest snapshot comes back as its source is, and a check finds nothing.
#[track_caller]
fn expect_whole(program: &Program) {
    let told = program.run(&["check", "--read-data"]).ok().stdout;
    assert!(told.contains("no problems"), "{told}");
    let back = program.scratch().join("back");
    drop(fs::remove_dir_all(&back));
    program.run(&["restore", &format!("latest:{}", program.source().display()), "--to", "back"]).ok();
    expect_equal(&program.source(), &back);
}

/// Nothing is left to do: nothing is told and no object changes.
#[track_caller]
fn expect_done(program: &Program) {
    let before = objects(&program.repository());
    let told = program.run(&["repair"]).ok().stdout;
    assert!(told.contains("Nothing to put right"), "{told}");
    assert_eq!(objects(&program.repository()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn a_repository_without_any_index_gets_one() {
    let program = two_snapshots();
    expect_done(&program);
    let index = below(&program, "index/");
    assert!(index.len() >= 2);
    index.iter().for_each(|path| fs::remove_file(path).unwrap());
    program.run(&["check"]).fails(4);
    let told = program.run(&["repair", "--dry-run"]).stdout;
    assert!(told.contains("would be done: index: ") && told.contains("named again"), "{told}");
    assert_eq!(below(&program, "index/").len(), 0);
    let told = program.run(&["repair"]).ok().stdout;
    assert!(told.contains("named again") && told.contains("no problems"), "{told}");
    expect_whole(&program);
    expect_done(&program);
    // What the index knows is not stored again.
    let packs = below(&program, "packs/").len();
    program.run(&["backup", "--force", "--parity", "off", program.source().to_str().unwrap()]).ok();
    assert!(below(&program, "packs/").len() <= packs + 1);
}

#[test]
fn damaged_index_objects_go_when_what_they_named_is_named() {
    let program = two_snapshots();
    let index = below(&program, "index/");
    flip(&index[0], 300);
    fs::write(&index[1], "nonsense").unwrap();
    program.run(&["check"]).fails(4);
    let told = json_lines(&program.run(&["--json", "--no-progress", "repair"]).ok().stdout);
    let removed = told.iter().filter(|line| line["what"] == "removed").count();
    let named = told.iter().find(|line| line["what"] == "named");
    assert!(removed == 2 && named.is_some(), "{told:?}");
    assert!(index.iter().all(|path| !path.exists()));
    expect_whole(&program);
    expect_done(&program);
}

#[test]
fn packs_that_are_gone_leave_the_index() {
    let program = two_snapshots();
    let pack = data_pack(&program);
    fs::remove_file(&pack).unwrap();
    let told = program.run(&["repair"]).fails(4).stdout;
    assert!(told.contains("gone left out") && told.contains("lost: ") && told.contains("sub/big"), "{told}");
    // The source still has it.
    program.run(&["backup", "--force", program.source().to_str().unwrap()]).ok();
    program.run(&["repair"]).ok();
    expect_whole(&program);
}

/// The records of the only chain, and their copies.
fn records(program: &Program) -> Vec<PathBuf> {
    below(program, "log/")
}

#[test]
fn what_opens_a_repository_comes_back_from_its_second_copy() {
    let program = two_snapshots();
    let repository = program.repository();
    let slot = below(&program, "keys/").remove(0);
    let all = records(&program);
    let (checkpoint, newest) = (all[0].clone(), all.last().unwrap().clone());
    assert_eq!(below(&program, "copies/").len(), 2 + all.len());
    let whole: BTreeMap<PathBuf, Vec<u8>> =
        objects(&repository).into_values().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for victim in [repository.join("config"), slot, checkpoint, newest] {
        for is_gone in [true, false] {
            match is_gone {
                true => fs::remove_file(&victim).unwrap(),
                false => flip(&victim, 90),
            }
            let name = victim.strip_prefix(&repository).unwrap().to_str().unwrap();
            let listed = program.run(&["snapshots"]).ok();
            assert!(listed.stderr.contains(name) || listed.stderr.contains("BACKWARDS"), "{name}: {}", listed.stderr);
            assert_eq!(json_lines(&program.run(&["--json", "snapshots"]).stdout).len(), 2, "{name}");
            program.run(&["check"]).fails(4);
            let told = program.run(&["repair", "--dry-run"]).stdout;
            assert!(told.contains(&format!("would be done: {name}: put back")), "{told}");
            assert!(fs::read(&victim).ok() != Some(whole[&victim].clone()));
            let told = program.run(&["repair"]).ok().stdout;
            assert!(told.contains(&format!("{name}: put back")), "{told}");
            assert!(fs::read(&victim).unwrap() == whole[&victim], "{name}");
            assert_eq!(program.run(&["snapshots"]).ok().stderr, "", "{name}");
        }
    }
    expect_whole(&program);
    expect_done(&program);
}

/// After a prune has moved them, chunks are missed where they were moved to, not in the pack that went on purpose.
#[test]
fn the_pack_that_was_moved_to_is_blamed() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let source = program.source();
    fs::create_dir(&source).unwrap();
    for name in ["goes", "stays"] {
        fs::write(source.join(name), noise(u64::from(name.as_bytes()[0]), 600_000)).unwrap();
    }
    backup(&program);
    let moved = data_pack(&program);
    fs::remove_file(source.join("goes")).unwrap();
    backup(&program);
    program.run(&["forget", "latest~1"]).ok();
    program.run(&["prune", "--grace", "0", "--max-unused", "0%"]).ok();
    let pack = data_pack(&program);
    assert!(pack != moved && !moved.exists());
    let name = format!("packs/{}", pack.file_name().unwrap().to_str().unwrap());
    let blamed = |arguments: &[&str]| {
        let told = program.run(&[arguments, &["--json"]].concat()).fails(4).stdout;
        let problems: Vec<_> = json_lines(&told).into_iter().filter(|line| line["type"] == "problem").collect();
        assert_eq!(problems.len(), 1, "{told}");
        let object = problems[0]["object"].as_str().unwrap();
        assert!(object.starts_with("packs/") && object.ends_with(&name[6..]), "{object} is not {name}");
        assert!(told.contains("stays"), "{told}");
    };
    flip(&pack, 100_000);
    blamed(&["check", "--read-data"]);
    fs::remove_file(&pack).unwrap();
    blamed(&["check"]);
}

/// Reads that nobody polls must not keep their places from what is written meanwhile.
#[test]
fn long_logs_are_put_right_with_few_requests_at_once() {
    let it = Forgetting::new(&[("2020-11-01T10:00:00Z", "tower")]);
    fill_a_checkpoint(&it.house);
    let root = it.house.folder.path().join("repository");
    let names: Vec<PathBuf> =
        objects(&root).into_iter().filter(|(n, _)| n.starts_with("log/")).map(|(_, p)| p).collect();
    assert!(names.len() > 30, "{}", names.len());
    fs::remove_file(&names[0]).unwrap();
    fs::remove_file(root.join("config")).unwrap();
    fs::remove_file(names[7].as_path()).unwrap();
    it.run(&["repair", "-o", "requests_max=2"], 0);
    assert!(root.join("config").exists() && names[0].exists() && names[7].exists());
    fs::remove_file(&names[0]).unwrap();
    let found = it.run(&["check", "-o", "requests_max=2"], 4);
    assert!(found.stdout.contains("missing") || found.stderr.contains("missing"), "{}{}", found.stdout, found.stderr);
    it.run(&["repair"], 0);
    it.run(&["check"], 0);
}

#[test]
fn second_copies_are_made_for_a_repository_that_has_none() {
    let program = two_snapshots();
    let copies = below(&program, "copies/");
    fs::remove_dir_all(program.repository().join("copies")).unwrap();
    let told = program.run(&["check"]).ok().stdout;
    assert!(told.contains("have no second copy"), "{told}");
    program.run(&["repair"]).ok();
    assert_eq!(below(&program, "copies/"), copies);
    flip(&copies[0], 20);
    fs::remove_file(&copies[1]).unwrap();
    program.run(&["check"]).fails(4);
    program.run(&["check", "--no-password"]).fails(4);
    program.run(&["repair"]).ok();
    program.run(&["check", "--no-password"]).ok();
    expect_done(&program);
}

#[test]
fn a_removed_password_does_not_come_back() {
    let program = two_snapshots();
    fs::write(program.scratch().join("new"), "battery staple").unwrap();
    program.run(&["key", "change-password", "--new-password-file", "new"]).ok();
    assert_eq!(below(&program, "copies/keys/").len(), 1);
    let with_new = |arguments: &[&str]| {
        let mut command = program.command(arguments);
        command.env("BYGONE_PASSWORD", "battery staple").output().unwrap()
    };
    assert!(with_new(&["repair"]).status.success());
    program.run(&["snapshots"]).fails(12);
    assert_eq!(below(&program, "keys/").len(), 1);
    assert!(with_new(&["snapshots"]).status.success());
}

#[test]
fn flipped_bits_and_lost_sectors_are_computed_anew() {
    let program = two_snapshots();
    let packs = below(&program, "packs/");
    assert_eq!(below(&program, "parity/").len(), packs.len());
    let whole: Vec<Vec<u8>> = packs.iter().map(|pack| fs::read(pack).unwrap()).collect();
    for (pack, bytes) in packs.iter().zip(&whole) {
        // Two of four shards at least that each pack has parity for; one of them the header.
        flip(pack, 40);
        flip(pack, bytes.len() as u64 / 2);
    }
    let noted = program.run(&["check", "--read-data"]).fails(4).stdout;
    assert!(noted.contains("can be rebuilt from parity"), "{noted}");
    program.run(&["repair", "--read-data", "--dry-run"]).fails(4);
    let told = program.run(&["repair", "--read-data"]).ok().stdout;
    assert_eq!(told.matches("rebuilt from parity").count(), packs.len(), "{told}");
    assert!(packs.iter().zip(&whole).all(|(pack, bytes)| fs::read(pack).unwrap() == *bytes));
    expect_whole(&program);
    // A sector of zeros, a lost end.
    let pack = data_pack(&program);
    let bytes = fs::read(&pack).unwrap();
    fs::File::options().write(true).open(&pack).unwrap().write_all_at(&[0; 4096], 1 << 20).unwrap();
    fs::File::options().write(true).open(&pack).unwrap().set_len(bytes.len() as u64 - 5000).unwrap();
    program.run(&["repair", "--read-data"]).ok();
    assert!(fs::read(&pack).unwrap() == bytes);
    expect_done(&program);
}

#[test]
fn too_much_damage_is_told_and_marked_and_the_source_heals_it() {
    let program = two_snapshots();
    let pack = data_pack(&program);
    let len = fs::metadata(&pack).unwrap().len();
    (0..len / 4096).for_each(|sector| flip(&pack, sector * 4096 + 7));
    let told = program.run(&["repair", "--read-data"]).fails(4).stdout;
    assert!(told.contains("cannot be rebuilt") && told.contains("sub/big") && told.contains("marked"), "{told}");
    backup(&program);
    let told = program.run(&["repair", "--read-data"]).ok().stdout;
    assert!(told.contains("no problems"), "{told}");
    program.run(&["restore", &format!("latest~1:{}", program.source().display()), "--to", "back"]).ok();
    expect_equal(&program.source(), &program.scratch().join("back"));
}

#[test]
fn lost_parts_come_from_a_repository_that_shares_chunks() {
    let program = two_snapshots();
    let here = program.repository();
    let other = program.scratch().join("other");
    let there = |arguments: &[&str]| {
        let mut command = program.command(arguments);
        command.env("BYGONE_REPOSITORY", &other).env("BYGONE_FROM_PASSWORD", "correct horse");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    there(&["init", "--from", here.to_str().unwrap()]);
    there(&["copy", "--from", here.to_str().unwrap()]);
    fs::remove_file(data_pack(&program)).unwrap();
    fs::remove_file(below(&program, "packs/").remove(0)).unwrap();
    let mut command = program.command(&["repair", "--from", other.to_str().unwrap()]);
    let output = command.env("BYGONE_FROM_PASSWORD", "correct horse").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("taken from the other repository"), "{told}");
    assert!(output.status.success(), "{told}");
    expect_whole(&program);
    expect_done(&program);
}

#[test]
fn a_repair_that_is_killed_anywhere_can_be_run_again() {
    let program = two_snapshots();
    for n in 0..12 {
        below(&program, "index/").iter().for_each(|path| flip(path, 200));
        drop(fs::remove_dir_all(program.repository().join("copies")));
        let pack = data_pack(&program);
        flip(&pack, 70_000);
        let mut child = program.command(&["-q", "repair", "--read-data"]).spawn().unwrap();
        // Kills it after the n-th thing that it has done to the repository.
        let before = objects(&program.repository()).len();
        let deadline = Instant::now() + Duration::from_secs(60);
        while objects(&program.repository()).len() < before + n && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        program.run(&["repair", "--read-data"]).ok();
        expect_done(&program);
    }
    expect_whole(&program);
}

#[test]
fn parity_is_wanted_or_not() {
    let program = Program::with_source();
    program.run(&["backup", "--parity", "off", program.source().to_str().unwrap()]).ok();
    assert_eq!(below(&program, "parity/").len(), 0);
    let told = program.run(&["repair", "--parity", "5"]).ok().stdout;
    assert!(told.contains("packs got parity"), "{told}");
    let (packs, parity) = (below(&program, "packs/"), below(&program, "parity/"));
    assert_eq!(packs.len(), parity.len());
    program.run(&["check", "--no-password"]).ok();
    let len = |paths: &[PathBuf]| paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let share = len(&parity) as f64 / len(&packs) as f64;
    assert!((0.05..0.09).contains(&share), "{share}");
    flip(&parity[0], 30);
    program.run(&["check", "--no-password"]).fails(4);
    program.run(&["repair", "--parity", "5"]).ok();
    program.run(&["check", "--no-password"]).ok();
    program.run(&["backup", "--parity", "200", "x"]).fails(2);
    // Damaged and lost parity is noticed, and made anew.
    flip(&parity[0], 30);
    fs::remove_file(&parity[1]).unwrap();
    let told = program.run(&["check", "--read-data"]).fails(4).stdout;
    assert!(told.contains(parity[0].file_name().unwrap().to_str().unwrap()), "{told}");
    assert!(told.contains("1 packs have no parity"), "{told}");
    let told = program.run(&["repair", "--read-data", "--dry-run"]).fails(4).stdout;
    assert!(told.contains("2 packs got parity"), "{told}");
    program.run(&["repair", "--read-data"]).ok();
    program.run(&["check", "--read-data"]).ok();
    program.run(&["check", "--no-password"]).ok();
}
