//! A tree as lines of text, from the disk or from a snapshot: what must be equal when nothing was lost.
//!
//! `path mode size sha256 mtime links xattrs`: mode in octal with its type bits; SHA-256 of the bytes of a file or the
//! target of a link; links = the first name of the same file, `-` if there is one only. Odd bytes of a path stand as %XX.

use crate::house::noise;
use aws_lc_rs::digest::Context;
use aws_lc_rs::digest::SHA256;
use bygone::browse::Browse;
use bygone::meta::Kind;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Lines by path.
pub(crate) type Listing = BTreeMap<Vec<u8>, Line>;

/// What is compared of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    mode: u32,
    size: u64,
    digest: Option<Vec<u8>>,
    mtime: (i64, u32),
    links: Option<Vec<u8>>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A small tree with a bit of everything an ordinary user can make: about 4 MiB on disk, little of it different.
pub(crate) fn fill(root: &Path) {
    let file = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    file("empty", b"");
    file("inline", b"tiny");
    file("one chunk", &noise(1, 250));
    file("many chunks", &noise(2, 30_000));
    file("text", "the same words again and again, ".repeat(2000).as_bytes());
    file("many chunks with attributes", &noise(2, 30_000));
    let sparse = fs::File::create(root.join("with a hole")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&noise(3, 5_000), 512 << 10).unwrap();
    let holes = fs::File::create(root.join("a thousand holes")).unwrap();
    for i in 0..700 {
        holes.write_all_at(&[7; 4096], i * 8192).unwrap();
    }
    fs::File::create(root.join("all hole")).unwrap().set_len(100_000).unwrap();
    fs::hard_link(root.join("many chunks"), root.join("many chunks again")).unwrap();
    std::os::unix::fs::symlink("../some where", root.join("link")).unwrap();
    rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd \xff%\n\xc3\xa9");
    fs::create_dir_all(root.join("folder!")).unwrap();
    fs::create_dir_all(root.join("folder/deeper").join(odd)).unwrap();
    fs::write(root.join("folder/deeper").join(odd).join("file"), b"x").unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for i in 0..300 {
        fs::write(root.join(format!("many/{i:03}")), format!("{i}").repeat(i % 7)).unwrap();
    }
    fs::set_permissions(root.join("inline"), fs::Permissions::from_mode(0o4751)).unwrap();
    for (name, value) in [("user.note", &b"hello"[..]), ("user.empty", b""), ("user.long", &[9; 300])] {
        // Not every file system of a test machine has attributes.
        let _none = rustix::fs::setxattr(root.join("many chunks with attributes"), name, value, XattrFlags::empty());
    }
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    fs::File::options().write(true).open(root.join("text")).unwrap().set_modified(time).unwrap();
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&SHA256, bytes).as_ref().to_vec()
}

fn xattrs_on_disk(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&b| b == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    found.sort();
    found
}

/// Everything below a folder.
pub(crate) fn on_disk(root: &Path) -> Listing {
    let mut all = Listing::new();
    let mut groups = HashMap::new();
    below(root, b"", &mut all, &mut groups);
    name_links(&mut all, &groups);
    all
}

fn below(folder: &Path, prefix: &[u8], all: &mut Listing, groups: &mut HashMap<Vec<u8>, u64>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = bygone::path::join(prefix, entry.file_name().as_bytes());
        let meta = entry.path().symlink_metadata().unwrap();
        let (size, digest) = if meta.is_file() {
            (meta.len(), Some(sha256(&fs::read(entry.path()).unwrap())))
        } else if meta.is_symlink() {
            (meta.len(), Some(sha256(fs::read_link(entry.path()).unwrap().as_os_str().as_bytes())))
        } else {
            (0, None)
        };
        let mtime = (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
        let xattrs = xattrs_on_disk(&entry.path());
        if meta.is_dir() {
            below(&entry.path(), &path, all, groups);
        } else if meta.nlink() > 1 {
            groups.insert(path.clone(), meta.ino());
        }
        all.insert(path, Line { mode: meta.mode(), size, digest, mtime, links: None, xattrs });
    }
}

/// Replaces numbers of link groups by the first name of each.
fn name_links(all: &mut Listing, groups: &HashMap<Vec<u8>, u64>) {
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    for (path, line) in all {
        if let Some(group) = groups.get(path) {
            line.links = Some(first.entry(*group).or_insert(path.clone()).clone());
        }
    }
}

/// Everything below the one source of a snapshot.
pub(crate) async fn in_snapshot(browse: &Browse) -> Listing {
    let base = browse.snapshot().sources[0].clone();
    let mut all = Listing::new();
    let mut groups = HashMap::new();
    let mut walk = browse.walk(browse.subtree(&base).await.unwrap());
    while let Some(found) = walk.next().await.unwrap() {
        let node = found.node();
        let path = found.path()[base.len() + 1..].to_vec();
        let (kind, digest) = match &node.kind {
            Kind::File => (0o100_000, Some(digest(browse, &node.content).await)),
            Kind::Folder => (0o040_000, None),
            Kind::Symlink(target) => (0o120_000, Some(sha256(target))),
            Kind::Fifo => (0o010_000, None),
            Kind::Socket => (0o140_000, None),
            Kind::CharDevice { .. } => (0o020_000, None),
            Kind::BlockDevice { .. } => (0o060_000, None),
        };
        let meta = &node.meta;
        let xattrs = meta.xattrs.iter().map(|xattr| (xattr.name.clone(), xattr.value.clone())).collect();
        let mtime = (meta.mtime.secs, meta.mtime.nanos);
        if let Some(group) = meta.link_group {
            groups.insert(path.clone(), group);
        }
        all.insert(path, Line { mode: kind | meta.mode, size: node.size(), digest, mtime, links: None, xattrs });
    }
    name_links(&mut all, &groups);
    all
}

async fn digest(browse: &Browse, content: &bygone::meta::Content) -> Vec<u8> {
    let mut sha = Context::new(&SHA256);
    let mut at = 0;
    let zeros = |sha: &mut Context, count: u64| sha.update(&vec![0; usize::try_from(count).unwrap()]);
    let mut data = browse.data(content);
    while let Some((offset, bytes)) = data.next().await.unwrap() {
        zeros(&mut sha, offset - at);
        sha.update(&bytes);
        at = offset + bytes.len() as u64;
    }
    zeros(&mut sha, content.len() - at);
    sha.finish().as_ref().to_vec()
}

fn shown(bytes: &[u8]) -> String {
    let plain = |b: u8| (0x21..=0x7e).contains(&b) && b != b'%';
    bytes.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The first four columns: what `scripts/format-reader.py` prints.
pub(crate) fn short_text(listing: &Listing) -> Vec<String> {
    let line = |(path, line): (&Vec<u8>, &Line)| {
        let digest = line.digest.as_deref().map_or("-".to_owned(), hex);
        format!("{} {:06o} {} {digest}", shown(path), line.mode, line.size)
    };
    listing.iter().map(line).collect()
}

/// All columns.
pub(crate) fn text(listing: &Listing) -> String {
    let lines = short_text(listing).into_iter().zip(listing.values()).map(|(short, line)| {
        let (secs, nanos) = line.mtime;
        let links = line.links.as_deref().map_or("-".to_owned(), shown);
        let xattrs: Vec<String> = line.xattrs.iter().map(|(n, v)| format!(" {}={}", shown(n), hex(v))).collect();
        format!("{short} {secs}.{nanos:09} {links}{}\n", xattrs.concat())
    });
    lines.collect()
}
