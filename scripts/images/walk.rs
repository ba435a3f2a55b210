//! Prints everything about the tree in an image, as `listing.py` prints what a driver shows, through the parsers alone.
//!
//! usage: walk [--meta | --used | --metadata] IMAGE      --meta: no content is read
//!                                                       --used: only the ranges in use, for garbage.py
//!                                                       --metadata: only what listings need, for damage.py
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod image_file;

use bygone::disk::Cached;
use bygone::disk::Error;
use bygone::disk::Result;
use bygone::disk::Run;
use bygone::disk::fs;
use bygone::disk::fs::FileSystem;
use bygone::disk::fs::NodeKind;
use image_file::ImageFile;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

fn shown(name: &[u8]) -> String {
    let plain = |b: &u8| (33..127).contains(b) && !b"\\%".contains(b);
    name.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02x}") }).collect()
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

const STEP: u64 = 4 << 20;

fn digest(fs: &mut dyn FileSystem, source: &fs::Source, id: u64, size: u64) -> Result<String> {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    let mut at = 0;
    while at < size {
        let mut runs: Vec<Run> = Vec::new();
        fs.map(id, at..size.min(at + STEP), &mut runs)?;
        let bytes = bygone::disk::read_runs(source, &runs)?;
        assert_eq!(bytes.len() as u64, size.min(at + STEP) - at, "runs are shorter than the file");
        hash.update(&bytes);
        at += STEP;
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

struct Walk {
    source: fs::Source,
    meta_only: bool,
    left: u64,
}

impl Walk {
    fn node(&mut self, fs: &mut dyn FileSystem, id: u64, path: &[u8], out: &mut dyn Write) -> Result<()> {
        let node = fs.node(id)?;
        let (kind, is_folder) = match node.kind {
            NodeKind::File => ("f", false),
            NodeKind::Folder => ("d", true),
            NodeKind::Symlink => ("l", false),
            NodeKind::Fifo => ("p", false),
            NodeKind::Socket => ("s", false),
            NodeKind::CharDevice => ("c", false),
            NodeKind::BlockDevice => ("b", false),
        };
        let target = if kind == "l" { shown(&fs.link(id)?) } else { String::new() };
        let xattrs = fs.xattrs(id)?;
        let hex = |value: &[u8]| value.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let xattrs: Vec<String> = xattrs.iter().map(|x| format!("{}={}", shown(&x.name), hex(&x.value))).collect();
        let content = match kind {
            "f" if self.meta_only => "-".to_owned(),
            "f" => match digest(fs, &self.source, id, node.size) {
                Err(Error::Encrypted) => "-".to_owned(),
                digest => digest?,
            },
            _ => String::new(),
        };
        let fields = [
            if path.is_empty() { ".".to_owned() } else { shown(path) },
            kind.to_owned(),
            if "fl".contains(kind) { node.size } else { 0 }.to_string(),
            node.mtime.map_or("-".to_owned(), |t| format!("{}.{:09}", t.secs, t.nanos)),
            if kind == "l" { "-".to_owned() } else { node.mode.map_or("-".to_owned(), |m| format!("{m:o}")) },
            or_dash(node.uid),
            or_dash(node.gid),
            if is_folder { "-".to_owned() } else { or_dash(node.links) },
            target,
            xattrs.join(","),
            content,
        ];
        writeln!(out, "{}", fields.join("\t")).unwrap();
        if !is_folder {
            return Ok(());
        }
        let (mut children, mut cursor) = (Vec::new(), 0);
        // In parts, so that cursors are tried too.
        loop {
            let mut part = Vec::new();
            fs.list(id, cursor, &mut |entry| {
                part.push(entry);
                part.len() < 1000
            })?;
            let Some(last) = part.last() else { break };
            cursor = last.cursor;
            children.append(&mut part);
        }
        children.sort_by(|a, b| a.name.cmp(&b.name));
        for child in children {
            self.left = self.left.checked_sub(1).ok_or(Error::damaged("tree", 0, "it does not end"))?;
            let mut below = path.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&child.name);
            if let Err(error) = self.node(fs, child.node, &below, out) {
                eprintln!("{}: {error}", shown(&below));
            }
        }
        Ok(())
    }
}

fn print_used(fs: &mut dyn FileSystem) {
    match fs.used() {
        Ok(Some(ranges)) => ranges.iter().for_each(|range| println!("{} {}", range.start, range.end)),
        Ok(None) => eprintln!("it cannot be known what is in use"),
        Err(error) => eprintln!("in use: {error}"),
    }
}

fn print_metadata(fs: &mut dyn FileSystem) {
    let mut left = 100_000;
    let told = fs.metadata(&mut |range| {
        println!("{} {}", range.start, range.end);
        left -= 1;
        left > 0
    });
    if let Err(error) = told {
        eprintln!("metadata: {error}");
    }
}

fn main() {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    let [meta_only, used_only, metadata_only] =
        ["--meta", "--used", "--metadata"].map(|option| args.first().is_some_and(|arg| arg == option));
    if meta_only || used_only || metadata_only {
        args.remove(0);
    }
    let source: fs::Source = Arc::new(Cached::new(ImageFile::open(Path::new(&args[0])).unwrap(), 64 << 20));
    let mut fs = match fs::open(&source) {
        Ok(Some(fs)) => fs,
        Ok(None) => return eprintln!("no file system is known here"),
        Err(error) => return eprintln!("cannot be opened: {error}"),
    };
    eprintln!("{:?}", fs.about());
    if used_only {
        return print_used(&mut *fs);
    }
    if metadata_only {
        return print_metadata(&mut *fs);
    }
    let root = fs.root();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut walk = Walk { source, meta_only, left: 2_000_000 };
    if let Err(error) = walk.node(&mut *fs, root, b"", &mut out) {
        eprintln!("root: {error}");
    }
}
