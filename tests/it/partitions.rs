//! One partition of a disk: brought back alone, and shown as a drive of its own.

use crate::disks::Mounted;
use crate::house::noise;
use crate::images_restore::Loop;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const DISK_BYTES: usize = 24 << 20;
const START: usize = 1 << 20;
/// It ends in the middle of a chunk, and something else follows at once.
const PART_BYTES: usize = 40_001 * 512;
const PART: &str = "latest:/sda.img!/1";

/// A repository with a snapshot of a disk of noise with a file system in one partition, and that partition.
fn backed_up() -> Option<(Program, Vec<u8>)> {
    let program = Program::new();
    let tree = program.scratch().join("tree");
    fs::create_dir_all(tree.join("home/ada")).unwrap();
    fs::write(tree.join("home/ada/letter.txt"), "Dear Charles\n").unwrap();
    fs::write(tree.join("home/noise"), noise(7, 3 << 20)).unwrap();
    let path = program.scratch().join("sda.raw");
    let mut bytes = noise(9, DISK_BYTES);
    bytes[START..][..PART_BYTES].fill(0);
    bytes[446..512].fill(0);
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..][..4].copy_from_slice(&((START / 512) as u32).to_le_bytes());
    bytes[446 + 12..][..4].copy_from_slice(&((PART_BYTES / 512) as u32).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&path, bytes).unwrap();
    let (text, offset) = (path.to_str().unwrap(), format!("offset={START}"));
    let make = ["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap(), "-E", &offset, text, "20000k"];
    if !tool("mke2fs", &make) {
        return None;
    }
    // Behind the file system, the last bytes of the partition.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[7; 512], (START + PART_BYTES - 512) as u64)
        .unwrap();
    program.run(&["init"]).ok();
    program.run(&["backup", "--image", text, "--all-blocks"]).ok();
    let part = fs::read(&path).unwrap()[START..][..PART_BYTES].to_vec();
    Some((program, part))
}

fn restore(program: &Program, arguments: &[&str]) -> Value {
    let ended = program.run(&[&["restore", "--json", "--image", PART], arguments].concat()).ok();
    json_lines(&ended.stdout).into_iter().find(|line| line["type"] == "summary").unwrap()
}

fn at(program: &Program, name: &str) -> PathBuf {
    program.scratch().join(name)
}

#[test]
fn one_comes_back_alone() {
    let Some((program, part)) = backed_up() else { return };
    let would = restore(&program, &["part.img", "--dry-run"]);
    assert!(!at(&program, "part.img").exists());
    let done = restore(&program, &["part.img", "--verify"]);
    assert!(fs::read(at(&program, "part.img")).unwrap() == part);
    assert_eq!((&done["verified"], &done["part"], &done["bytes"]), (&true.into(), &1.into(), &PART_BYTES.into()));
    assert_eq!((&done["bytes_written"], &done["bytes_written"]), (&done["bytes_data"], &would["bytes_written"]));
    assert!(tool("e2fsck", &["-f", "-n", at(&program, "part.img").to_str().unwrap()]));

    // Something in the middle, and the last byte.
    let file = File::options().write(true).open(at(&program, "part.img")).unwrap();
    file.write_all_at(&noise(1, 100), 2 << 20).unwrap();
    file.write_all_at(&[8], PART_BYTES as u64 - 1).unwrap();
    drop(file);
    let done = restore(&program, &["part.img", "--delta", "--yes", "--verify"]);
    assert!(done["bytes_written"].as_u64().unwrap() <= 2 << 16, "{done}");
    assert_eq!(done["verified"], true, "{done}");
    assert!(fs::read(at(&program, "part.img")).unwrap() == part);

    if tool("qemu-img", &["--version"]) {
        let told = program.run(&["restore", "--image", PART, "part.qcow2"]).ok().stdout;
        assert!(told.contains("of sda.img to part.qcow2"), "{told}");
        let (raw, qcow2) = (at(&program, "part.img"), at(&program, "part.qcow2"));
        assert!(tool("qemu-img", &["compare", raw.to_str().unwrap(), qcow2.to_str().unwrap()]));
    }
}

