//! Logical volumes on a disk: what is stored of them, what comes back, and what each shows. The disk is put together here, as
//! LVM2 writes it; the file systems are made and checked by their own tools.

use crate::disks::locked_ext4;
use crate::house::noise;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use std::fs;
use std::ops::Range;
use std::process::Command;

const EXTENT: usize = 4 << 20;
const FIRST: usize = 1 << 20;
const AREA: usize = 4096;

/// CRC-32 as LVM begins it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    bytes
        .iter()
        .fold(0xF597_A6CF_u32, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
        .to_le_bytes()
}

/// A logical volume: its name, the extents it lies on, and what is in it.
type Volume<'a> = (&'a str, Vec<Range<usize>>, &'a [u8]);

/// A disk of one physical volume with these on it.
fn disk_of(extents: usize, volumes: &[Volume<'_>]) -> Vec<u8> {
    let id = "000001-0000-0000-0000-0000-0000-pvpvpv";
    let mut disk = vec![0; FIRST + extents * EXTENT];
    let mut told = String::new();
    for (name, pieces, content) in volumes {
        let (mut at, mut segments) = (0, String::new());
        for (number, piece) in pieces.iter().enumerate() {
            segments += &format!(
                "segment{} {{\nstart_extent = {}\nextent_count = {}\ntype = \"striped\"\nstripe_count = 1\nstripes = [\n\"pv0\", {}\n]\n}}\n",
                number + 1,
                at,
                piece.len(),
                piece.start
            );
            let bytes = &content[at * EXTENT..(at + piece.len()) * EXTENT];
            disk[FIRST + piece.start * EXTENT..][..bytes.len()].copy_from_slice(bytes);
            at += piece.len();
        }
        let count = pieces.len();
        told += &format!(
            "{name} {{\nid = \"id-{name}\"\nstatus = [\"READ\", \"VISIBLE\"]\nsegment_count = {count}\n{segments}}}\n"
        );
    }
    let text = format!(
        "vg {{\nid = \"vgid\"\nseqno = 1\nformat = \"lvm2\"\nextent_size = {}\nphysical_volumes {{\npv0 {{\nid = \"{id}\"\n\
         pe_start = {}\n}}\n}}\nlogical_volumes {{\n{told}}}\n}}\nversion = 1\n\0",
        EXTENT / 512,
        FIRST / 512
    );
    let area_bytes = FIRST - AREA;
    let mut label = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| label[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"LABELONE\x01");
    put(20, &[32]);
    put(24, b"LVM2 001");
    put(32, id.replace('-', "").as_bytes());
    put(72, &(FIRST as u64).to_le_bytes());
    put(104, &(AREA as u64).to_le_bytes());
    put(112, &(area_bytes as u64).to_le_bytes());
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum);
    disk[512..1024].copy_from_slice(&label);
    disk[AREA + 512..][..text.len()].copy_from_slice(text.as_bytes());
    let mut header = vec![0; 512];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    for (at, number) in [(24, AREA), (32, area_bytes), (40, 512), (48, text.len())] {
        header[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    header[56..60].copy_from_slice(&checksum(text.as_bytes()));
    let sum = checksum(&header[4..]);
    header[..4].copy_from_slice(&sum);
    disk[AREA..AREA + 512].copy_from_slice(&header);
    disk
}

/// An ext4 with a file that is there, and the blocks of one that was removed. `None` where it cannot be made.
fn worn_ext4() -> Option<(Program, Vec<u8>)> {
    let program = Program::new();
    program.run(&["init"]).ok();
    let tree = program.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("kept"), noise(1, 1 << 20)).unwrap();
    fs::write(tree.join("removed"), noise(2, 14 << 20)).unwrap();
    let image = program.scratch().join("ext4");
    let text = image.to_str().unwrap();
    let made = tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap(), text, "32M"])
        && tool("debugfs", &["-w", "-R", "rm /removed", text]);
    made.then(|| (program, fs::read(&image).unwrap()))
}

fn one(piece: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(piece).collect()
}

fn back_up(program: &Program, disk: &[u8]) -> u64 {
    let path = program.scratch().join("disk.raw");
    fs::write(&path, disk).unwrap();
    let told = program.run(&["backup", "--image", path.to_str().unwrap(), "--json"]).ok().stdout;
    json_lines(&told).pop().unwrap()["bytes_new"].as_u64().unwrap()
}

