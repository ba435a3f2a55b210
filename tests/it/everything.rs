//! Restore = source, over a tree of tens of thousands of entries of every kind that a Linux file system has: files whole
//! and sparse, hard links, symbolic links, pipes, sockets, devices, folders within folders; names of every sort of byte;
//! modes, owners, extended attributes and ACLs; times before 1970 and after 2038.
//!
//! The gate makes a smaller tree; `BYGONE_TEST_ENTRIES=50000` says how many entries (`scripts/acceptance.sh` does).
//! What is in the tree follows from a seed. What takes root (owners, devices) is left out for others.

use crate::house::init_cheaply;
use crate::house::noise;
use crate::program::Ended;
use crate::program::Program;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

/// Entries of the tree in the gate.
const ENTRIES: usize = 10_000;
/// Blocks of 512 bytes that a sparse file may take more than the original one.
const BLOCKS_SLACK: u64 = 16;

/// Everything about an entry that a restore has to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// Of folders, their file system's own business.
    size: u64,
    device: u64,
    /// The first name of the same inode, and how many it has.
    same_as: (PathBuf, u64),
    target: Option<PathBuf>,
    content: Option<blake3::Hash>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Numbers that follow from a seed, many of them and fast.
struct Dice(blake3::OutputReader);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % sides as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// Makes a tree.
struct Maker {
    dice: Dice,
    is_root: bool,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    count: HashMap<char, usize>,
    xattrs: usize,
}

impl Maker {
    fn name(&mut self, number: usize) -> OsString {
        let mut name = match self.dice.below(14) {
            0 => "с кириллицей 字 🦀 e\u{301} ".as_bytes().to_vec(),
            1 => b"line\nbreak\ttab ".to_vec(),
            2 => b"\xff\xfe not unicode \x80".to_vec(),
            3 => b".hidden".to_vec(),
            4 => b"  blanks  ".to_vec(),
            5 => b"-rf *?\"'\\$(:|<>".to_vec(),
            6 => "n".repeat(255 - 10).into_bytes(),
            7 => b"CON.txt. ".to_vec(),
            _ => b"f".to_vec(),
        };
        name.extend(number.to_string().bytes());
        OsString::from_vec(name)
    }

    fn make(&mut self, root: &Path, entries: usize) {
        fs::create_dir(root).unwrap();
        self.folders.push(root.to_owned());
        let mut made = Vec::with_capacity(entries);
        for number in 0..entries {
            let folder = self.folders[self.dice.below(self.folders.len())].clone();
            let path = folder.join(self.name(number));
            let kind = self.node(&path, number);
            *self.count.entry(kind).or_default() += 1;
            made.push((path, kind));
        }
        // Whoever adds something to a folder changes its time: folders come last, the inner ones first.
        made.reverse();
        for (path, kind) in &made {
            self.dress(path, *kind);
        }
        self.dress(root, 'd');
    }

