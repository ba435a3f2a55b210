//! Disks as sources, with the real program: what is read of them, what stands still, and what is told about them.

use crate::house::noise;
use crate::images_restore::Loop;
use crate::images_restore::PART;
use crate::images_restore::backed_up;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

const DISK_BYTES: usize = 8 << 20;

/// A program with a repository, and a raw image of noise.
fn with_image() -> (Program, std::path::PathBuf) {
    let program = Program::new();
    program.run(&["init"]).ok();
    let disk = program.scratch().join("disk.raw");
    fs::write(&disk, noise(21, DISK_BYTES)).unwrap();
    (program, disk)
}

fn backup(program: &Program, arguments: &[&str]) -> Value {
    let ended = program.run(&[&["backup", "--json", "--image"], arguments].concat()).ok();
    json_lines(&ended.stdout).into_iter().find(|line| line["type"] == "summary").unwrap()
}

fn assert_comes_back(program: &Program, snapshot: &str, expected: &[u8]) {
    program.run(&["restore", "--image", snapshot, "back.img", "--yes", "--verify"]).ok();
    assert!(fs::read(program.scratch().join("back.img")).unwrap() == expected);
}

#[test]
fn a_dirty_bitmap_tells_what_to_read() {
    if !tool("qemu-img", &["--version"]) {
        return;
    }
    let (program, raw) = with_image();
    let image = program.scratch().join("vm.qcow2");
    let (raw_text, text) = (raw.to_str().unwrap(), image.to_str().unwrap());
    assert!(tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", raw_text, text]));
    assert!(tool("qemu-img", &["bitmap", "--add", "-g", "65536", text, "since"]));
    backup(&program, &[text]);

    assert!(tool("qemu-io", &["-f", "qcow2", "-c", "write -P 0x5a 1M 64k", "-c", "write -P 0x5b 5000k 4k", text]));
    let mut expected = fs::read(&raw).unwrap();
    expected[1 << 20..][..64 << 10].fill(0x5a);
    expected[5000 << 10..][..4 << 10].fill(0x5b);
    let done = backup(&program, &[text, "--bitmap", "since"]);
    assert_eq!(done["bytes_read"], 2 * (64 << 10), "{done}");
    assert_comes_back(&program, "latest", &expected);

    assert!(tool("qemu-img", &["bitmap", "--disable", text, "since"]));
    let disabled = program.run(&["backup", "--image", text, "--bitmap", "since"]).fails(1);
    assert!(disabled.stderr.contains("lacks writes: it is disabled"), "{}", disabled.stderr);
    assert!(
        disabled.stderr.contains("--enable") && disabled.stderr.contains("without --bitmap"),
        "{}",
        disabled.stderr
    );
    let missing = program.run(&["backup", "--image", text, "--bitmap", "other"]).fails(1);
    assert!(missing.stderr.contains("dirty bitmap 'other'") && missing.stderr.contains("qemu-img info"));
    let raw = program.run(&["backup", "--image", raw_text, "--bitmap", "since"]).fails(1);
    assert!(raw.stderr.contains("not supported") || raw.stderr.contains("cannot be used"), "{}", raw.stderr);
}

/// Names in the snapshot depend on the order of the arguments; the content of a disk does not.
#[test]
fn unchanged_blocks_come_from_the_same_disk() {
    if !tool("qemu-img", &["--version"]) {
        return;
    }
    let program = Program::new();
    program.run(&["init"]).ok();
    let image = |folder: &str| program.scratch().join(folder).join("disk.qcow2").to_str().unwrap().to_owned();
    let mut raws = Vec::new();
    for (folder, seed) in [("a", 31), ("b", 32), ("c", 33)] {
        let raw = program.scratch().join(format!("{folder}.raw"));
        fs::create_dir(program.scratch().join(folder)).unwrap();
        raws.push(noise(seed, DISK_BYTES));
        fs::write(&raw, raws.last().unwrap()).unwrap();
        assert!(tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", raw.to_str().unwrap(), &image(folder)]));
        assert!(tool("qemu-img", &["bitmap", "--add", "-g", "65536", &image(folder), "since"]));
    }
    let (a, b, c) = (image("a"), image("b"), image("c"));
    backup(&program, &[&a, &b]);
    let done = backup(&program, &[&b, &a, "--bitmap", "since"]);
    assert_eq!(done["bytes_read"], 0, "{done}");
    let is = |name: &str, expected: &[u8]| assert_comes_back(&program, &format!("latest:/{name}"), expected);
    is("disk.img", &raws[1]);
    is("disk 2.img", &raws[0]);
    // One that has never been seen is read, whatever its name and bitmap.
    let done = backup(&program, &[&c, &a, "--bitmap", "since", "--parent", "latest"]);
    assert_eq!(done["bytes_read"], DISK_BYTES, "{done}");
    is("disk.img", &raws[2]);
    is("disk 2.img", &raws[0]);
}

#[test]
fn a_command_makes_a_disk_stand_still() {
    let (program, disk) = with_image();
    let before = fs::read(&disk).unwrap();
    let command = "case $BYGONE_DO in
        make) cp \"$BYGONE_SOURCE\" still.copy; printf changed | dd of=\"$BYGONE_SOURCE\" conv=notrunc 2>/dev/null
              echo \"$PWD/still.copy\";;
        remove) rm \"$BYGONE_SNAPSHOT\";;
    esac";
    let done = backup(&program, &[disk.to_str().unwrap(), "--snapshot-with", command]);
    assert!(!program.scratch().join("still.copy").exists());
    assert!(fs::read(&disk).unwrap() != before);
    // Under the disk's own name and path.
    let told = done["snapshot"].to_string();
    assert!(told.contains("disk.raw") && !told.contains("still.copy"), "{told}");
    assert_comes_back(&program, "latest:/disk.img", &before);

    let failing = ["backup", "--image", disk.to_str().unwrap(), "--snapshot-with", "echo no room >&2; false"];
    let ended = program.run(&failing).fails(1);
    assert!(ended.stderr.contains("no snapshot can be made") && ended.stderr.contains("no room"), "{}", ended.stderr);
    program.run(&["backup", program.scratch().to_str().unwrap(), "--snapshot-with", "true"]).fails(2);
}

