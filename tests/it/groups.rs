//! Small chunks that were compressed together, with the real program: they take less, and are chunks of their own in everything.

use crate::house::noise;
use crate::program::Program;
use crate::program::json_lines;
use crate::prune::all_is_well;
use crate::prune::backup;
use crate::prune::backup_of;
use crate::prune::bytes_of_packs;
use crate::prune::number;
use crate::prune::pack_bytes;
use crate::prune::summary;
use std::fs;

const FILES: u64 = 900;
/// Of a file that nothing else has.
const OWN_BYTES: usize = 300;

/// What all files begin with, and something of its own.
fn content(name: u64) -> Vec<u8> {
    let words = (0..200u64).map(|word| format!("{:x} ", word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44));
    [words.collect::<String>().into_bytes(), noise(name, OWN_BYTES)].concat()
}

/// A backup of small files that are alike.
fn alike() -> Program {
    backup_of(0..FILES, content)
}

#[test]
fn what_is_alike_is_stored_once_and_read_alone() {
    let program = alike();
    // What is their own, twice as much for names, times and the rest; alone, each would take 800 bytes and more.
    let stored = pack_bytes(&program);
    assert!(stored < FILES * 2 * OWN_BYTES as u64, "{stored}");
    all_is_well(&program);
    for name in [0, 1, 17, FILES - 1] {
        let told = program.command(&["cat", &program.at("latest", &name.to_string())]).output().unwrap();
        assert!(told.stdout == content(name), "{name}");
    }
    // Each by its id: what was there before is not stored again, in whatever company.
    for name in (0..FILES).step_by(2) {
        fs::rename(program.source().join(name.to_string()), program.source().join(format!("moved {name}"))).unwrap();
    }
    fs::write(program.source().join("new"), content(FILES)).unwrap();
    let told = json_lines(&program.run(&["backup", "source", "--json"]).ok().stdout);
    let new = number(&told.iter().find(|line| line["type"] == "summary").unwrap()["snapshot"], "bytes_new");
    assert_eq!(new, content(FILES).len() as u64);
    all_is_well(&program);
    let told = program.run(&["stats", "latest", "--json"]).ok().stdout;
    assert!(number(&json_lines(&told)[0], "stored_bytes") <= pack_bytes(&program), "{told}");
}

#[test]
fn what_stands_twice_in_one_backup_is_stored_once() {
    // Every fifth file of the second folder is another one; one file is everywhere.
    let program = backup_of(0..0, content);
    for folder in 0..3u64 {
        fs::create_dir(program.source().join(folder.to_string())).unwrap();
        for name in 0..600 {
            let seed = if name % 5 == 0 { name + 1000 * folder } else { name };
            let at = program.source().join(format!("{folder}/{name:03}"));
            fs::write(&at, noise(seed, 6000)).unwrap();
            if name % 20 == 0 {
                fs::write(at.with_extension("licence"), noise(9999, 8000)).unwrap();
            }
        }
    }
    backup(&program);
    let stored = pack_bytes(&program);
    let own = (600 + 2 * 120) * 6000 + 8000;
    assert!(stored < own + own / 10, "{stored} of {own}");
    all_is_well(&program);
}

#[test]
fn what_is_needed_of_a_group_leaves_the_rest_behind() {
    let program = alike();
    for name in (0..FILES).filter(|name| name % 3 > 0) {
        fs::remove_file(program.source().join(name.to_string())).unwrap();
    }
    backup(&program);
    program.run(&["forget", "latest~1"]).ok();
    let before = pack_bytes(&program);
    let done = summary(&program, &["--grace", "0", "--max-unused", "0"]);
    assert!(number(&done, "stored_bytes") > 0, "{done}");
    let after = pack_bytes(&program);
    assert!(after < before / 2, "{before} {after}");
    all_is_well(&program);
    // And there is nothing more to gain.
    let again = summary(&program, &["--grace", "0", "--max-unused", "0"]);
    assert_eq!(number(&again, "stored_bytes"), 0, "{again}");
    assert_eq!(pack_bytes(&program), after);
    let told = program.run(&["stats", "latest", "--json"]).ok().stdout;
    assert!(number(&json_lines(&told)[0], "stored_bytes") <= after, "{told}");
}

#[test]
fn a_copy_puts_them_together_too() {
    let program = alike();
    let second = program.scratch().join("second");
    for arguments in [&["init"][..], &["copy"]] {
        let mut command = program.command(arguments);
        command.env("BYGONE_REPOSITORY", &second).env("BYGONE_FROM_REPOSITORY", program.repository());
        command.env("BYGONE_FROM_PASSWORD", "correct horse");
        crate::program::Ended::of(&mut command).ok();
    }
    let (there, here) = (bytes_of_packs(&second), pack_bytes(&program));
    assert!(there < here + here / 10, "{there} {here}");
}
