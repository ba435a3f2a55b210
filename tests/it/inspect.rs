//! What is told of disks, beside what the tools of their own kinds tell.

use crate::disks::Mounted;
use crate::house::noise;
use crate::images_restore::disk;
use crate::images_restore::listing;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

fn inspected(program: &Program, arguments: &[&str]) -> Value {
    json_lines(&program.run(&[&["inspect", "--json"], arguments].concat()).ok().stdout).swap_remove(0)
}

fn place(program: &Program, name: &str, bytes: u64) -> String {
    let path = program.scratch().join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What a program prints; `None` if it is not there or fails.
fn said(name: &str, arguments: &[&str]) -> Option<String> {
    let ended = Command::new(name).args(arguments).output().ok().filter(|ended| ended.status.success())?;
    Some(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// The number behind a word.
fn number(text: &str, word: &str) -> u64 {
    let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("{word} in {text}"));
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("{word} in {text}"))
}

/// A Btrfs with a file in its top level, and one in a subvolume that is mounted instead of it.
fn btrfs(program: &Program) -> Option<String> {
    let image = place(program, "sda.raw", 128 << 20);
    let point = program.scratch().join("kernel");
    fs::create_dir(&point).unwrap();
    if !tool("mkfs.btrfs", &["-q", "-L", "rootfs", &image]) {
        return None;
    }
    if !tool("mount", &["-o", "loop", &image, point.to_str().unwrap()]) {
        println!("skipped: cannot mount");
        return None;
    }
    let mounted = Mounted(&point);
    let at = |name: &str| point.join(name).to_str().unwrap().to_owned();
    assert!(tool("btrfs", &["subvolume", "create", &at("current")]));
    fs::create_dir(at("current/home")).unwrap();
    fs::write(at("current/home/letter"), "Dear Ada\n").unwrap();
    fs::write(at("current/noise"), noise(4, 100_000)).unwrap();
    assert!(tool("btrfs", &["subvolume", "snapshot", "-r", &at("current"), &at("before")]));
    assert!(tool("btrfs", &["subvolume", "create", &at("current/deeper")]));
    fs::write(at("current/deeper/new"), "since\n").unwrap();
    fs::write(at("above"), "not in what is mounted\n").unwrap();
    assert!(tool("btrfs", &["subvolume", "set-default", &at("current")]));
    drop(mounted);
    Some(image)
}

#[test]
fn a_default_subvolume_hides_nothing() {
    let program = Program::new();
    let Some(image) = btrfs(&program) else { return };
    program.run(&["init"]).ok();
    program.run(&["backup", "--image", &image]).ok();
    let (drive, kernel) = (program.scratch().join("drive"), program.scratch().join("kernel"));
    program.run(&["mount", "latest", drive.to_str().unwrap()]).ok();
    let folders = [("rootfs (Btrfs)", "ro"), ("rootfs (Btrfs, top level)", "ro,subvolid=5")];
    for (folder, options) in folders {
        assert!(tool("mount", &["-o", &format!("loop,{options}"), &image, kernel.to_str().unwrap()]));
        let mounted = Mounted(&kernel);
        assert_eq!(listing(&drive.join(folder)), listing(&kernel), "{folder}");
        drop(mounted);
    }
    assert_eq!(fs::read(drive.join("rootfs (Btrfs, top level)/before/noise")).unwrap(), noise(4, 100_000));
    program.run(&["umount", drive.to_str().unwrap()]).ok();

    let cat = |path: &str| program.run(&["cat", &format!("latest:/sda.img!/{path}")]).ok().stdout;
    assert_eq!(cat("1/home/letter"), "Dear Ada\n");
    assert_eq!(cat("100000/above"), "not in what is mounted\n");
    assert_eq!(cat("rootfs (Btrfs, top level)/current/deeper/new"), "since\n");
    program.run(&["cat", "latest:/sda.img!/1/above"]).fails(13);
    for told in [inspected(&program, &[&image]), inspected(&program, &["--snapshot", "latest"])] {
        let kinds: Vec<_> = told["parts"].as_array().unwrap().iter().map(|part| &part["kind"]).collect();
        assert_eq!(kinds, ["Btrfs", "Btrfs, top level"], "{told}");
        assert!(told["parts"][0]["used_bytes"].is_u64() && told["parts"][1]["used_bytes"].is_null(), "{told}");
    }
    let listed = program.run(&["snapshots"]).ok().stdout;
    assert!(listed.contains("rootfs (Btrfs)") && !listed.contains("top level"), "{listed}");
    // Where the top level is what is mounted, it is shown once.
    assert!(tool("mount", &["-o", "loop", &image, kernel.to_str().unwrap()]));
    let mounted = Mounted(&kernel);
    assert!(tool("btrfs", &["subvolume", "set-default", "5", kernel.to_str().unwrap()]));
    drop(mounted);
    assert_eq!(inspected(&program, &[&image])["parts"].as_array().unwrap().len(), 1);
}

/// Free clusters and bytes of a cluster, as the tools of a kind count them.
type Counted = fn(&str) -> Option<(u64, u64)>;

fn fat_counted(image: &str) -> Option<(u64, u64)> {
    let text = said("fsck.fat", &["-n", "-v", image])?;
    let (used, all) = text.lines().last()?.split_once(" files, ")?.1.split_once('/')?;
    let all: u64 = all.split(' ').next()?.parse().ok()?;
    let bytes = text.lines().find(|line| line.ends_with("bytes per cluster"))?;
    Some((all - used.parse::<u64>().ok()?, bytes.split_whitespace().next()?.parse().ok()?))
}

fn exfat_counted(image: &str) -> Option<(u64, u64)> {
    let text = said("dump.exfat", &[image])?;
    Some((number(&text, "Free Clusters:"), number(&text, "Cluster size:")))
}

fn ntfs_counted(image: &str) -> Option<(u64, u64)> {
    let text = said("ntfsinfo", &["-f", "-m", image])?;
    Some((number(&text, "Free Clusters:"), number(&text, "Cluster Size:")))
}

/// Images of these kinds with a file of noise in them, if there are the tools.
fn filled(program: &Program) -> Vec<(String, Counted)> {
    let file = program.scratch().join("noise");
    fs::write(&file, noise(9, 3_000_000)).unwrap();
    let file = file.to_str().unwrap();
    let mut images: Vec<(String, Counted)> = Vec::new();
    for (name, mib, options) in [("fat12", 6, "-F12"), ("fat16", 40, "-F16"), ("fat32", 80, "-F32")] {
        let image = place(program, name, mib << 20);
        if tool("mkfs.vfat", &[options, &image]) && tool("mcopy", &["-i", &image, file, "::noise"]) {
            images.push((image, fat_counted));
        }
    }
    let image = place(program, "exfat", 64 << 20);
    if tool("mkfs.exfat", &[&image]) {
        images.push((image, exfat_counted));
    }
    let image = place(program, "ntfs", 64 << 20);
    if tool("mkfs.ntfs", &["-qFf", &image]) && tool("ntfscp", &["-f", &image, file, "noise"]) {
        images.push((image, ntfs_counted));
    }
    images
}

#[test]
fn how_much_is_used_is_what_the_tools_say() {
    let program = Program::new();
    program.run(&["init"]).ok();
    for (image, counted) in filled(&program) {
        let (free, cluster_bytes) = counted(&image).unwrap();
        fs::create_dir_all(program.scratch().join("vm")).unwrap();
        fs::copy(&image, program.scratch().join("vm/disk")).unwrap();
        program.run(&["backup", "--image", &image]).ok();
        let backed_up = inspected(&program, &["--snapshot", "latest"]);
        let inside = inspected(&program, &["--snapshot", &lying(&program, "disk")]);
        for told in [inspected(&program, &[&image]), backed_up, inside] {
            let used = told["parts"][0]["used_bytes"].as_u64().unwrap_or_else(|| panic!("{told}"));
            let bytes = told["bytes"].as_u64().unwrap();
            assert_eq!((bytes - used) / cluster_bytes, free, "{image}: {told}");
        }
    }
}

#[test]
fn of_a_damaged_bitmap_nothing_is_said() {
    let program = Program::new();
    let image = place(&program, "exfat", 64 << 20);
    if !tool("mkfs.exfat", &[&image]) {
        return;
    }
    assert!(inspected(&program, &[&image])["parts"][0]["used_bytes"].is_u64());
    let mut bytes = fs::read(&image).unwrap();
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let root = field(88) * 512 + (field(96) - 2) * 4096;
    let entry = (root..).step_by(32).find(|at| bytes[*at] == 0x81).unwrap();
    // Shorter than it must be.
    bytes[entry + 24..entry + 32].copy_from_slice(&1u64.to_le_bytes());
    fs::write(&image, bytes).unwrap();
    let told = inspected(&program, &[&image]);
    assert!(told["parts"][0]["kind"] == "exFAT" && told["parts"][0]["used_bytes"].is_null(), "{told}");
}

/// A disk as a file of a folder that was backed up.
fn lying(program: &Program, file: &str) -> String {
    program.run(&["backup", program.scratch().join("vm").to_str().unwrap()]).ok();
    format!("latest:{}", program.scratch().join("vm").join(file).canonicalize().unwrap().display())
}

#[test]
fn an_image_in_a_folder_is_told_of_as_the_file_itself() {
    let program = Program::new();
    let Some(raw) = disk(&program) else { return };
    program.run(&["init"]).ok();
    let folder = program.scratch().join("vm");
    fs::create_dir(&folder).unwrap();
    fs::copy(&raw, folder.join("disk.img")).unwrap();
    let mut names = vec!["disk.img"];
    for (name, kind) in [("disk.qcow2", "qcow2"), ("disk.vdi", "vdi")] {
        let target = folder.join(name);
        if tool("qemu-img", &["convert", "-f", "raw", "-O", kind, raw.to_str().unwrap(), target.to_str().unwrap()]) {
            names.push(name);
        }
    }
    for name in names {
        let at = lying(&program, name);
        let told = |arguments: &[&str]| {
            let text = program.run(&[&["inspect"], arguments].concat()).ok().stdout;
            text.split_once(": ").unwrap().1.to_owned()
        };
        let file = folder.join(name).to_str().unwrap().to_owned();
        assert_eq!(told(&["--snapshot", &at]), told(&[&file]));
        assert_eq!(inspected(&program, &["--snapshot", &at])["bytes"], 24 << 20);
    }
}

#[test]
fn a_vdi_is_a_disk_and_what_is_not_read_is_named() {
    let program = Program::new();
    let Some(raw) = disk(&program) else { return };
    let raw_text = raw.to_str().unwrap();
    let image = |kind: &str| -> Option<PathBuf> {
        let target = program.scratch().join(format!("vm.{kind}"));
        tool("qemu-img", &["convert", "-f", "raw", "-O", kind, raw_text, target.to_str().unwrap()]).then_some(target)
    };
    program.run(&["init"]).ok();
    let Some(vdi) = image("vdi") else { return };
    program.run(&["backup", "--image", vdi.to_str().unwrap(), "--all-blocks"]).ok();
    assert_eq!(program.run(&["cat", "latest:/vm.img!/1/home/ada/letter.txt"]).ok().stdout, "Dear Charles\n");
    program.run(&["restore", "--image", "latest", "back.img", "--verify"]).ok();
    assert!(fs::read(program.scratch().join("back.img")).unwrap() == fs::read(&raw).unwrap());
    assert_eq!(inspected(&program, &["--snapshot", "latest"])["container"], "VDI");

    let Some(qed) = image("qed") else { return };
    for arguments in [&["inspect"][..], &["backup", "--image"]] {
        let refused = program.run(&[arguments, &[qed.to_str().unwrap()]].concat()).fails(1);
        assert!(refused.stderr.contains("a QED disk image is not supported"), "{}", refused.stderr);
        assert!(refused.stderr.contains("qemu-img convert"), "{}", refused.stderr);
    }
    fs::create_dir(program.scratch().join("vm")).unwrap();
    fs::copy(&qed, program.scratch().join("vm/disk.qed")).unwrap();
    let at = lying(&program, "disk.qed");
    program.run(&["restore", &at, "--to", "out"]).ok();
    assert!(fs::read(program.scratch().join("out/disk.qed")).unwrap() == fs::read(&qed).unwrap());
}

#[test]
fn a_snapshot_that_was_taken_for_a_file_is_told_how_to_name() {
    let program = Program::new();
    let missing = program.run(&["inspect", "latest"]).fails(1);
    assert!(missing.stderr.contains("no disk or file 'latest'"), "{}", missing.stderr);
    assert!(missing.stderr.contains("inspect --snapshot"), "{}", missing.stderr);
}