    /// Puts something there.
    fn node(&mut self, path: &Path, number: usize) -> char {
        let special = |kind| rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, rustix::fs::makedev(1, 3)).unwrap();
        match self.dice.below(100) {
            // Not too deep: names of 255 bytes add up.
            0..8 if path.components().count() < 12 => {
                fs::create_dir(path).unwrap();
                self.folders.push(path.to_owned());
                'd'
            }
            0..16 => {
                let target: &[u8] = [&b"f1"[..], b"/nowhere/at all", b"../..", b"\xff\n"][self.dice.below(4)];
                symlink(OsStr::from_bytes(target), path).unwrap();
                'l'
            }
            16..18 => {
                special(FileType::Fifo);
                'p'
            }
            18..19 => {
                special(FileType::Socket);
                's'
            }
            19..20 if self.is_root => {
                let kind = if self.dice.one_in(2) { FileType::BlockDevice } else { FileType::CharacterDevice };
                special(kind);
                'b'
            }
            20..24 if !self.files.is_empty() => {
                fs::hard_link(&self.files[self.dice.below(self.files.len())], path).unwrap();
                'h'
            }
            24..26 => {
                let file = fs::File::create(path).unwrap();
                file.set_len(1 << (12 + self.dice.below(8))).unwrap();
                file.write_all_at(&noise(number as u64, 5_000), self.dice.below(100_000) as u64).unwrap();
                'x'
            }
            kind => {
                let len = match kind {
                    26..28 => 20_000,
                    28 if self.dice.one_in(10) => 1 << 20,
                    _ => self.dice.below(400),
                };
                fs::write(path, noise(number as u64, len)).unwrap();
                self.files.push(path.to_owned());
                'f'
            }
        }
    }

    /// Gives it owner, mode, attributes and times, in that order: each one may change what came before.
    fn dress(&mut self, path: &Path, kind: char) {
        if kind == 'h' {
            return;
        }
        if self.is_root && self.dice.one_in(3) {
            let [uid, gid] = [self.dice.below(70_000), self.dice.below(70_000)].map(|id| id as u32);
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        if kind != 'l' && self.dice.one_in(2) {
            // Others than root have to be able to read what they back up.
            let mode = if self.is_root { self.dice.below(0o10000) as u32 } else { 0o700 };
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty()).unwrap();
        }
        if matches!(kind, 'f' | 'd' | 'x') && self.dice.one_in(8) {
            let value = noise(self.dice.below(9) as u64, self.dice.below(300));
            for name in ["user.first", "user.Ünïcode \u{1f980}"].into_iter().take(1 + self.dice.below(2)) {
                rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty()).unwrap();
            }
            self.xattrs += 1;
        }
        if matches!(kind, 'f' | 'd') && self.dice.one_in(16) {
            let names = ["system.posix_acl_access", "system.posix_acl_default"];
            let name = names[usize::from(kind == 'd' && self.dice.one_in(2))];
            rustix::fs::lsetxattr(path, name, &acl(self.dice.below(5_000) as u32), XattrFlags::empty()).unwrap();
            self.xattrs += 1;
        }
        let secs = match self.dice.below(5) {
            0 => -(self.dice.below(2_000_000_000) as i64),
            1 => 2_200_000_000 + self.dice.below(4_000_000_000) as i64,
            _ => 1_500_000_000 + self.dice.below(200_000_000) as i64,
        };
        let time = Timespec { tv_sec: secs, tv_nsec: self.dice.below(1_000_000_000) as i64 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// An ACL as the kernel takes it: owner, one other user, group, mask, the rest.
fn acl(user: u32) -> Vec<u8> {
    let nobody = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, nobody), (0x02, 5, user), (0x04, 4, nobody), (0x10, 5, nobody), (0x20, 0, nobody)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(len);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// A whole tree as it is, and the blocks that its files take.
fn look(root: &Path) -> BTreeMap<PathBuf, (Entry, u64)> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = path.symlink_metadata().unwrap();
        let kind = FileType::from_raw_mode(meta.mode());
        if kind == FileType::Directory {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let below = path.strip_prefix(root).unwrap().to_owned();
        names.entry(meta.ino()).or_default().push(below.clone());
        let is_device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        let entry = Entry {
            kind: match kind {
                FileType::Directory => 'd',
                FileType::RegularFile => 'f',
                FileType::Symlink => 'l',
                FileType::Fifo => 'p',
                FileType::Socket => 's',
                FileType::BlockDevice => 'b',
                FileType::CharacterDevice => 'c',
                other => panic!("{other:?}"),
            },
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            size: if kind == FileType::Directory { 0 } else { meta.len() },
            device: if is_device { meta.rdev() } else { 0 },
            same_as: (PathBuf::new(), meta.ino()),
            target: (kind == FileType::Symlink).then(|| fs::read_link(&path).unwrap()),
            content: (kind == FileType::RegularFile).then(|| blake3::hash(&fs::read(&path).unwrap())),
            xattrs: xattrs(&path),
        };
        found.insert(below, (entry, meta.blocks()));
    }
    names.values_mut().for_each(|names| names.sort());
    for (entry, _) in found.values_mut() {
        let names = &names[&entry.same_as.1];
        entry.same_as = (names[0].clone(), names.len() as u64);
    }
    found
}

#[test]
fn a_tree_of_every_kind_comes_back_as_it_was() {
    let began = Instant::now();
    let program = Program::new();
    init_cheaply(&program.repository());
    let source = program.source();
    let dice = Dice(blake3::Hasher::new().update(b"everything").finalize_xof());
    let is_root = rustix::process::geteuid().is_root();
    let mut maker = Maker { dice, is_root, folders: Vec::new(), files: Vec::new(), count: HashMap::new(), xattrs: 0 };
    let entries = std::env::var("BYGONE_TEST_ENTRIES").map_or(ENTRIES, |number| number.parse().unwrap());
    maker.make(&source, entries);
    let made = began.elapsed();
    let run = |arguments: &[&str]| Ended::of(program.command(arguments).env("BYGONE_PASSWORD", "test"));
    let told = run(&["backup", "-q", source.to_str().unwrap()]).ok();
    assert_eq!(told.stderr, "");
    let stored = began.elapsed();
    let back = program.scratch().join("back");
    let told = run(&["restore", "-q", &format!("latest:{}", source.display()), "--to", back.to_str().unwrap()]).ok();
    assert_eq!(told.stderr, "");
    let restored = began.elapsed();
    let (there, here) = (look(&source), look(&back));
    assert_eq!(there.len(), entries + 1);
    let names: Vec<_> = there.keys().collect();
    let different = there.iter().filter_map(|(path, (entry, _))| match here.get(path) {
        Some((restored, _)) if restored == entry => None,
        other => Some((path, entry, other)),
    });
    let different: Vec<_> = different.take(3).collect();
    assert!(different.is_empty(), "{different:#?}");
    assert_eq!(here.keys().collect::<Vec<_>>(), names, "there is more than there was");
    for (path, (_, blocks)) in &there {
        assert!(here[path].1 <= blocks + BLOCKS_SLACK, "{}: holes were filled", path.display());
    }
    let mut kinds: Vec<_> = maker.count.into_iter().collect();
    kinds.sort_unstable();
    println!(
        "{entries} entries {kinds:?}, {} with attributes: made {made:?}, backed up {stored:?}, restored {restored:?}, \
         compared {:?}",
        maker.xattrs,
        began.elapsed()
    );
    assert!(kinds.len() >= if is_root { 8 } else { 7 });
}
