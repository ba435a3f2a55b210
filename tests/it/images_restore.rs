//! Disks backed up and brought back with the real program: into files, onto devices, over what was there.

use crate::house::noise;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

const DISK_BYTES: u64 = 24 << 20;
/// Where the partition begins, and how long it is.
pub(crate) const PART: (u64, u64) = (1 << 20, 20 << 20);

/// A tree to be put on a disk.
fn tree(program: &Program) -> PathBuf {
    let tree = program.scratch().join("tree");
    fs::create_dir_all(tree.join("home/ada/deep")).unwrap();
    fs::write(tree.join("home/ada/letter.txt"), "Dear Charles\n").unwrap();
    fs::write(tree.join("home/ada/deep/noise"), noise(7, 3 << 20)).unwrap();
    fs::write(tree.join("home/ada/empty"), "").unwrap();
    fs::hard_link(tree.join("home/ada/letter.txt"), tree.join("home/again.txt")).unwrap();
    std::os::unix::fs::symlink("ada/letter.txt", tree.join("home/link")).unwrap();
    let sparse = File::create(tree.join("home/sparse")).unwrap();
    sparse.set_len(6 << 20).unwrap();
    sparse.write_all_at(&noise(8, 5000), 4 << 20).unwrap();
    tree
}

pub(crate) fn tool(name: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(name);
    let ended = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match ended {
        Ok(status) => status.success(),
        Err(error) => {
            println!("skipped: cannot start {name}: {error}");
            false
        }
    }
}

/// A disk with one partition that holds the tree, and noise in front of it.
pub(crate) fn disk(program: &Program) -> Option<PathBuf> {
    let (tree, path) = (tree(program), program.scratch().join("sda.raw"));
    let file = File::create(&path).unwrap();
    file.set_len(DISK_BYTES).unwrap();
    let mut sector = [0u8; 512];
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&((PART.0 / 512) as u32).to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&((PART.1 / 512) as u32).to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&sector, 0).unwrap();
    file.write_all_at(&noise(9, 100_000), 300_000).unwrap();
    let (text, offset) = (path.to_str().unwrap(), format!("offset={}", PART.0));
    let kib = format!("{}k", PART.1 >> 10);
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap(), "-E", &offset, text, &kib]).then_some(path)
}

/// A repository with a snapshot of a disk.
pub(crate) fn backed_up(more: &[&str]) -> Option<(Program, PathBuf)> {
    let program = Program::new();
    let disk = disk(&program)?;
    program.run(&["init"]).ok();
    program.run(&[&["backup", "--image", disk.to_str().unwrap()], more].concat()).ok();
    Some((program, disk))
}

fn restore(program: &Program, arguments: &[&str]) -> Ended {
    program.run(&[&["restore", "--image", "latest", "--json"], arguments].concat())
}

fn summary(ended: Ended) -> Value {
    json_lines(&ended.stdout).into_iter().find(|line| line["type"] == "summary").unwrap()
}

fn number(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap()
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

#[test]
fn a_disk_comes_back_as_it_was() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let target = program.scratch().join("back.img");
    let back = target.to_str().unwrap();
    let told = program.run(&["restore", "--image", "latest", back, "--verify"]).ok().stdout;
    assert!(told.contains("sda.img") && told.contains("24 MiB") && told.contains("found equal"), "{told}");
    assert_same(&disk, &target);
    let found = fs::metadata(&target).unwrap();
    assert!(found.blocks() * 512 < DISK_BYTES / 2, "{} blocks", found.blocks());
    assert_eq!(found.mode() & 0o777, 0o600);

    let exists = restore(&program, &["back.img"]).fails(1);
    assert!(exists.stderr.contains("is there already") && exists.stderr.contains("--delta"), "{}", exists.stderr);
    // All of it again, over a file that is longer than the disk.
    fs::write(&target, noise(3, (DISK_BYTES + 12_345) as usize)).unwrap();
    let done = summary(restore(&program, &["back.img", "--yes", "--verify"]).ok());
    assert_same(&disk, &target);
    assert_eq!((&done["verified"], &done["bytes"]), (&true.into(), &DISK_BYTES.into()));
    assert_eq!(done["bytes_written"], done["bytes_data"]);
}

