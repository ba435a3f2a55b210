//! The document of the format against the program: a second reader, written from the document alone, must see what is
//! there; the vectors in the document must be ours; what lies about in a store must do no harm.

use crate::golden;
use crate::house::House;
use crate::house::open_latest;
use crate::listing;
use bygone::crypto::Keys;
use bygone::crypto::MasterKey;
use bygone::extent::ChunkKind;
use bygone::format::record::Event;
use bygone::id::ObjectId;
use bygone::id::RepositoryId;
use bygone::id::SnapshotId;
use bygone::meta::Time;
use bygone::repo::Log;
use bygone::repo::LogProblem;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// The interpreter with what `scripts/format-reader.py` needs.
fn python() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/bygone-tools");
    let tools = std::env::var_os("BYGONE_TOOLS").map_or_else(home, PathBuf::from);
    let python = tools.join("reader/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/tools.sh once", python.display());
    python
}

/// What the second reader says of the newest snapshot below its source, sorted; or what it complains of.
pub(crate) fn second_reader(repository: &Path, password: &[u8], source: &[u8]) -> Result<Vec<String>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/format-reader.py");
    let mut command = Command::new(python());
    command.arg(script).arg(repository).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password).unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let prefix = format!("/{}/", std::str::from_utf8(source).unwrap());
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn forget_nothing(house: &House) {
    let time = Time { secs: 1_800_000_000, nanos: 0 };
    let event = Event::Forget(SnapshotId([9; 16]));
    house.runtime.block_on(Log::append(&house.repo, house.author(), time, event, Vec::new())).unwrap();
}

fn records(house: &House) -> Vec<PathBuf> {
    let chain = fs::read_dir(house.folder.path().join("repository/log")).unwrap().next().unwrap().unwrap().path();
    let mut records: Vec<_> = fs::read_dir(chain).unwrap().map(|entry| entry.unwrap().path()).collect();
    records.sort();
    records
}

#[test]
fn a_reader_written_from_the_document_sees_the_source() {
    let house = golden::house();
    listing::fill(&house.source());
    house.backup();
    let small = house.folder.path().join("source/many");
    fs::remove_dir_all(&small).unwrap();
    // Beyond a checkpoint, so that history is needed.
    (0..33).for_each(|_| forget_nothing(&house));
    house.backup();
    forget_nothing(&house);
    let disk = listing::on_disk(&house.source());
    let browse = house.browse();
    assert_eq!(listing::text(&house.runtime.block_on(listing::in_snapshot(&browse))), listing::text(&disk));
    let repository = house.folder.path().join("repository");
    let source = &browse.snapshot().sources[0];
    let read = || second_reader(&repository, golden::PASSWORD, source);
    assert_eq!(read().unwrap(), sorted(listing::short_text(&disk)));
    assert!(second_reader(&repository, b"wrong", source).unwrap_err().contains("no slot opens"));
    // Damage is found by both.
    let newest = records(&house).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[200] ^= 1;
    fs::remove_file(&newest).unwrap();
    fs::write(&newest, &bytes).unwrap();
    let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
    assert!(matches!(log.problems[..], [LogProblem::Copied { .. }]), "{:?}", log.problems);
    fs::remove_dir_all(repository.join("copies")).unwrap();
    assert!(read().unwrap_err().contains("checksum"));
    let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
    assert!(matches!(log.problems[..], [LogProblem::Unreadable { .. }]), "{:?}", log.problems);
}

