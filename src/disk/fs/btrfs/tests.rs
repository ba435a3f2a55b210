//! Trees made by hand, sound and broken.
#![allow(clippy::unwrap_used)]

mod image;

use super::key;
use super::key::Key;
use super::*;
use crate::disk::read_runs;
use image::Image;
use image::Item;
use std::sync::Arc;

const FILE: u64 = 257;
const LINK: u64 = 258;
const CHILD: u64 = 300;

fn entry(folder: u64, index: u64, location: Key, name: &[u8]) -> [Item; 2] {
    let data = image::named(&location, name, b"");
    [(Key::new(folder, key::DIR_ITEM, name_hash(name)), data.clone()), (Key::new(folder, key::DIR_INDEX, index), data)]
}

fn inode_key(number: u64) -> Key {
    Key::new(number, key::INODE_ITEM, 0)
}

fn extent_at(offset: u64, data: Vec<u8>) -> Item {
    (Key::new(FILE, key::EXTENT_DATA, offset), data)
}

/// A root with the file `file` of `extents`, the link `link`, and the subvolume `child`, which names itself in turn.
fn small(size: u64, extents: impl FnOnce(&mut Image) -> Vec<Item>) -> Vec<u8> {
    let mut disk = Image::new();
    let mut items = vec![image::inode(256, 0o040_755, 0), image::inode(FILE, 0o100_644, size)];
    items.push(image::inode(LINK, 0o120_777, 6));
    items.push((Key::new(LINK, key::EXTENT_DATA, 0), image::inline(6, 0, b"target")));
    items.extend(entry(256, 2, inode_key(FILE), b"file"));
    items.extend(entry(256, 5, inode_key(LINK), b"link"));
    items.extend(entry(256, 9, Key::new(CHILD, key::ROOT_ITEM, u64::MAX), b"child"));
    let two = [image::named(&inode_key(0), b"user.b", b"2"), image::named(&inode_key(0), b"user.a", b"")].concat();
    items.push((Key::new(FILE, key::XATTR_ITEM, 1), two));
    items.extend(extents(&mut disk));
    items.sort_by_key(|item| item.0);
    let root = disk.leaf(&items);
    let mut child = vec![image::inode(256, 0o040_700, 0)];
    child.extend(entry(256, 2, Key::new(CHILD, key::ROOT_ITEM, u64::MAX), b"child"));
    child.sort_by_key(|item| item.0);
    let child = disk.leaf(&child);
    let reference = [&256u64.to_le_bytes()[..], &[0; 8], &5u16.to_le_bytes(), b"child"].concat();
    let reference = (Key::new(key::FS_TREE, key::ROOT_REF, CHILD), reference);
    disk.finish(vec![image::root_item(key::FS_TREE, root, 0), image::root_item(CHILD, child, 0), reference])
}

fn opened(image: Vec<u8>) -> Result<Box<dyn FileSystem>> {
    let source: Source = Arc::new(image);
    assert!(is_btrfs(&source)?);
    open(&source)
}

fn content(image: Vec<u8>, range: Range<u64>) -> Result<Vec<u8>> {
    let mut fs = opened(image.clone())?;
    let file = fs.lookup(fs.root(), b"file")?;
    let mut runs = Vec::new();
    fs.map(file, range, &mut runs)?;
    read_runs(&image, &runs)
}