#[test]
fn btrfs_makes_an_image_file_stand_still() {
    let (program, disk) = with_image();
    let volume = program.scratch().join("volume.img");
    File::create(&volume).unwrap().set_len(128 << 20).unwrap();
    let point = program.scratch().join("btrfs");
    fs::create_dir(&point).unwrap();
    let (volume, point_text) = (volume.to_str().unwrap(), point.to_str().unwrap());
    if !tool("mkfs.btrfs", &["-q", volume]) || !tool("mount", &["-o", "loop", volume, point_text]) {
        return;
    }
    let _mounted = Mounted(&point);
    fs::create_dir(point.join("vm")).unwrap();
    let image = point.join("vm/disk.raw");
    fs::copy(&disk, &image).unwrap();
    backup(&program, &[image.to_str().unwrap(), "--snapshot-with", "btrfs"]);
    assert_comes_back(&program, "latest", &fs::read(&disk).unwrap());
    let left: Vec<_> = fs::read_dir(&point).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["vm"]);
    let elsewhere = program.run(&["backup", "--image", disk.to_str().unwrap(), "--snapshot-with", "btrfs"]).fails(1);
    assert!(elsewhere.stderr.contains("Btrfs subvolume"), "{}", elsewhere.stderr);
}

/// Unmounted when dropped.
pub(crate) struct Mounted<'a>(pub(crate) &'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: a process that another test is just starting may hold a file of the drive until it has begun.
        tool("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

/// LVM and ZFS are not everywhere: programs of their names stand in for them, and write down what they are asked.
#[test]
fn lvm_and_zfs_are_asked_the_right_things() {
    let (program, disk) = with_image();
    let tools = program.scratch().join("tools");
    fs::create_dir(&tools).unwrap();
    let said = program.scratch().join("said");
    let stand_in = |name: &str, more: &str| {
        let (draft, path) = (program.scratch().join("draft"), tools.join(name));
        fs::write(&draft, format!("#!/bin/sh\necho {name} \"$@\" >>{}\n{more}\n", said.display())).unwrap();
        // A file that this process ever had open for writing may be held open by a child of another thread, and not start.
        assert!(tool("install", &["-m", "755", draft.to_str().unwrap(), path.to_str().unwrap()]));
    };
    let folder = disk.parent().unwrap().canonicalize().unwrap();
    stand_in("zfs", &format!("case $1 in list) printf 'pool/vm\\t%s\\n' '{}';; esac", folder.display()));
    let search = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let run = |method: &str| {
        let mut command = program.command(&["backup", "--image", disk.to_str().unwrap(), "--snapshot-with", method]);
        let output = command.env("PATH", &search).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // The snapshot never appears, as nobody made one; what was begun is removed again.
    let (code, stderr) = run("zfs");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(".zfs/snapshot/bygone-"), "{stderr}");
    let asked = fs::read_to_string(&said).unwrap();
    let verbs: Vec<&str> = asked.lines().map(|line| line.split_inclusive('@').next().unwrap()).collect();
    let list = format!("zfs list -H -o name,mountpoint {}", disk.canonicalize().unwrap().display());
    assert_eq!(verbs, [list.as_str(), "zfs snapshot pool/vm@", "zfs destroy pool/vm@"]);

    fs::remove_file(&said).unwrap();
    stand_in("lvs", "echo '  vg0/root/'");
    stand_in("lvcreate", "case \"$*\" in *20%ORIGIN*) echo 'no room' >&2; exit 5;; *) exit 6;; esac");
    let (code, stderr) = run("lvm");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("'lvcreate' ended with exit status: 6"), "{stderr}");
    let asked = fs::read_to_string(&said).unwrap();
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].starts_with("lvcreate --yes --snapshot --permission r --name bygone-"), "{asked:?}");
    assert!(asked[1].ends_with("--extents 20%ORIGIN vg0/root") && asked[2].ends_with("--extents 100%FREE vg0/root"));
}