#[test]
fn a_forgotten_snapshot_stays_in_the_log_until_a_sweep_names_it() {
    let house = golden::house();
    fs::write(house.source().join("a"), b"first").unwrap();
    let first = house.backup().snapshot.unwrap();
    let read = || house.runtime.block_on(Log::read(&house.repo)).unwrap();
    let time = Time { secs: 1_800_000_000, nanos: 0 };
    let append = |event| {
        let done = Log::append(&house.repo, house.author(), time, event, Vec::new());
        house.runtime.block_on(done).unwrap()
    };
    let me = append(Event::Forget(first.id));
    (0..64).for_each(|_| forget_nothing(&house));
    let before = read();
    assert!(before.snapshots().is_empty());
    assert_eq!(before.recallable(), [&first]);
    append(Event::Recall(first.id));
    assert_eq!(read().snapshots(), [&first]);
    // What was decided before somebody else appended is not appended.
    let sweep = || Event::Sweep(vec![ObjectId(first.id.0)]);
    let append_if = |decided: &Log| {
        let done = Log::append_if_unmoved(&house.repo, house.author(), time, sweep(), decided);
        house.runtime.block_on(done).unwrap()
    };
    assert_eq!(append_if(&before), None);
    assert_eq!(append_if(&read()), Some(me));
    // It is wanted, so the sweep takes nothing; but the next forget is final, and a checkpoint drops it.
    assert_eq!(read().snapshots(), [&first]);
    append(Event::Forget(first.id));
    assert!(read().recallable().is_empty());
    assert!(read().words().knows(first.id));
    (0..64).for_each(|_| forget_nothing(&house));
    assert!(!read().words().knows(first.id));
}

#[test]
fn the_vectors_of_the_document_are_ours() {
    let text = include_str!("../../src/format/FORMAT.md");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
    let object = keys.object(1, ObjectId([9; 16]), &[5; 32]);
    for value in [
        hex(&keys.chunk_id(ChunkKind::Data, b"abc").0),
        keys.boundary(&[b"", b"/", b""]).to_string(),
        keys.gear()[0].to_string(),
        hex(&object.key),
        hex(&object.commitment),
    ] {
        assert!(text.contains(&format!("`{value}`")), "FORMAT.md does not say {value}");
    }
}

#[test]
fn stray_names_and_gaps_in_the_log_do_no_harm() {
    let house = House::new();
    fs::write(house.source().join("file"), b"bytes").unwrap();
    house.backup();
    forget_nothing(&house);
    let records = records(&house);
    let chain = records[0].parent().unwrap();
    // Neither a name that is not ours nor one far ahead must take memory, time or the snapshot.
    for stray in ["18446744073709551615", "99999999999", "7", "+000000009", "0000000009x"] {
        fs::write(chain.join(stray), b"junk").unwrap();
    }
    fs::write(chain.join("9999999999"), b"junk").unwrap();
    fs::write(chain.join("5000000000"), b"junk").unwrap();
    let log = house.runtime.block_on(Log::read(&house.repo)).unwrap();
    assert_eq!(log.snapshots().len(), 1);
    let missing = |p: &&LogProblem| matches!(p, LogProblem::Missing { .. });
    let unreadable = |p: &&LogProblem| matches!(p, LogProblem::Unreadable { .. });
    assert_eq!(log.problems.iter().filter(missing).count(), 2, "{:?}", log.problems);
    assert_eq!(log.problems.iter().filter(unreadable).count(), 2, "{:?}", log.problems);
    // The chain is not continued behind junk: the next record begins another.
    forget_nothing(&house);
    assert_eq!(fs::read_dir(chain.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_chain_of_nothing_but_junk_is_read_to_its_end() {
    let house = House::new();
    let chain = house.folder.path().join("repository/log").join("ab".repeat(16));
    fs::create_dir_all(&chain).unwrap();
    for seq in 0..3000 {
        fs::write(chain.join(format!("{seq:010}")), b"junk").unwrap();
    }
    house.runtime.block_on(async {
        let log = Log::read(&house.repo).await.unwrap();
        assert!(log.snapshots().is_empty());
        assert_eq!(log.problems.len(), 3000);
    });
    fs::write(house.source().join("file"), b"bytes").unwrap();
    let options = house.options();
    house.backup_with(options, &bygone::monitor::Collect::default()).unwrap();
    fs::remove_dir_all(&chain).unwrap();
    house.runtime.block_on(open_latest(&house.repo));
}