#[test]
fn without_unused_blocks_the_files_are_the_same() {
    let Some((program, disk)) = backed_up(&[]) else { return };
    let target = program.scratch().join("back.img");
    let done = summary(restore(&program, &["back.img", "--verify"]).ok());
    assert_eq!(done["verified"], true);
    let part = |path: &Path| {
        let text = path.with_extension("part");
        let mut bytes = vec![0; PART.1 as usize];
        File::open(path).unwrap().read_exact_at(&mut bytes, PART.0).unwrap();
        fs::write(&text, bytes).unwrap();
        text
    };
    assert!(tool("e2fsck", &["-f", "-n", part(&target).to_str().unwrap()]));
    for path in ["/home/ada/letter.txt", "/home/ada/deep/noise", "/home/sparse"] {
        let cat = |path_of: &Path| {
            let cat = format!("cat {path}");
            Command::new("debugfs").args(["-R", &cat, part(path_of).to_str().unwrap()]).output().unwrap().stdout
        };
        let expected = fs::read(program.scratch().join(format!("tree{path}"))).unwrap();
        assert!(cat(&target) == expected && cat(&disk) == expected, "{path}");
    }
}

#[test]
fn delta_writes_only_what_differs() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let target = program.scratch().join("back.img");
    fs::copy(&disk, &target).unwrap();
    let delta = |more: &[&str]| summary(restore(&program, &[&["back.img", "--delta", "--yes"], more].concat()).ok());
    let done = delta(&["--verify"]);
    assert_eq!((number(&done, "bytes_written"), number(&done, "bytes_zeroed")), (0, 0));
    assert_eq!(number(&done, "bytes_same"), number(&done, "bytes_data"));

    // One byte of data, one where nothing is, and the end cut off.
    let file = File::options().write(true).open(&target).unwrap();
    file.write_all_at(b"!", 300_017).unwrap();
    file.write_all_at(b"!", DISK_BYTES - 70_000).unwrap();
    file.set_len(DISK_BYTES - 1000).unwrap();
    let before = fs::read(&target).unwrap();
    let would = delta(&["--dry-run"]);
    assert!(fs::read(&target).unwrap() == before, "a dry run changes nothing");
    let done = delta(&["--verify"]);
    for key in ["bytes_written", "bytes_zeroed"] {
        assert_eq!((number(&would, key), number(&done, key)), (65_536, 65_536), "{key}");
    }
    assert_eq!(number(&done, "bytes_same"), number(&done, "bytes_data") - 65_536);
    // Nothing but the one chunk was fetched.
    assert!(number(&done["store"], "bytes_read") < 1 << 20, "{done}");
    assert_same(&disk, &target);
}

#[test]
fn a_dry_run_writes_nothing() {
    let Some((program, _)) = backed_up(&[]) else { return };
    let done = summary(restore(&program, &["back.img", "--dry-run"]).ok());
    assert!(number(&done, "bytes_written") > 3 << 20 && done["dry_run"] == true, "{done}");
    assert!(!program.scratch().join("back.img").exists());
}

