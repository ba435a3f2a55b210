//! The rules of XFS on small file systems made by hand; what real ones look like is the matter of `scripts/images`.
#![allow(clippy::unwrap_used)]

mod image;
mod log;

use crate::disk::Error;
use crate::disk::Run;
use crate::disk::fs::Entry;
use crate::disk::fs::FileSystem;
use crate::disk::fs::NodeId;
use crate::meta::Time;
use image::BLOCK;
use image::FOLDER;
use image::FORK;
use image::Image;
use image::ROOT;
use image::be16;
use image::be32;
use image::be64;
use image::extent;

fn fault<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().to_string()
}

fn entries(fs: &mut dyn FileSystem, folder: NodeId, cursor: u64) -> Vec<Entry> {
    let mut found = Vec::new();
    fs.list(folder, cursor, &mut |entry| {
        found.push(entry);
        true
    })
    .unwrap();
    found
}

fn runs(image: &Image, id: NodeId, size: u64) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    image.open()?.map(id, 0..size, &mut runs)?;
    Ok(runs)
}

#[test]
fn the_whole() {
    let about = Image::new().open().unwrap().about();
    assert_eq!((about.kind.as_str(), about.label.as_str(), about.bytes), ("XFS", "label", 128 << 10));
    assert_eq!(about.uuid, "30313233-3435-3637-3839-616263646566");
    assert_eq!((about.used_bytes, about.notes.len()), (Some(78 << 10), 0));
}

#[test]
fn what_is_not_understood_has_a_name() {
    for (at, bytes, what) in [
        (100, be16(0xb4a6).to_vec(), "XFS version 6"),
        (100, be16(0xb6a5).to_vec(), "XFS shared version number"),
        (100, be16(0x94a5).to_vec(), "XFS version 1 directories"),
        (216, be32(0x203).to_vec(), "XFS feature zoned"),
        (216, be32(0x8000_0000).to_vec(), "XFS incompatible features 0x80000000"),
        (200, be32(0x1_018a).to_vec(), "XFS features2 0x10000"),
    ] {
        let mut image = Image::new();
        image.put(at, &bytes).seal(0, 512, 224);
        assert_eq!(fault(image.open()), format!("{what} is not supported"));
    }
}

#[test]
fn files_are_found_beside_a_folder_of_metadata() {
    const METADATA: u64 = 17;
    let mut image = Image::new();
    image.put(216, &be32(0x103)).put(264, &be64(METADATA)).seal(0, 512, 224);
    image.inode(METADATA, FOLDER, 1, 6, 0, &[0, 0, 0, 0, 0, ROOT as u8]);
    image.patch(METADATA, 120, &be64(32));
    let mut fs = image.open().unwrap();
    assert!(entries(&mut *fs, ROOT, 0).is_empty());
    assert_eq!(fault(fs.node(METADATA)), "XFS metadata inode is not supported");
    assert!(fs.used().unwrap().is_some());
}

#[test]
fn impossible_geometry_is_refused() {
    for (at, bytes) in [
        (4, be32(1000).to_vec()),
        (8, be64(129).to_vec()),
        (8, be64(64).to_vec()),
        (8, be64(u64::MAX).to_vec()),
        (84, be32(0).to_vec()),
        (84, be32(u32::MAX).to_vec()),
        (88, be32(0).to_vec()),
        (102, be16(3).to_vec()),
        (102, be16(65535).to_vec()),
        (104, be16(0).to_vec()),
        (120, vec![63]),
        (123, vec![2]),
        (124, vec![40]),
        (126, vec![1]),
        (192, vec![9]),
        (56, be64(1 << 40).to_vec()),
    ] {
        let mut image = Image::new();
        image.put(at, &bytes).seal(0, 512, 224);
        assert!(fault(image.open()).contains("XFS superblock"), "{at}");
    }
    assert!(fault(Image::new().put(108, b"L").open()).contains("checksum"));
}