#[test]
fn snapshots_tell_what_is_on_a_disk() {
    let (program, disk) = with_image();
    let mut sector = [0u8; 512];
    sector[446 + 4] = 0x83;
    sector[446 + 8..][..8].copy_from_slice(&[0, 8, 0, 0, 0, 8, 0, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    File::options().write(true).open(&disk).unwrap().write_all_at(&sector, 0).unwrap();
    backup(&program, &[disk.to_str().unwrap()]);
    let listed = program.run(&["snapshots"]).ok().stdout;
    assert!(listed.contains("disk.img: MBR, 1 "), "{listed}");
    backup(&program, &[disk.to_str().unwrap(), "-m", "before the move"]);
    let listed = program.run(&["snapshots", "--latest", "1"]).ok().stdout;
    assert!(listed.contains("before the move") && !listed.contains("MBR"), "{listed}");
}

/// An ext4 in LUKS with `ada/secret` on it, in the scratch folder, beside files `right` and `wrong` with passphrases. `None` where it
/// cannot be made.
pub(crate) fn locked_ext4(program: &Program) -> Option<std::path::PathBuf> {
    let place = |name: &str| program.scratch().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(program.scratch().join("tree/ada")).unwrap();
    fs::write(program.scratch().join("tree/ada/secret"), "It is under the stone.\n").unwrap();
    fs::write(program.scratch().join("key"), "right").unwrap();
    fs::write(program.scratch().join("right"), "right\nand a remark\n").unwrap();
    fs::write(program.scratch().join("wrong"), "wrong\n").unwrap();
    let (tree, plain, locked) = (place("tree"), place("plain.raw"), place("locked.raw"));
    let key = format!("secret,id=key,file={}", place("key"));
    let convert = ["convert", "-f", "raw", "-O", "luks", "--object", &key, "-o", "key-secret=key,iter-time=10"];
    if !tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &tree, &plain, "8M"])
        || !tool("qemu-img", &[&convert[..], &[plain.as_str(), locked.as_str()]].concat())
    {
        return None;
    }
    Some(program.scratch().join("locked.raw"))
}