#[test]
fn one_goes_to_a_device() {
    let Some((program, part)) = backed_up() else { return };
    let file = at(&program, "device");
    let before = noise(5, PART_BYTES + 4096 - 512);
    fs::write(&file, &before).unwrap();
    let Some(device) = Loop::attach(&file, &[]) else { return };
    program.run(&["restore", "--image", PART, &device.0]).fails(1);
    let told = program.run(&["restore", "--image", PART, &device.0, "--yes", "--verify"]).ok();
    assert!(told.stderr.contains("larger than the partition"), "{}", told.stderr);
    let point = at(&program, "point");
    fs::create_dir(&point).unwrap();
    if tool("mount", &[&device.0, point.to_str().unwrap()]) {
        let mounted = Mounted(&point);
        let ended = program.run(&["restore", "--image", PART, &device.0, "--yes"]).fails(1);
        assert!(ended.stderr.contains("is mounted at"), "{}", ended.stderr);
        drop(mounted);
    } else {
        let now = fs::read(&device.0).unwrap();
        assert!(now[..PART_BYTES] == part && now[PART_BYTES..] == before[PART_BYTES..]);
    }
    drop(device);
    fs::write(&file, noise(5, 1 << 20)).unwrap();
    let Some(small) = Loop::attach(&file, &[]) else { return };
    let ended = program.run(&["restore", "--image", PART, &small.0, "--yes"]).fails(15);
    assert!(ended.stderr.contains("are needed"), "{}", ended.stderr);
}

#[test]
fn an_unknown_one_is_told_which_there_are() {
    let Some((program, _)) = backed_up() else { return };
    for command in [&["restore", "--image", "latest:/sda.img!/9", "x.img"][..], &["ls", "latest:/sda.img!/9"]] {
        let ended = program.run(command).fails(13);
        assert!(ended.stderr.contains("has no part '9'; it has: 1 Linux"), "{}", ended.stderr);
    }
    program.run(&["restore", "--image", "latest:/sda.img!/1/home", "x.img"]).fails(2);
    program.run(&["restore", "--image", "latest:/other.img!/1", "x.img"]).fails(13);
}

#[test]
fn one_is_a_drive() {
    let Some((program, _)) = backed_up() else { return };
    let point = at(&program, "drive");
    let letter = b"Dear Charles\n";
    for (path, file) in [(PART, "home/ada/letter.txt"), ("latest:/sda.img!/1/home", "ada/letter.txt")] {
        program.run(&["mount", path, point.to_str().unwrap()]).ok();
        assert_eq!(fs::read(point.join(file)).unwrap(), letter, "{path}");
        let names = |path: PathBuf| -> Vec<_> {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let first = file.split('/').next().unwrap();
        assert!(names(point.clone()).iter().any(|name| name == first), "{path}");
        assert_eq!(names(point.join(first).join("..")), names(point.clone()), "{path}");
        program.run(&["umount", point.to_str().unwrap()]).ok();
    }
    let ended = program.run(&["mount", "latest:/sda.img!/1/home/ada/letter.txt", point.to_str().unwrap()]).fails(13);
    assert!(ended.stderr.contains("only those open as drives"), "{}", ended.stderr);
}

/// In a container nothing lies where the table of partitions says.
#[test]
fn one_that_nobody_knows_comes_out_of_its_container() {
    if !tool("qemu-img", &["--version"]) {
        return;
    }
    let program = Program::new();
    let (raw, image) = (at(&program, "disk.raw"), at(&program, "vm/disk.qcow2"));
    fs::create_dir(at(&program, "vm")).unwrap();
    let mut bytes = noise(4, 8 << 20);
    bytes[446..512].fill(0);
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..][..4].copy_from_slice(&2048u32.to_le_bytes());
    bytes[446 + 12..][..4].copy_from_slice(&8192u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[3 << 20..4 << 20].fill(0);
    fs::write(&raw, &bytes).unwrap();
    assert!(tool("qemu-img", &["convert", "-c", "-O", "qcow2", raw.to_str().unwrap(), image.to_str().unwrap()]));
    program.run(&["init"]).ok();
    program.run(&["backup", at(&program, "vm").to_str().unwrap()]).ok();

    let part = &bytes[1 << 20..5 << 20];
    let path = format!("latest:{}", image.to_str().unwrap());
    assert!(program.command(&["cat", &format!("{path}!/1")]).output().unwrap().stdout == part);
    let point = at(&program, "drive");
    program.run(&["mount", &path, point.to_str().unwrap()]).ok();
    let shown = fs::read_dir(&point).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read(&shown).unwrap() == part);
    let mut end = [0; 100];
    assert_eq!(File::open(&shown).unwrap().read_at(&mut end, (4 << 20) - 50).unwrap(), 50);
    assert!(part.ends_with(&end[..50]));
    program.run(&["umount", point.to_str().unwrap()]).ok();
}