#[test]
fn a_folder_in_its_inode() {
    let mut image = Image::new();
    let list =
        [&[2, 0, 0, 0, 0, 16][..], &[1, 0, 0x60, b'a', 1, 0, 0, 0, 17], &[2, 0, 0x70, 0xff, b'b', 2, 0, 0, 0, 18]];
    image.inode(ROOT, FOLDER, 1, 30, 0, &list.concat());
    let mut fs = image.open().unwrap();
    let all = entries(&mut *fs, ROOT, 0);
    assert_eq!(all.iter().map(|e| (&*e.name, e.node)).collect::<Vec<_>>(), [(&b"a"[..], 17), (b"\xffb", 18)]);
    assert_eq!(entries(&mut *fs, ROOT, all[0].cursor), all[1..]);
    assert_eq!(fs.lookup(ROOT, b"\xffb").unwrap(), 18);
    assert!(matches!(fs.lookup(ROOT, b"b"), Err(Error::NotFound)));
    image.patch(ROOT, FORK + 9, b"/");
    assert!(fault(image.open().unwrap().lookup(ROOT, b"x")).contains("no possible name"));
    image.patch(ROOT, FORK, &[200]);
    assert!(image.open().unwrap().lookup(ROOT, b"x").is_err());
}

#[test]
fn a_folder_of_one_block() {
    let mut image = Image::new();
    image.inode(ROOT, FOLDER, 2, BLOCK as u64, 1, &extent(0, 20, 1, false));
    image.dir_block(20, ROOT, &[(b".", ROOT), (b"..", ROOT), (b"one", 17), (b"another", 18)]);
    let mut fs = image.open().unwrap();
    let all = entries(&mut *fs, ROOT, 0);
    assert_eq!(all.iter().map(|e| (&*e.name, e.node)).collect::<Vec<_>>(), [(&b"one"[..], 17), (b"another", 18)]);
    assert_eq!(entries(&mut *fs, ROOT, all[0].cursor), all[1..]);
    assert_eq!(entries(&mut *fs, ROOT, all[1].cursor), []);
    assert_eq!(fs.lookup(ROOT, b"another").unwrap(), 18);
    for absent in [&b"onf"[..], b".", b"..", &[b'x'; 300]] {
        assert!(matches!(fs.lookup(ROOT, absent), Err(Error::NotFound)));
    }
    // The index leads into a name; an entry that is too long; a folder whose block is another's.
    image.put(20 * BLOCK + BLOCK - 12, &be32(9)).seal(20 * BLOCK, BLOCK, 4);
    let by_hash = ["one", "another", ".", ".."].map(|name| image.open().unwrap().lookup(ROOT, name.as_bytes()));
    assert!(by_hash.iter().any(|found| matches!(found, Err(Error::Damaged { .. }))));
    image.put(20 * BLOCK + 72, &[255]).seal(20 * BLOCK, BLOCK, 4);
    assert!(image.open().unwrap().list(ROOT, 0, &mut |_| true).is_err());
    image.dir_block(20, 17, &[(b"one", 17)]);
    assert!(fault(image.open().unwrap().list(ROOT, 0, &mut |_| true)).contains("another owner"));
}

#[test]
fn a_folder_whose_block_has_a_gap() {
    let mut image = Image::new();
    image.inode(ROOT, FOLDER, 2, BLOCK as u64, 1, &extent(0, 20, 1, true));
    image.dir_block(20, ROOT, &[(b"one", 17)]);
    assert!(fault(image.open().unwrap().list(ROOT, 0, &mut |_| true)).contains("gap"));
}

#[test]
fn where_a_file_lies() {
    let mut image = Image::new();
    image.file(18, 5500, &[extent(1, 20, 1, false), extent(2, 30, 2, true), extent(5, 40, 1, false)]);
    let lies = [
        Run::Zero { len: 1024 },
        Run::Below { offset: 20 << 10, len: 1024 },
        Run::Zero { len: 3072 },
        Run::Below { offset: 40 << 10, len: 380 },
    ];
    assert_eq!(runs(&image, 18, u64::MAX).unwrap(), lies);
    let mut part = Vec::new();
    image.open().unwrap().map(18, 1500..2100, &mut part).unwrap();
    assert_eq!(part, [Run::Below { offset: (20 << 10) + 476, len: 548 }, Run::Zero { len: 52 }]);
    // Groups are of 64 blocks here: block 64 is the first of the second.
    image.file(18, 100, &[extent(0, 64, 1, false)]);
    assert_eq!(runs(&image, 18, 100).unwrap(), [Run::Below { offset: 64 << 10, len: 100 }]);
}