#[test]
fn a_passphrase_opens_what_is_encrypted() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let Some(locked) = locked_ext4(&program) else { return };
    let locked = locked.to_str().unwrap();
    backup(&program, &[locked]);
    let file = "latest:/locked.img!/1/ada/secret";
    for (passphrase, word) in [(&[][..], "--passphrase-file"), (&["--passphrase-file", "wrong"], "does not open")] {
        let ended = program.run(&[&["cat", file], passphrase].concat()).fails(1);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    let open = ["--passphrase-file", "right"];
    let run = |arguments: &[&str]| program.run(&[arguments, &open].concat()).ok().stdout;
    assert_eq!(run(&["cat", file]), "It is under the stone.\n");
    assert!(run(&["ls", "latest:/locked.img!/1/ada"]).contains("secret"));
    assert!(run(&["inspect", "--snapshot", "latest:/locked.img"]).contains("ext4"));
    assert!(run(&["inspect", locked]).contains("ext4"));
    run(&["restore", file, "--to", "out"]);
    assert_eq!(fs::read(program.scratch().join("out/secret")).unwrap(), b"It is under the stone.\n");
}

/// An encrypted disk is a folder of files on a drive, by whatever way the drive was asked for.
#[test]
fn a_passphrase_opens_the_disks_of_a_drive() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let tree = program.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("secret"), "It is under the stone.\n").unwrap();
    for (name, word) in [("key", "right"), ("right", "right\n"), ("wrong", "wrong\n")] {
        fs::write(program.scratch().join(name), word).unwrap();
    }
    let disk = program.scratch().join("vault.raw");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let (disk, key) = (disk.to_str().unwrap(), program.scratch().join("key"));
    let encrypt = ["reencrypt", "--encrypt", "--type", "luks2", "--reduce-device-size", "32M", "--batch-mode"];
    let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", key.to_str().unwrap(), disk];
    if !tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap(), disk, "30M"])
        || !tool("cryptsetup", &[encrypt, cheap].concat())
    {
        return;
    }
    backup(&program, &[disk]);
    let point = program.scratch().join("drive");
    let point_text = point.to_str().unwrap();
    for at in [&["latest"][..], &["latest:/vault.img"], &["latest:/vault.img!"]] {
        let with = |file| program.run(&[&["mount"], at, &[point_text, "--passphrase-file", file]].concat());
        let wrong = with("wrong").fails(1);
        assert!(wrong.stderr.contains("does not open"), "{at:?}: {}", wrong.stderr);
        with("right").ok();
        assert_eq!(fs::read(point.join("disk (ext4 in LUKS2)/secret")).unwrap(), b"It is under the stone.\n", "{at:?}");
        program.run(&["umount", point_text]).ok();
    }
    program.run(&["mount", point_text, "--passphrase-file", "right"]).ok();
    assert!(point.join("latest/disk (ext4 in LUKS2)/secret").exists());
    program.run(&["umount", point_text]).ok();
}

/// What a machine writes to changes while it is read.
#[test]
fn an_image_in_a_machine_is_not_backed_up_unasked() {
    let (program, disk) = with_image();
    let disk = disk.to_str().unwrap();
    let Ok(mut machine) = open_in_qemu(disk, &["-f", "raw"]) else { return };
    let ended = program.run(&["backup", "--image", disk]).fails(1);
    assert!(ended.stderr.contains("is open in a virtual machine"), "{}", ended.stderr);
    for way_out in ["shut the machine down", "--snapshot-with", "--live"] {
        assert!(ended.stderr.contains(way_out), "{}", ended.stderr);
    }
    let live = program.run(&["backup", "--image", disk, "--live"]).ok();
    assert!(live.stderr.contains("is open in a virtual machine"), "{}", live.stderr);
    drop(machine.stdin.take());
    machine.wait().unwrap();
    let quiet = program.run(&["backup", "--image", disk]).ok();
    assert!(!quiet.stderr.contains("virtual machine"), "{}", quiet.stderr);
    // Who only reads it changes nothing.
    let mut machine = open_in_qemu(disk, &["-f", "raw", "-r"]).unwrap();
    program.run(&["backup", "--image", disk]).ok();
    drop(machine.stdin.take());
    machine.wait().unwrap();
}

