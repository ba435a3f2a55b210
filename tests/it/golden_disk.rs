//! A repository with disks, written by a released version and kept for ever: `tests/data/golden-disk-v1` holds the
//! snapshot of a disk (GPT, FAT and ext4) and one of a folder with the same disk as a qcow2. Every later version must
//! tell what is on them, give the files inside, and bring the disk back as it was.
//!
//! `BYGONE_WRITE_GOLDEN=1 cargo test --test it golden_disk` writes it anew; only for as long as version 1 is not
//! released.

use crate::house::noise;
use crate::images_restore;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use serde_json::json;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden-disk-v1")
}

/// A program whose repository is a copy of `from`.
fn program_with(from: &Path) -> Program {
    let program = Program::new();
    copy(from, &program.repository());
    program
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

fn run(program: &Program, arguments: &[&str]) -> String {
    let output = program.command(arguments).env("BYGONE_PASSWORD", "golden").output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// A disk of two partitions with files of every kind.
fn make_disk(home: &Path) -> PathBuf {
    let (tree, disk) = (home.join("tree"), home.join("disk.img"));
    fs::create_dir_all(tree.join("home/ada")).unwrap();
    fs::write(tree.join("home/ada/letter.txt"), "Dear Charles\n").unwrap();
    fs::write(tree.join("home/ada/noise"), noise(5, 20_000)).unwrap();
    fs::write(tree.join("home/ada/words"), "the same words again and again, ".repeat(3000)).unwrap();
    fs::hard_link(tree.join("home/ada/letter.txt"), tree.join("home/again.txt")).unwrap();
    symlink("ada/letter.txt", tree.join("home/link")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&noise(6, 3000), 500_000).unwrap();
    File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let at = disk.to_str().unwrap();
    let table = "label: gpt\\nstart=2048,size=2048,type=U,name=EFI\\nstart=4096,size=10240,type=L,name=root\\n";
    assert!(tool("sh", &["-c", &format!("printf '{table}' | sfdisk -q '{at}'")]));
    assert!(tool("mkfs.fat", &["-F", "12", "-n", "GOLDEN", "--offset", "2048", at, "1024"]));
    let letter = tree.join("home/ada/letter.txt");
    assert!(tool("mcopy", &["-i", &format!("{at}@@1M"), letter.to_str().unwrap(), "::A long name.txt"]));
    let made =
        ["-q", "-F", "-t", "ext4", "-L", "golden", "-d", tree.to_str().unwrap(), "-E", "offset=2097152", at, "5120k"];
    assert!(tool("mke2fs", &made));
    disk
}

fn write() {
    let program = Program::new();
    let disk = make_disk(program.scratch());
    fs::create_dir(program.scratch().join("vm")).unwrap();
    let (raw, qcow2) = (disk.to_str().unwrap(), program.scratch().join("vm/disk.qcow2"));
    assert!(tool("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", raw, qcow2.to_str().unwrap()]));
    run(&program, &["init"]);
    run(&program, &["backup", program.scratch().join("vm").to_str().unwrap()]);
    run(&program, &["backup", "--image", raw]);
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    let snapshots = json_lines(&run(&program, &["snapshots", "--json"]));
    let snapshots: Vec<&Value> = snapshots.iter().filter(|line| line["type"] == "snapshot").collect();
    let (vm, sda) = (id(snapshots[0]), id(snapshots[1]));
    let inside = format!("{vm}:{}", qcow2.canonicalize().unwrap().display());
    let mut expected = json!({
        "disk": sda,
        "qcow2": inside,
        "description": snapshots[1]["description"],
        "bytes": fs::metadata(&disk).unwrap().len(),
        "blake3": blake3::hash(&fs::read(&disk).unwrap()).to_string(),
    });
    expected["files"] = files(&program, &format!("{sda}:disk.img"));
    assert_eq!(files(&program, &inside), expected["files"]);
    if folder().exists() {
        fs::remove_dir_all(folder()).unwrap();
    }
    copy(&program.repository(), &folder().join("repository"));
    fs::write(folder().join("expected.json"), format!("{expected:#}\n")).unwrap();
}

/// All files in both partitions of a disk, with all that is known of them.
fn files(program: &Program, disk: &str) -> Value {
    let mut found = Vec::new();
    for part in ["1", "2"] {
        let to = program.scratch().join("out");
        run(program, &["restore", &format!("{disk}!/{part}"), "--to", to.to_str().unwrap()]);
        found.extend(images_restore::listing(&to).into_iter().map(|line| format!("{part}: {line}")));
        fs::remove_dir_all(to).unwrap();
    }
    found.sort();
    found.into()
}

#[test]
fn golden_disks_are_read() {
    if std::env::var_os("BYGONE_WRITE_GOLDEN").is_some() {
        write();
    }
    let expected: Value = serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap();
    let text = |key: &str| expected[key].as_str().unwrap();
    let program = program_with(&folder().join("repository"));

    let snapshots = json_lines(&run(&program, &["snapshots", "--json"]));
    let disk = snapshots.iter().find(|line| line["id"] == text("disk")).unwrap();
    assert_eq!(disk["description"], text("description"));
    let parts = run(&program, &["ls", &format!("{}!/", text("qcow2"))]);
    assert!(parts.contains("1 EFI (FAT12)") && parts.contains("2 root (ext4)"), "{parts}");

    for disk in [&format!("{}:disk.img", text("disk"))[..], text("qcow2")] {
        assert_eq!(files(&program, disk), expected["files"], "{disk}");
    }
    let again = run(&program, &["cat", &format!("{}:disk.img!/2/home/again.txt", text("disk"))]);
    assert_eq!(again, "Dear Charles\n");

    run(&program, &["restore", "--image", text("disk"), "back.img", "--verify"]);
    let back = fs::read(program.scratch().join("back.img")).unwrap();
    assert_eq!(back.len() as u64, expected["bytes"].as_u64().unwrap());
    assert_eq!(blake3::hash(&back).to_string(), text("blake3"));
}