#[test]
fn refusals_say_why() {
    let Some((program, disk)) = backed_up(&[]) else { return };
    let refused = |arguments: &[&str], code, words: &[&str]| {
        let ended = restore(&program, arguments).fails(code);
        for word in words {
            assert!(ended.stderr.contains(word), "{arguments:?}: {word}: {}", ended.stderr);
        }
    };
    refused(&["/dev/no-such-disk"], 1, &["there is no device", "lsblk"]);
    refused(&["/dev/null"], 1, &["neither a block device nor a file"]);
    refused(&["."], 1, &["neither a block device nor a file"]);
    refused(&["nowhere/back.img"], 1, &["nowhere/back.img"]);
    refused(&["x.qcow2", "--format", "qcow2", "--delta"], 2, &["--delta"]);
    for wrong in [
        &["restore", "--image", "latest"][..],
        &["restore", "latest", "x"],
        &["restore", "latest", "--to", "x", "--delta"],
        &["restore", "--image", "latest", "x", "--to", "y"],
        &["restore", "--image", "latest", "x", "--exclude", "y"],
    ] {
        program.run(wrong).fails(2);
    }
    let missing = program.run(&["restore", "--image", "latest:/sdb.img", "x"]).fails(13);
    assert!(missing.stderr.contains("has no"), "{}", missing.stderr);

    let other = program.scratch().join("sdb.raw");
    fs::write(&other, noise(1, 200_000)).unwrap();
    program.run(&["backup", "--image", disk.to_str().unwrap(), other.to_str().unwrap()]).ok();
    let several = program.run(&["restore", "--image", "latest", "x"]).fails(2);
    assert!(several.stderr.contains(":/sda.img") && several.stderr.contains(":/sdb.img"), "{}", several.stderr);
    program.run(&["restore", "--image", "latest:/sdb.img", "x", "--verify"]).ok();
    assert_same(&other, &program.scratch().join("x"));

    let plain = program.scratch().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file"), "x").unwrap();
    program.run(&["backup", plain.to_str().unwrap()]).ok();
    let ended = program.run(&["restore", "--image", "latest", "y"]).fails(13);
    assert!(ended.stderr.contains("holds no disks"), "{}", ended.stderr);
    let file = format!("latest:{}/file", plain.canonicalize().unwrap().display());
    let ended = program.run(&["restore", "--image", &file, "y"]).fails(1);
    assert!(ended.stderr.contains("is no disk"), "{}", ended.stderr);
}

#[test]
fn disks_of_every_small_size_come_back() {
    let program = Program::new();
    program.run(&["init"]).ok();
    for (number, bytes) in
        [vec![], vec![7; 1], noise(1, 513), vec![0; 5000], noise(2, 65_536), noise(3, 65_537)].into_iter().enumerate()
    {
        let (from, to) = (program.scratch().join(format!("d{number}.raw")), format!("back{number}"));
        fs::write(&from, &bytes).unwrap();
        program.run(&["backup", "--image", from.to_str().unwrap()]).ok();
        program.run(&["restore", "--image", "latest", &to, "--verify"]).ok();
        assert!(fs::read(program.scratch().join(to)).unwrap() == bytes, "{} bytes", bytes.len());
    }
}

#[test]
fn an_ordinary_restore_brings_the_image_without_its_description() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    // As root, too: the attribute is none of the system's.
    program.run(&["restore", "latest", "--to", "files", "--verify"]).ok();
    let file = program.scratch().join("files/sda.img");
    assert_same(&disk, &file);
    let mut names = [0u8; 4096];
    let len = rustix::fs::listxattr(&file, &mut names[..]).unwrap();
    assert!(!names[..len].windows(7).any(|name| name == b"bygone."));
}

#[test]
fn a_lost_pack_costs_what_was_in_it() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let mut packs: Vec<PathBuf> = Vec::new();
    let mut pending = vec![program.repository()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => pending.push(path),
                false if path.components().any(|part| part.as_os_str() == "packs") => packs.push(path),
                false => {}
            }
        }
    }
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    let len = fs::metadata(largest).unwrap().len();
    File::options().write(true).open(largest).unwrap().write_all_at(&[0x55; 4096], len / 2).unwrap();
    let ended = restore(&program, &["back.img", "--verify"]).fails(3);
    assert!(ended.stderr.contains("cannot be read from the repository"), "{}", ended.stderr);
    let done = summary(ended);
    let lost = done["lost"].as_array().unwrap();
    assert!(!lost.is_empty() && done["verified"] == false, "{done}");
    let (old, new) = (fs::read(&disk).unwrap(), fs::read(program.scratch().join("back.img")).unwrap());
    let mut expected = old;
    for range in lost {
        let (start, end) = (range[0].as_u64().unwrap() as usize, range[1].as_u64().unwrap() as usize);
        expected[start..end].fill(0);
    }
    assert!(new == expected);
}