/// A program that has the image open until its input ends.
fn open_in_qemu(disk: &str, more: &[&str]) -> std::io::Result<Child> {
    let mut command = Command::new("qemu-io");
    command.args(more).arg(disk).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut machine = command.spawn()?;
    // It asks for a command when it has opened the image.
    let mut prompt = [0];
    machine.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    Ok(machine)
}

#[test]
fn options_about_folders_do_not_go_with_disks() {
    let (program, disk) = with_image();
    let disk = disk.to_str().unwrap();
    for option in [&["--exclude", "x"][..], &["--one-file-system"], &["--exclude-larger-than", "1M"]] {
        let ended = program.run(&[&["backup", "--image", disk], option].concat()).fails(2);
        assert!(ended.stderr.contains(option[0]) && ended.stderr.contains("--image"), "{}", ended.stderr);
        let ended = program.run(&[&["backup", "--stdin-name", "x"], option].concat()).fails(2);
        assert!(ended.stderr.contains(option[0]) && ended.stderr.contains("--stdin-name"), "{}", ended.stderr);
    }
}

/// What other programs make of the file that a drive shows.
#[test]
fn the_file_on_a_drive_is_a_disk_for_others() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
    let shown = point.join("sda.img");
    let (disk, shown_text) = (disk.to_str().unwrap(), shown.to_str().unwrap());
    assert_eq!(fs::metadata(&shown).unwrap().len(), fs::metadata(disk).unwrap().len());
    if tool("qemu-img", &["--version"]) {
        assert!(tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", disk, shown_text]));
        let socket = program.scratch().join("nbd");
        let served = format!("nbd+unix:///?socket={}", socket.display());
        // It ends with the one client that it serves.
        let serve = ["--fork", "--read-only", "--format=raw", "--socket", socket.to_str().unwrap(), shown_text];
        assert!(tool("qemu-nbd", &serve));
        assert!(tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", disk, &served]));
    }
    let (offset, bytes) = (PART.0.to_string(), PART.1.to_string());
    let part = ["--read-only", "--offset", &offset, "--sizelimit", &bytes];
    if let Some(device) = Loop::attach(&shown, &part) {
        let tree = program.scratch().join("kernel");
        fs::create_dir(&tree).unwrap();
        assert!(tool("mount", &["-o", "ro,noload", &device.0, tree.to_str().unwrap()]));
        let mounted = Mounted(&tree);
        assert_eq!(fs::read(tree.join("home/ada/letter.txt")).unwrap(), b"Dear Charles\n");
        drop(mounted);
    }
    program.run(&["umount", point.to_str().unwrap()]).ok();
}

#[test]
fn removed_files_cost_their_neighbours_nothing() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let tree = program.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..60 {
        fs::write(tree.join(format!("{number}")), noise(100 + number, 20_000)).unwrap();
    }
    let image = program.scratch().join("disk.raw");
    let text = image.to_str().unwrap();
    let made = ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", tree.to_str().unwrap(), text, "16M"];
    if !tool("mke2fs", &made) {
        return;
    }
    backup(&program, &[text]);
    let before = fs::read(&image).unwrap();
    for number in (0..60).step_by(7) {
        assert!(tool("debugfs", &["-w", "-R", &format!("rm /{number}"), text]));
    }
    let after = fs::read(&image).unwrap();
    let chunks = before.chunks(64 << 10).zip(after.chunks(64 << 10));
    let changed: usize = chunks.filter(|(old, new)| old != new).map(|(_, new)| new.len()).sum();

    let done = backup(&program, &[text]);
    let stored = done["bytes_new"].as_u64().unwrap();
    assert!(stored > 0 && stored <= changed as u64, "{changed} bytes of chunks changed: {done}");
    program.run(&["restore", "--image", "latest", "back.img", "--verify"]).ok();
    let back = program.scratch().join("back.img");
    assert!(tool("e2fsck", &["-fn", back.to_str().unwrap()]));
    for number in 0..60 {
        let cat = format!("cat /{number}");
        let output = Command::new("debugfs").args(["-R", &cat, back.to_str().unwrap()]).output().unwrap().stdout;
        let expected = if number % 7 == 0 { Vec::new() } else { noise(100 + number, 20_000) };
        assert!(output == expected, "{number}");
    }
    // Whoever never had them does not get them now.
    let other = Program::new();
    other.run(&["init"]).ok();
    backup(&other, &[text]);
    other.run(&["restore", "--image", "latest", "back.img"]).ok();
    let clean = fs::read(other.scratch().join("back.img")).unwrap();
    let removed = noise(100, 4096);
    assert!(after.chunks(4096).any(|block| block == removed));
    assert!(!clean.chunks(4096).any(|block| block == removed));
}