#[test]
fn extents_that_cannot_be() {
    for extents in [
        vec![extent(2, 20, 1, false), extent(1, 30, 1, false)],
        vec![extent(0, 63, 2, false)],
        vec![extent(0, 128, 1, false)],
        vec![extent(0, 20, 0, false)],
        vec![extent(0, (1 << 52) - 1, 1, false)],
    ] {
        let mut image = Image::new();
        image.file(18, 9000, &extents);
        assert!(matches!(runs(&image, 18, 9000), Err(Error::Damaged { .. })), "{extents:x?}");
    }
    let mut image = Image::new();
    image.file(18, 9000, &[]).patch(18, 76, &be32(22));
    assert!(fault(runs(&image, 18, 9000)).contains("more extents than fit"));
    image.file(18, 9000, &[]).patch(18, 90, &be16(1));
    assert_eq!(fault(runs(&image, 18, 9000)), "XFS real-time file is not supported");
}

#[test]
fn a_tree_of_extents() {
    // Room for 20 keys and pointers: 336 bytes less 4.
    let mut root = [be16(1), be16(2)].concat();
    root.extend([be64(0), be64(2)].concat());
    root.resize(4 + 20 * 8, 0);
    root.extend([be64(30), be64(31)].concat());
    let mut image = Image::new();
    image.inode(18, 0o100_600, 3, 3 * 1024, 3, &root);
    image.bmap(30, 18, 2, 31, &[extent(0, 20, 1, false), extent(1, 22, 1, true)].concat());
    image.bmap(31, 18, 1, u64::MAX, &extent(2, 24, 1, false));
    let lies = [
        Run::Below { offset: 20 << 10, len: 1024 },
        Run::Zero { len: 1024 },
        Run::Below { offset: 24 << 10, len: 1024 },
    ];
    assert_eq!(runs(&image, 18, 3072).unwrap(), lies);
    let mut part = Vec::new();
    image.open().unwrap().map(18, 2048..2050, &mut part).unwrap();
    assert_eq!(part, [Run::Below { offset: 24 << 10, len: 2 }]);
    // A chain that comes back, for a file that is longer.
    image.patch(18, 56, &be64(9000)).bmap(31, 18, 1, 30, &extent(2, 24, 1, false));
    assert!(fault(runs(&image, 18, 9000)).contains("not in order"));
    image.bmap(31, 18, 1, 77, &extent(2, 24, 1, false)).bmap(30, 17, 0, 31, &[]);
    assert!(fault(runs(&image, 18, 9000)).contains("another owner"));
    image.bmap(30, 18, 60, 31, &[]);
    assert!(fault(runs(&image, 18, 9000)).contains("number of records"));
}

#[test]
fn large_counters_of_extents() {
    let mut image = Image::new();
    image.file(18, 1024, &[extent(0, 20, 1, false)]).patch(18, 120, &be64(16)).patch(18, 76, &be32(0));
    assert_eq!(runs(&image, 18, 1024).unwrap(), [Run::Zero { len: 1024 }]);
    image.patch(18, 24, &be64(1));
    assert_eq!(runs(&image, 18, 1024).unwrap(), [Run::Below { offset: 20 << 10, len: 1024 }]);
    image.patch(18, 24, &be64(u64::MAX));
    assert!(runs(&image, 18, 1024).is_err());
}

#[test]
fn times_of_both_kinds() {
    let mut image = Image::new();
    let time = |image: &Image| image.open().unwrap().node(18).unwrap().mtime;
    image.file(18, 0, &[]).patch(18, 40, &[be32(u32::MAX), be32(999_999_999)].concat());
    assert_eq!(time(&image), Some(Time { secs: -1, nanos: 999_999_999 }));
    image.patch(18, 44, &be32(1_000_000_000));
    assert_eq!(time(&image), None);
    image.patch(18, 120, &be64(8)).patch(18, 40, &be64(1));
    assert_eq!(time(&image), Some(Time { secs: -(1 << 31), nanos: 1 }));
    image.patch(18, 40, &be64(u64::MAX));
    assert_eq!(time(&image), Some(Time { secs: 16_299_260_425, nanos: 709_551_615 }));
}