fn why(fault: Result<impl Sized>) -> String {
    fault.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn folders_links_and_attributes() {
    let mut fs = opened(small(0, |_| vec![])).unwrap();
    let root = fs.root();
    let mut found = Vec::new();
    fs.list(root, 2, &mut |entry| {
        found.push(entry);
        true
    })
    .unwrap();
    let names: Vec<_> = found.iter().map(|entry| (entry.name.as_slice(), entry.cursor)).collect();
    assert_eq!(names, [(&b"link"[..], 5), (b"child", 9)]);
    assert_eq!(fs.link(found[0].node).unwrap(), b"target");
    assert_eq!(why(fs.lookup(root, b"fil")), "no such file or folder");
    let file = fs.lookup(root, b"file").unwrap();
    assert_eq!(fs.node(file).unwrap().mtime, Some(crate::meta::Time { secs: -1, nanos: 5 }));
    let xattrs: Vec<_> = fs.xattrs(file).unwrap().into_iter().map(|x| (x.name, x.value)).collect();
    assert_eq!(xattrs, [(b"user.a".to_vec(), b"".to_vec()), (b"user.b".to_vec(), b"2".to_vec())]);
    assert_eq!(fs.about().uuid, "30313233-3435-3637-3839-616263646566");
    assert_eq!(fs.about().label, "by hand");
}

#[test]
fn a_subvolume_is_entered_where_it_was_made_only() {
    let mut fs = opened(small(0, |_| vec![])).unwrap();
    let child = fs.lookup(fs.root(), b"child").unwrap();
    assert_eq!(fs.node(child).unwrap().mode, Some(0o700));
    let placeholder = fs.lookup(child, b"child").unwrap();
    assert_ne!(placeholder, child);
    assert_eq!(fs.node(placeholder).unwrap(), inode::placeholder());
    fs.list(placeholder, 0, &mut |_| panic!("it is empty")).unwrap();
}

#[test]
fn a_subvolume_that_is_being_deleted_is_not_looked_at() {
    let mut disk = Image::new();
    let root = disk.leaf(&[image::inode(256, 0o040_755, 0)]);
    let mut gone = image::root_item(CHILD, 0, 0);
    gone.1[216] = 0;
    let mut fs = opened(disk.finish(vec![image::root_item(key::FS_TREE, root, 0), gone])).unwrap();
    let mut count = 0;
    fs.metadata(&mut |_| {
        count += 1;
        true
    })
    .unwrap();
    assert_eq!(count, 4, "the superblock and three nodes");
}

#[test]
fn all_kinds_of_extents() {
    let image = small(40_000, |disk| {
        let data: Vec<u8> = (0..8192u32).map(|n| (n % 251) as u8).collect();
        let at = disk.add(&data);
        vec![
            extent_at(4096, image::extent(1, 0, 8192, [at, 8192, 4096, 4096])),
            extent_at(8192, image::extent(2, 0, 8192, [at, 8192, 0, 8192])),
            extent_at(16384, image::extent(1, 0, 4096, [0, 0, 0, 4096])),
            extent_at(20480, image::extent(1, 0, 8192, [at, 8192, 0, 8192])),
        ]
    });
    let data: Vec<u8> = (0..8192u32).map(|n| (n % 251) as u8).collect();
    let want = [&[0; 4096][..], &data[4096..], &[0; 12288], &data, &[0; 40_000 - 28_672]].concat();
    assert_eq!(content(image.clone(), 0..u64::MAX).unwrap(), want);
    assert_eq!(content(image.clone(), 5000..21_000).unwrap(), want[5000..21_000]);
    assert_eq!(content(image, 50_000..60_000).unwrap(), b"");
    let image = small(9000, |_| vec![extent_at(0, image::inline(3, 0, b"abc"))]);
    assert_eq!(content(image, 1..9000).unwrap(), [b"bc".as_slice(), &[0; 8997]].concat());
}

#[test]
fn compressed_data_is_compared_with_its_checksum() {
    let plain = b"the same again and again ".repeat(200)[..4096].to_vec();
    let mut packed = Vec::new();
    crate::compress::compress(&plain, 3, &mut packed).unwrap();
    packed.resize(4096, 0);
    let build = |sum: u32, flags: u64| {
        let mut disk = Image::new();
        let at = disk.add(&packed);
        let sums = disk.leaf(&[(Key::new(key::CSUM_OBJECT, key::EXTENT_CSUM, at), sum.to_le_bytes().to_vec())]);
        let mut items = vec![image::inode(256, 0o040_755, 0), image::inode(FILE, 0o100_644, 4000)];
        items[1].1[64..72].copy_from_slice(&flags.to_le_bytes());
        items.extend(entry(256, 2, inode_key(FILE), b"file"));
        items.push(extent_at(0, image::extent(1, 3, 4096, [at, 4096, 0, 4096])));
        items.sort_by_key(|item| item.0);
        let root = disk.leaf(&items);
        disk.finish(vec![image::root_item(key::FS_TREE, root, 0), image::root_item(key::CSUM_TREE, sums, 0)])
    };
    let sum = crate::disk::crc32::crc32c(&packed);
    assert_eq!(content(build(sum, 0), 10..5000).unwrap(), plain[10..4000]);
    assert!(why(content(build(!sum, 0), 0..1)).ends_with("its checksum is wrong"));
    assert_eq!(content(build(!sum, 1), 0..1).unwrap(), plain[..1], "the inode says that there are no checksums");
    let mut image = build(sum, 0);
    image[image::COPIES[0] as usize] ^= 1;
    assert_eq!(content(image, 0..4000).unwrap(), plain[..4000], "the second copy is sound");
}

#[test]
fn broken_extents_are_refused() {
    for (extents, fault) in [
        (vec![(0, image::extent(1, 0, 0, [1 << 24, 4096, 4096, 4096]))], "it is longer than its extent"),
        (vec![(0, image::extent(1, 0, 0, [1 << 40, 4096, 0, 4096]))], "no chunk holds it"),
        (vec![(0, image::extent(1, 0, 0, [u64::MAX, u64::MAX, 9, 4096]))], "it begins too late"),
        (vec![(0, image::extent(1, 0, 0, [1, 1, u64::MAX, 1]))], "its length is impossible"),
        (vec![(u64::MAX, image::extent(2, 0, 0, [1, 1, 0, 1]))], ""),
        (vec![(0, image::extent(1, 1, 1 << 20, [1 << 24, 4096, 0, 4096]))], "it is longer than a compressed extent"),
        (vec![(0, image::extent(1, 3, 4096, [1 << 24, 100, 0, 4096]))], "it is not of whole sectors"),
        (vec![(0, image::extent(1, 7, 0, [0; 4]))], "Btrfs compression type 7 is not supported"),
        (vec![(0, image::extent(9, 0, 0, [0; 4]))], "Btrfs file extent type 9 is not supported"),
        (vec![(0, image::inline(5, 0, b"abc"))], "its length is impossible"),
        (vec![(0, image::inline(5, 1, b"abc"))], "zlib does not unpack it"),
        (vec![(0, image::inline(1 << 40, 1, b"abc"))], "its length is impossible"),
        (
            vec![(0, image::extent(2, 0, 0, [0, 0, 0, 8192])), (4096, image::extent(2, 0, 0, [0, 0, 0, 4096]))],
            "it overlaps the one before",
        ),
    ] {
        let image = small(20_000, |_| extents.into_iter().map(|(at, data)| extent_at(at, data)).collect());
        let found = why(content(image, 0..20_000));
        assert!(found.ends_with(fault) && found.is_empty() == fault.is_empty(), "{found} instead of {fault}");
    }
}

#[test]
fn a_damaged_node_is_read_from_its_other_copy() {
    let mut image = small(0, |_| vec![]);
    let sound = opened(image.clone()).unwrap().node(256).unwrap();
    for at in (image::COPIES[0] as usize..).step_by(image::NODE).take(6) {
        image[at + 200] ^= 0xFF;
    }
    assert_eq!(opened(image.clone()).unwrap().node(256).unwrap(), sound);
    for at in (image::COPIES[1] as usize..).step_by(image::NODE).take(6) {
        image[at + 200] ^= 0xFF;
    }
    assert!(why(opened(image)).ends_with("its checksum is wrong"));
}

#[test]
fn the_newest_superblock_of_the_same_file_system() {
    let sound = small(0, |_| vec![]);
    let label = |image: Vec<u8>| opened(image).map(|fs| fs.about().label);
    let mut image = sound.clone();
    image::mirror(&mut image, 0x12b, b"mirror ");
    assert_eq!(label(image.clone()).unwrap(), "by hand", "as new as the first");
    image[(64 << 10) + 0x200] ^= 1;
    assert_eq!(label(image).unwrap(), "mirror ", "the first is damaged");
    let mut image = sound.clone();
    image::change(&mut image, 0x48, &1u64.to_le_bytes());
    image::mirror(&mut image, 0x48, &image::GENERATION.to_le_bytes());
    assert_eq!(label(image.clone()).unwrap(), "by hand", "the first is older, its root would not be found");
    let mut image = sound;
    image::mirror(&mut image, 0x48, &9u64.to_le_bytes());
    let at = 64 << 20;
    image[at + 0x20] ^= 1;
    image::seal(&mut image[at..at + 4096]);
    assert_eq!(label(image).unwrap(), "by hand", "that is left of another file system");
}

#[test]
fn what_is_not_understood_is_named() {
    let sound = small(0, |_| vec![]);
    for (at, field, fault) in [
        (0xbc, 1u64 << 40, "Btrfs feature incompat 0x10000000000 is not supported"),
        (0xbc, 1 << 14, "the Btrfs RAID stripe tree is not supported"),
        (0x38, 1 << 33, "a Btrfs metadata dump is not supported"),
        (0xc9, 2, "a Btrfs of several devices is not supported"),
        (0x90, 4096 | 4000 << 32, "Btrfs superblock at byte 65536 is damaged: its nodes have no possible size"),
        (0xa0, 5000, "Btrfs superblock at byte 65536 is damaged: its chunk array is too long"),
        (0xc4, 9, "Btrfs checksum type 9 is not supported"),
    ] {
        let mut image = sound.clone();
        image::change(&mut image, at, &field.to_le_bytes());
        assert_eq!(why(opened(image)), fault);
    }
    let mut image = sound.clone();
    image::change(&mut image, 0x60, &5u64.to_le_bytes());
    let mut fs = opened(image).unwrap();
    assert!(fs.about().notes[0].starts_with("The log tree was not replayed"));
    assert_eq!(fs.used().unwrap(), None);
    assert!(!is_btrfs(&(Arc::new(vec![0u8; 1 << 20]) as Source)).unwrap());
    assert!(!is_btrfs(&(Arc::new(sound[..66_000].to_vec()) as Source)).unwrap());
}

/// A tree of two leaves, of inodes `left` and `right`, under a branch that says where the second begins.
fn two_leaves(left: &[u64], right: &[u64], second: u64) -> Result<()> {
    let mut disk = Image::new();
    let items = |numbers: &[u64]| numbers.iter().map(|n| image::inode(*n, 0o040_755, 0)).collect::<Vec<_>>();
    let leaves = [disk.leaf(&items(left)), disk.leaf(&items(right))];
    let root = disk.branch(1, &[(inode_key(256), leaves[0]), (inode_key(second), leaves[1])]);
    let mut fs = opened(disk.finish(vec![image::root_item(key::FS_TREE, root, 1)]))?;
    left.iter().chain(right).chain([&second]).try_for_each(|number| fs.node(*number).map(drop))
}

#[test]
fn trees_are_trees() {
    two_leaves(&[256, 257], &[260, 261], 260).unwrap();
    for (left, right, second, fault) in [
        (&[256, 257][..], &[260, 261][..], 259, "its first key is another one"),
        (&[256, 270], &[260, 261], 260, "its last key belongs into the next one"),
        (&[256, 256], &[260], 260, "its keys are not in order"),
        (&[256], &[260], 255, "its keys are not in order"),
        (&[256], &[], 260, "it is empty"),
    ] {
        let found = why(two_leaves(left, right, second));
        assert!(found.ends_with(fault), "{found} instead of {fault}");
    }
    let mut disk = Image::new();
    // A branch that leads to itself.
    let root = disk.branch(1, &[(inode_key(256), image::LOGICAL)]);
    let mut fs = opened(disk.finish(vec![image::root_item(key::FS_TREE, root, 1)])).unwrap();
    assert!(why(fs.node(256)).ends_with("it is older or newer than its tree"));
}

#[test]
fn inode_numbers_share_the_room_with_subvolumes() {
    let big = 1u64 << 47;
    for (subvolumes, fault) in [(1u64, ""), (3, "Btrfs inode 140737488355328 among 3 subvolumes is not supported")] {
        let mut disk = Image::new();
        let mut items = vec![image::inode(256, 0o040_755, 0), image::inode(big, 0o100_644, 0)];
        items.extend(entry(256, 2, inode_key(big), b"file"));
        items.sort_by_key(|item| item.0);
        let root = disk.leaf(&items);
        let ids = std::iter::once(key::FS_TREE).chain(CHILD..).take(subvolumes as usize);
        let mut fs = opened(disk.finish(ids.map(|id| image::root_item(id, root, 0)).collect())).unwrap();
        let found = fs.lookup(fs.root(), b"file").and_then(|node| fs.node(node));
        assert_eq!(why(found), fault);
    }
}

#[test]
fn used_is_what_the_extent_tree_tells_if_the_sum_is_right() {
    let build = |bytes_used: u64| {
        let mut disk = Image::new();
        let fs = disk.leaf(&[image::inode(256, 0o040_755, 0)]);
        let extents = disk.leaf(&[
            (Key::new(image::LOGICAL, key::METADATA_ITEM, 0), vec![0; 33]),
            (Key::new(image::LOGICAL + 8192, key::EXTENT_ITEM, 12288), vec![0; 53]),
        ]);
        let mut image =
            disk.finish(vec![image::root_item(key::FS_TREE, fs, 0), image::root_item(key::EXTENT_TREE, extents, 0)]);
        image::change(&mut image, 0x78, &bytes_used.to_le_bytes());
        opened(image).unwrap().used().unwrap()
    };
    let [a, b] = image::COPIES;
    let want = [0..a + 4096, a + 8192..a + 20480, b..b + 4096, b + 8192..b + 20480];
    assert_eq!(build(4096 + 12288), Some(want.to_vec()));
    assert_eq!(build(4096), None);
    assert_eq!(opened(small(0, |_| vec![])).unwrap().used().unwrap(), None, "there is no extent tree");
}