/// Files that lie one behind the other on the disk come by few requests, as those of a folder do.
#[test]
fn many_files_inside_come_by_few_requests() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let tree = program.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("file-{number:03}")).collect();
    for (name, seed) in names.iter().zip(40..) {
        fs::write(tree.join(name), noise(seed, 40_000)).unwrap();
    }
    let disk = program.scratch().join("disk.raw");
    let (tree_text, disk_text) = (tree.to_str().unwrap(), disk.to_str().unwrap());
    if !tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", tree_text, disk_text, "32M"]) {
        return;
    }
    backup(&program, &[disk_text]);
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
    let requests = || {
        let told = program.run(&["mount", "--status", "--json", point.to_str().unwrap()]).ok().stdout;
        json_lines(&told)[0]["store"]["requests"].as_u64().unwrap()
    };
    let part = fs::read_dir(&point).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::read_dir(&part).unwrap().count(), names.len() + 1);
    let before = requests();
    for (name, seed) in names.iter().zip(40..) {
        assert!(fs::read(part.join(name)).unwrap() == noise(seed, 40_000), "{name}");
    }
    let asked = requests() - before;
    // One by one they take 240; how far ahead is fetched depends on how fast things are.
    assert!(asked <= 100, "{asked} requests for {} files", names.len());
    program.run(&["umount", point.to_str().unwrap()]).ok();
}