#[test]
fn inodes_that_are_not_themselves() {
    let mut image = Image::new();
    image.file(18, 0, &[]).file(19, 0, &[]);
    let found = |image: &Image| image.open().unwrap().node(18);
    assert!(found(&image).is_ok());
    for (at, bytes, why) in [
        (152, be64(19).to_vec(), "another number"),
        (160, vec![0; 16], "another file system"),
        (4, vec![2], "version is not 3"),
        (2, be16(0o050_000).to_vec(), "of no kind"),
        (2, be16(FOLDER).to_vec(), ""),
        (5, vec![1], "cannot have such a fork"),
        (56, be64(1 << 63).to_vec(), "size is impossible"),
        (82, vec![43], "begins outside"),
    ] {
        let mut image = Image(image.0.clone());
        image.patch(18, at, &bytes);
        match why {
            "" => assert!(found(&image).is_ok()),
            why => assert!(fault(found(&image)).contains(why), "{why}"),
        }
    }
    image.put(Image::place_of(18) + 60, b"x");
    assert!(fault(found(&image)).contains("checksum"));
    assert!(matches!(found(image.patch(18, 2, &[0, 0])), Err(Error::NotFound)));
    assert!(matches!(image.open().unwrap().node(1 << 40), Err(Error::NotFound)));
    assert!(matches!(image.open().unwrap().node(u64::MAX), Err(Error::NotFound)));
}

#[test]
fn attributes_in_a_leaf_and_apart() {
    let mut image = Image::new();
    // The attribute fork of 16 bytes begins at the end of the inode: one extent, two blocks of leaf and value.
    let at = 40 * BLOCK;
    image.file(18, 0, &[]).put(Image::place_of(18) + 496, &extent(0, 40, 2, false));
    image.patch(18, 80, &[0, 1, 40, 2]);
    image.put(
        at + 80,
        &[be32(1), be16(1000).into_iter().chain(be16(0x0100)).collect::<Vec<_>>().try_into().unwrap()].concat(),
    );
    image.put(at + 88, &[be32(2), [0x03, 0xd4, 0x04, 0]].concat());
    image.put(at + 1000, &[0, 2, 3, b'o', b'n', b'e', 7, 8]);
    image.put(at + 0x3d4, &[&be32(1)[..], &be32(5), b"\x05large"].concat());
    image.attr_leaf(40, 18, 0, 2).attr_value(41, 18, 0, b"value");
    let found = image.open().unwrap().xattrs(18).unwrap();
    let found: Vec<_> = found.iter().map(|x| (&*x.name, &*x.value)).collect();
    assert_eq!(found, [(&b"security.large"[..], &b"value"[..]), (b"user.one", &[7, 8])]);
    // A value that is another's, a chain that does not end, flags that mean nothing yet.
    image.attr_value(41, 18, 5, b"value");
    assert!(fault(image.open().unwrap().xattrs(18)).contains("another part"));
    image.attr_value(41, 18, 0, b"value").attr_leaf(40, 18, 1, 2);
    assert!(image.open().unwrap().xattrs(18).is_err());
    image.put(at + 94, &[0x24]).attr_leaf(40, 18, 0, 2);
    assert_eq!(fault(image.open().unwrap().xattrs(18)), "XFS attribute flags 0x24 is not supported");
}

#[test]
fn a_chain_of_leaves_that_is_a_circle() {
    let mut image = Image::new();
    image.file(18, 0, &[]).put(Image::place_of(18) + 496, &extent(0, 40, 3, false)).patch(18, 80, &[0, 1, 40, 2]);
    image.attr_leaf(40, 18, 1, 0).attr_leaf(41, 18, 2, 0).attr_leaf(42, 18, 1, 0);
    assert!(fault(image.open().unwrap().xattrs(18)).contains("circle"));
}

#[test]
fn what_is_in_use() {
    let used = |image: &Image| image.open().unwrap().used().unwrap();
    let blocks = |from: u64, to: u64| from << 10..to << 10;
    let mut image = Image::new();
    assert_eq!(
        used(&image).unwrap(),
        [blocks(0, 10), blocks(30, 40), blocks(50, 74), blocks(94, 104), blocks(114, 128)]
    );
    // What lies behind it is not known to be free.
    image.0.extend([0; 1000]);
    assert_eq!(used(&image).unwrap().last().unwrap().end, (128 << 10) + 1000);
    // Sums that do not fit, and an end that is missing.
    let mut wrong = Image(image.0.clone());
    wrong.put(512 + 52, &be32(31)).seal(512, 512, 216);
    assert_eq!(used(&wrong), None);
    image.0.truncate(127 << 10);
    assert_eq!(used(&image), None);
}

#[test]
fn features_that_may_keep_space_or_log() {
    let mut image = Image::new();
    image.put(212, &be32(0x0f)).seal(0, 512, 224);
    assert!(image.open().unwrap().used().unwrap().is_some());
    image.put(212, &be32(0x10)).seal(0, 512, 224);
    assert_eq!(image.open().unwrap().used().unwrap(), None);
}