#[test]
fn qcow2_files_for_virtual_machines() {
    if !tool("qemu-img", &["--version"]) {
        return;
    }
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let target = program.scratch().join("vm.qcow2");
    fs::write(&target, "something else").unwrap();
    restore(&program, &["vm.qcow2", "--format", "qcow2"]).fails(1);
    let refused = |words: &str| {
        let ended = restore(&program, &["vm.qcow2", "--format", "qcow2", "--yes"]).fails(1);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert_eq!(fs::read_to_string(&target).unwrap(), "something else");
    };
    // As a virtual machine does it.
    let held = File::options().read(true).write(true).open(&target).unwrap();
    rustix::fs::fcntl_lock(&held, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
    refused("is in use");
    drop(held);
    if let Some(_device) = Loop::attach(&target, &[]) {
        refused("attached to");
    }
    program.run(&["restore", "--image", "latest", "vm.qcow2", "--format", "qcow2", "--verify", "--yes"]).ok();
    let (disk, made) = (disk.to_str().unwrap(), target.to_str().unwrap());
    assert!(tool("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", disk, made]));
    let hidden =
        fs::read_dir(program.scratch()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(hidden.filter(|name| name.starts_with(".bygone-")).count(), 0);

    let mut alone = program.command(&["restore", "--image", "latest", "y.qcow2", "--format", "qcow2"]);
    let output = alone.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("qemu-utils"));
}