/// VMware writes a disk into several files unless it is told otherwise: the one with the name of the disk says which.
#[test]
fn a_disk_in_several_files_is_one_disk() {
    let Some((program, disk)) = backed_up(&["--all-blocks"]) else { return };
    let raw = fs::read(&disk).unwrap();
    // A second file, most of the disk holes.
    let long = fs::File::options().write(true).open(&disk).unwrap();
    let end = 5u64 << 29;
    long.set_len(end).unwrap();
    let last = noise(4, 70_000);
    long.write_all_at(&last, end - 70_000).unwrap();
    let folder = program.scratch().join("machine");
    fs::create_dir(&folder).unwrap();
    for format in ["twoGbMaxExtentSparse", "monolithicFlat"] {
        let image = folder.join(format!("{format}.vmdk"));
        let (image, disk) = (image.to_str().unwrap(), disk.to_str().unwrap());
        let option = format!("subformat={format}");
        assert!(tool("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", "-o", &option, disk, image]));
        let told = program.run(&["inspect", image]).ok().stdout;
        assert!(told.contains("VMDK") && told.contains("2.5 GiB") && told.contains("ext4"), "{told}");
        backup(&program, &["--all-blocks", image]);
        let point = program.scratch().join(format!("drive of {format}"));
        program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
        let _mounted = Mounted(&point);
        let shown = fs::File::open(point.join(format!("{format}.img"))).unwrap();
        assert_eq!(shown.metadata().unwrap().len(), end);
        let mut read = vec![0; raw.len()];
        shown.read_exact_at(&mut read, 0).unwrap();
        assert!(read == raw, "{format}");
        read.truncate(last.len());
        shown.read_exact_at(&mut read, end - 70_000).unwrap();
        assert!(read == last, "{format}");
    }
    // Nothing that does not lie beside it, and nothing without one of them.
    fs::remove_file(folder.join("twoGbMaxExtentSparse-s002.vmdk")).unwrap();
    let image = folder.join("twoGbMaxExtentSparse.vmdk");
    let told = program.run(&["backup", "--image", image.to_str().unwrap()]).fails(1).stderr;
    assert!(told.contains("twoGbMaxExtentSparse-s002.vmdk") && told.contains("No such file"), "{told}");
    fs::write(folder.join("elsewhere"), noise(1, 4096)).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
    for (name, code) in [("..", 1), ("link", 1), ("elsewhere", 0)] {
        let text = format!("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 8 FLAT \"{name}\" 0\n");
        fs::write(&image, text).unwrap();
        assert_eq!(program.run(&["backup", "--image", image.to_str().unwrap()]).code, code, "{name}");
    }
}

/// A thin disk may say that it is longer than what anybody could read.
#[test]
fn what_was_never_written_costs_nothing() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let shm = std::path::Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let thin = folder.path().join("thin.raw");
    let file = fs::File::create(&thin).unwrap();
    let len = 10u64 << 40;
    file.set_len(len).unwrap();
    let (at, written) = (7u64 << 40, noise(1, 100_000));
    file.write_all_at(&written, at).unwrap();
    backup(&program, &[thin.to_str().unwrap()]);
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
    let _mounted = Mounted(&point);
    let shown = fs::File::open(point.join("thin.img")).unwrap();
    assert_eq!(shown.metadata().unwrap().len(), len);
    assert_eq!(rustix::fs::seek(&shown, rustix::fs::SeekFrom::Data(0)).unwrap(), at);
    let mut read = vec![0; written.len()];
    shown.read_exact_at(&mut read, at).unwrap();
    assert!(read == written);
    // In memory a file may be said to be as long as a number goes.
    if file.set_len(7 << 60).is_ok() {
        let told = program.run(&["backup", "--image", thin.to_str().unwrap()]).fails(1).stderr;
        assert!(told.contains("is a disk of 8070450532247928832 bytes"), "{told}");
    }
}

/// The devices behind such names change with every start.
#[test]
fn a_disk_keeps_the_name_it_was_given_and_what_is_wrong_with_it_is_told() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let mut bytes = noise(1, 1 << 20);
    bytes[..512].fill(0);
    for (entry, start) in [64u32, 100_000].into_iter().enumerate() {
        let at = 446 + 16 * entry;
        bytes[at + 4] = 0x83;
        bytes[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&128u32.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    let disk = program.scratch().join("sdx");
    fs::write(&disk, &bytes).unwrap();
    let Some(device) = Loop::attach(&disk, &[]) else { return };
    let stable = program.scratch().join("stable.1");
    std::os::unix::fs::symlink(&device.0, &stable).unwrap();
    let ended = program.run(&["backup", "--image", stable.to_str().unwrap()]).ok();
    assert!(ended.stderr.contains("note: /stable.1.img: Partition 2 is not within the disk"), "{}", ended.stderr);
    let listed = program.run(&["snapshots", "--path", stable.to_str().unwrap(), "--json"]).ok().stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_comes_back(&program, "latest", &bytes);
    // By the name of the target.
    program.run(&["restore", "--image", "latest", "vm.qcow2"]).ok();
    assert_eq!(fs::read(program.scratch().join("vm.qcow2")).unwrap()[..4], *b"QFI\xfb");
}