#[test]
fn what_volumes_call_free_is_not_stored() {
    let Some((program, ext4)) = worn_ext4() else { return };
    let unknown = noise(3, EXTENT);
    // In two pieces, the second in front of the first.
    let pieces = [10..14, 2..6];
    let disk = disk_of(16, &[("root", pieces.to_vec(), &ext4), ("swap", one(7..8), &unknown)]);
    let stored = back_up(&program, &disk);
    // One MiB of the file, four of the unknown, and what the file system and LVM need themselves.
    assert!(stored < 8 << 20, "{stored}");

    program.run(&["restore", "--image", "latest", "back.img", "--verify"]).ok();
    let back = fs::read(program.scratch().join("back.img")).unwrap();
    let extents = |range: &Range<usize>| FIRST + range.start * EXTENT..FIRST + range.end * EXTENT;
    assert!(back.len() == disk.len() && back[..FIRST] == disk[..FIRST]);
    assert!(back[extents(&(7..8))] == unknown);
    let root: Vec<u8> = pieces.iter().flat_map(|piece| back[extents(piece)].to_vec()).collect();
    let path = program.scratch().join("root");
    fs::write(&path, root).unwrap();
    assert!(tool("e2fsck", &["-fn", path.to_str().unwrap()]));
    let kept = Command::new("debugfs").args(["-R", "cat /kept", path.to_str().unwrap()]).output().unwrap().stdout;
    assert!(kept == noise(1, 1 << 20));

    let whole = Program::new();
    whole.run(&["init"]).ok();
    let path = whole.scratch().join("disk.raw");
    fs::write(&path, &disk).unwrap();
    whole.run(&["backup", "--image", path.to_str().unwrap(), "--all-blocks"]).ok();
    whole.run(&["restore", "--image", "latest", "back.img"]).ok();
    assert!(fs::read(whole.scratch().join("back.img")).unwrap() == disk);
}

#[test]
fn volumes_are_folders_and_bytes() {
    let Some((program, ext4)) = worn_ext4() else { return };
    let unknown = noise(4, EXTENT);
    let disk = disk_of(12, &[("root", one(1..9), &ext4), ("swap", one(10..11), &unknown)]);
    back_up(&program, &disk);
    let bytes = |arguments: &[&str]| program.command(arguments).output().unwrap();
    assert!(bytes(&["cat", "latest:/disk.img!/10000/kept"]).stdout == noise(1, 1 << 20));
    // The bytes of a volume in which there is nothing that is known.
    let printed = bytes(&["cat", "latest:/disk.img!/10001"]);
    assert!(printed.status.success() && printed.stdout == unknown);
    let listed = program.run(&["ls", "-l", "latest:/disk.img!"]).ok().stdout;
    assert!(listed.lines().any(|line| line.contains("vg/swap") && line.contains(" - ")), "{listed}");
    let refused = program.run(&["restore", "--image", "latest:/disk.img!/10001", "swap.img"]).fails(2).stderr;
    assert!(refused.contains("'vg/swap' is no partition"), "{refused}");
}

#[test]
fn a_volume_that_is_encrypted_opens_with_its_passphrase() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let Some(locked) = locked_ext4(&program) else { return };
    let mut luks = fs::read(locked).unwrap();
    luks.resize(luks.len().next_multiple_of(EXTENT), 0);
    let extents = luks.len() / EXTENT;
    let other = noise(5, EXTENT);
    back_up(&program, &disk_of(extents + 4, &[("home", one(2..2 + extents), &luks), ("swap", one(0..1), &other)]));
    let file = "latest:/disk.img!/10000/ada/secret";
    let wrong = program.run(&["cat", file, "--passphrase-file", "wrong"]).fails(1).stderr;
    assert!(wrong.contains("does not open 'vg/home'"), "{wrong}");
    let right = program.run(&["cat", file, "--passphrase-file", "right"]).ok().stdout;
    assert_eq!(right, "It is under the stone.\n");
    // Its neighbour is none of the passphrase's business.
    let printed = program.command(&["cat", "latest:/disk.img!/10001"]).output().unwrap();
    assert!(printed.status.success() && printed.stdout == other);
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap(), "--create", "--passphrase-file", "right"]).ok();
    let shown: Vec<_> = fs::read_dir(&point).unwrap().map(|entry| entry.unwrap().path()).collect();
    let found = shown.iter().find_map(|folder| fs::read_to_string(folder.join("ada/secret")).ok());
    program.run(&["umount", point.to_str().unwrap()]).ok();
    assert_eq!(found.as_deref(), Some("It is under the stone.\n"), "{shown:?}");
}