/// Everything that should be equal of two trees.
pub(crate) fn listing(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![top.to_owned()];
    let mut inodes: Vec<u64> = Vec::new();
    while let Some(folder) = pending.pop() {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let (name, data) =
                (path.strip_prefix(top).unwrap().display().to_string(), path.symlink_metadata().unwrap());
            if name == "lost+found" {
                continue;
            }
            let content = match () {
                () if data.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                () if data.is_file() => blake3::hash(&fs::read(&path).unwrap()).to_string(),
                () => String::new(),
            };
            let links = if data.is_file() { data.nlink() } else { 0 };
            if links > 1 && !inodes.contains(&data.ino()) {
                inodes.push(data.ino());
            }
            let group = if links > 1 { inodes.iter().position(|inode| *inode == data.ino()) } else { None };
            let time = if data.is_symlink() { 0 } else { data.mtime() };
            found.push(format!("{name} {:o} {time} {links} {group:?} {content}", data.mode()));
            if data.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn folders_and_files_from_inside_of_a_disk() {
    let Some((program, _)) = backed_up(&[]) else { return };
    let tree = program.scratch().join("tree");
    let out = |name: &str| program.scratch().join(name);
    let done = program.run(&["restore", "latest:/sda.img!/1", "--to", "all", "--verify", "--json"]).ok();
    assert_eq!(listing(&out("all")), listing(&tree));
    let done = summary(done);
    // Four files of content, one of them empty; and lost+found.
    assert_eq!((number(&done, "verified"), number(&done, "problems")), (4, 0), "{done}");
    let sparse = fs::metadata(out("all/home/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());

    // Once more: all is there. Then one file is changed, one is too many.
    let again = |more: &[&str]| {
        let arguments = ["restore", "latest:/sda.img!/1", "--to", "all", "--json"];
        summary(program.run(&[&arguments[..], more].concat()).ok())
    };
    assert_eq!(number(&again(&[]), "written"), 0);
    fs::write(out("all/home/ada/letter.txt"), "Dear Babbage\n").unwrap();
    fs::write(out("all/home/extra"), "").unwrap();
    let would = again(&["--dry-run", "--delete"]);
    let done = again(&["--delete"]);
    for key in ["written", "removed"] {
        assert_eq!(number(&would, key), number(&done, key), "{key}");
    }
    assert_eq!(number(&done, "removed"), 1);
    assert_eq!(fs::read_to_string(out("all/home/ada/letter.txt")).unwrap(), "Dear Charles\n");
    assert!(!out("all/home/extra").exists());

    program.run(&["restore", "latest:/sda.img!/1/home/ada/letter.txt", "--to", "one"]).ok();
    assert_eq!(fs::read_to_string(out("one/letter.txt")).unwrap(), "Dear Charles\n");
    program.run(&["restore", "latest:/sda.img!/1/home", "--to", "some", "--include", "deep"]).ok();
    assert_eq!(listing(&out("some")).len(), 3, "{:?}", listing(&out("some")));
    program
        .run(&["restore", "latest:/sda.img!/1/home", "--to", "others", "--exclude", "ada", "--exclude", "sparse"])
        .ok();
    assert_eq!(listing(&out("others")).len(), 2, "{:?}", listing(&out("others")));
    program.run(&["restore", "latest:/sda.img!/1/nowhere", "--to", "x"]).fails(13);
    program.run(&["restore", "latest:/sda.img!/1", "--original"]).fails(2);
    program.run(&["restore", "latest:/sda.img!", "--to", "x"]).fails(2);
}

/// A loop device, detached at the end.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn attach(file: &Path, more: &[&str]) -> Option<Loop> {
        let mut command = Command::new("losetup");
        let output = command.args(["--find", "--show"]).args(more).arg(file).output();
        let name = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        if name.is_none() {
            println!("skipped: no loop devices here");
        }
        name.map(|name| Loop(String::from_utf8(name).unwrap().trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("umount", &[&self.0]);
        tool("losetup", &["-d", &self.0]);
    }
}

#[test]
fn devices_are_written_if_nobody_uses_them() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let file = program.scratch().join("device");
    let make = |bytes: u64| {
        fs::write(&file, noise(5, bytes as usize)).unwrap();
        Loop::attach(&file, &[])
    };
    let Some(device) = make(DISK_BYTES + (1 << 20)) else { return };
    let ended = restore(&program, &[&device.0]).fails(1);
    assert!(ended.stderr.contains("not confirmed"), "{}", ended.stderr);
    // The file behind it is not to be written to meanwhile, either.
    let ended = restore(&program, &["device", "--yes"]).fails(1);
    assert!(ended.stderr.contains("attached to") && ended.stderr.contains("losetup -d"), "{}", ended.stderr);

    let done = summary(restore(&program, &[&device.0, "--yes", "--verify"]).ok());
    assert_eq!(number(&done, "bytes_behind"), 1 << 20);
    assert!(number(&done, "bytes_zeroed") > 1 << 20 && done["verified"] == true, "{done}");
    let done = summary(restore(&program, &[&device.0, "--yes", "--delta"]).ok());
    assert_eq!((number(&done, "bytes_written"), number(&done, "bytes_zeroed")), (0, 0));
    drop(device);
    let (found, expected) = (fs::read(&file).unwrap(), fs::read(&disk).unwrap());
    assert!(found[..expected.len()] == expected, "the disk differs");
    assert!(found[expected.len()..] == noise(5, found.len())[expected.len()..], "what is behind it was touched");

    let Some(small) = make(DISK_BYTES - 4096) else { return };
    let ended = restore(&program, &[&small.0, "--yes"]).fails(15);
    let (has, needs) = ((DISK_BYTES - 4096).to_string(), DISK_BYTES.to_string());
    assert!(ended.stderr.contains(&has) && ended.stderr.contains(&needs), "{}", ended.stderr);
    drop(small);
    let Some(coarse) = Loop::attach(&file, &["--sector-size", "4096"]) else { return };
    fs::write(&file, noise(5, DISK_BYTES as usize)).unwrap();
    tool("losetup", &["--set-capacity", &coarse.0]);
    let ended = restore(&program, &[&coarse.0, "--yes"]).fails(1);
    assert!(ended.stderr.contains("sectors of 4096 bytes"), "{}", ended.stderr);
}

#[test]
fn mounted_devices_are_refused() {
    let Some((program, _)) = backed_up(&["--all-blocks"]) else { return };
    let (file, point) = (program.scratch().join("device"), program.scratch().join("point"));
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&point).unwrap();
    let Some(device) = Loop::attach(&file, &[]) else { return };
    if !tool("mke2fs", &["-q", "-F", &device.0]) || !tool("mount", &["-r", &device.0, point.to_str().unwrap()]) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    for target in [&device.0[..], "device"] {
        let ended = restore(&program, &[target, "--yes"]).fails(1);
        let mounted = format!("mounted at '{}'", point.canonicalize().unwrap().display());
        assert!(ended.stderr.contains(&mounted) && ended.stderr.contains("unmount it"), "{}", ended.stderr);
    }
    assert!(tool("umount", &[&device.0]));
    restore(&program, &[&device.0, "--yes"]).ok();
}

#[test]
fn a_full_disk_leaves_something_incomplete() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let small = program.scratch().join("small");
    fs::create_dir(&small).unwrap();
    let small = small.to_str().unwrap();
    if !tool("mount", &["-t", "tmpfs", "-o", "size=2M", "none", small]) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let ended = restore(&program, &["small/back.img"]).fails(15);
    let has_grown = tool("mount", &["-o", "remount,size=64M", small]);
    let resumed = restore(&program, &["small/back.img", "--delta", "--yes", "--verify"]);
    let same = fs::read(program.scratch().join("small/back.img")).unwrap() == fs::read(disk).unwrap();
    assert!(tool("umount", &[small]) && has_grown);
    assert!(ended.stderr.contains("is incomplete") && ended.stderr.contains("--delta --yes"), "{}", ended.stderr);
    let done = summary(resumed.ok());
    assert!(number(&done, "bytes_same") > 0 && same, "{done}");
}

#[test]
fn a_damaged_image_gives_what_it_can() {
    let program = Program::new();
    let Some(disk) = disk(&program) else { return };
    let inside = format!("{}?offset={}", disk.display(), PART.0);
    let change = |command: &str| tool("debugfs", &["-w", "-R", command, &inside]);
    // A folder within itself, and a file whose inode is gone.
    assert!(change("link /home /home/ada/deep/again") && change("clri /home/ada/empty"));
    program.run(&["init"]).ok();
    program.run(&["backup", "--image", disk.to_str().unwrap()]).ok();
    let ended = program.run(&["restore", "latest:/sda.img!/1", "--to", "all"]).fails(3);
    let problems: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("problem: ")).collect();
    let told = |path: &str, why: &str| problems.iter().any(|line| line.contains(path) && line.contains(why));
    assert!(told("/home/ada/deep/again", "within itself"), "{problems:?}");
    assert!(told("/home/ada/empty", "cannot be read") || !program.scratch().join("all/home/ada/empty").exists());
    assert_eq!(fs::read_to_string(program.scratch().join("all/home/ada/letter.txt")).unwrap(), "Dear Charles\n");
}

#[test]
fn an_interrupted_restore_says_what_it_leaves() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let target = program.scratch().join("back.img");
    let mut command = program.command(&["restore", "--image", "latest", "back.img", "--limit-download", "300K"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !target.exists() {
        std::thread::yield_now();
    }
    assert!(tool("kill", &["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("is incomplete") && told.contains("interrupted"), "{told}");
    restore(&program, &["back.img", "--delta", "--yes", "--verify"]).ok();
    assert_same(&disk, &target);
}
