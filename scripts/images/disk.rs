//! Prints what is on a disk, through the parsers alone: container, partitions, and the content of the virtual disk.
//!
//! usage: disk hash FILE          the container, and SHA-256 of the disk read in two ways
//!        disk map FILE           ranges of the disk that lie somewhere
//!        disk bitmaps FILE       dirty bitmaps
//!        disk table FILE         the partition table
//!        disk layout FILE        the disk as people know it, and how much of it is needed
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod image_file;

use bygone::disk::BlockSource;
use bygone::disk::Result;
use bygone::disk::Run;
use bygone::disk::container;
use bygone::disk::container::Container;
use bygone::disk::free::PartUse;
use bygone::disk::free::free;
use bygone::disk::fs;
use bygone::disk::fs::Source;
use bygone::disk::layout;
use bygone::disk::table;
use image_file::ImageFile;
use sha2::Digest;
use sha2::Sha256;
use std::path::Path;
use std::sync::Arc;

fn image(path: &Path) -> Result<Source> {
    Ok(Arc::new(ImageFile::open(path)?))
}

/// `len` in parts, so that what begins in the middle of a cluster is tried too.
fn steps(len: u64, step: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..len.div_ceil(step)).map(move |n| n * step..len.min((n + 1) * step))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn hash(container: &Container) -> Result<(String, String)> {
    let (mut read, mut mapped) = (Sha256::new(), Sha256::new());
    for range in steps(container.bytes(), 1_000_003) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        container.disk.read_at(range.start, &mut bytes)?;
        read.update(&bytes);
        let mut runs = Vec::new();
        container.disk.map(range, &mut runs)?;
        mapped.update(bygone::disk::read_runs(&container.below, &runs)?);
    }
    Ok((hex(read), hex(mapped)))
}

/// `START END` of what lies somewhere.
fn map(container: &Container) -> Result<()> {
    let mut at = 0;
    let mut open: Option<u64> = None;
    for range in steps(container.bytes(), 200 << 20) {
        let mut runs = Vec::new();
        container.disk.map(range, &mut runs)?;
        for run in runs {
            match (&run, open) {
                (Run::Zero { .. }, Some(start)) => {
                    println!("{start} {at}");
                    open = None;
                }
                (Run::Zero { .. }, None) => {}
                (_, None) => open = Some(at),
                _ => {}
            }
            at += run.len();
        }
    }
    if let Some(start) = open {
        println!("{start} {at}");
    }
    Ok(())
}

fn show_table(disk: &Source) -> Result<()> {
    let table = table::read(disk)?;
    println!("{:?} {} {}", table.kind, table.sector_bytes, table.id);
    for p in table.partitions {
        let flags = if p.bootable { " bootable" } else { "" };
        println!("{} {} {} {} {:?} {}{flags}", p.number, p.range.start, p.range.end, p.type_id, p.name, p.uuid);
    }
    for note in table.notes {
        println!("note: {note}");
    }
    Ok(())
}

fn show_layout(disk: &Source) -> Result<()> {
    let layout = layout::read(disk, layout::Look::All)?;
    println!("{:?} {} {}", layout.table, layout.sector_bytes, layout.bytes);
    for part in &layout.parts {
        let error = part.error.as_deref().unwrap_or("-");
        println!("{}\t{}\t{}\t{}\t{error}", part.title, part.kind, part.range.start, part.range.end);
    }
    for note in &layout.notes {
        println!("note: {note}");
    }
    let used = |part: &layout::Part| fs::open(&part.source(disk)).ok()??.used().ok()?;
    let parts: Vec<PartUse> = (layout.parts.iter())
        .map(|part| PartUse {
            range: part.range.clone(),
            fs_bytes: part.about.as_ref().map_or(0, |about| about.bytes),
            used: part.about.as_ref().and_then(|_| used(part)),
        })
        .collect();
    let free: u64 = free(disk.len(), &parts).iter().map(|range| range.end - range.start).sum();
    println!("needed {}", disk.len() - free);
    Ok(())
}

fn run(what: &str, path: &Path) -> Result<()> {
    let source = image(path)?;
    let folder = path.parent().unwrap();
    let container = container::open(source.clone(), &|name| image(&folder.join(name)))?;
    let disk = container.as_ref().map_or(source, |container| container.disk.clone());
    match (what, container) {
        ("table", _) => return show_table(&disk),
        ("layout", _) => return show_layout(&disk),
        ("hash", Some(container)) => {
            let (read, mapped) = hash(&container)?;
            println!("{} {} {read}", container.kind, container.bytes());
            assert_eq!(read, mapped, "two ways to read it differ");
            container.notes.iter().for_each(|note| println!("note: {note}"));
        }
        ("map", Some(container)) => map(&container)?,
        ("bitmaps", Some(container)) => {
            for b in container.bitmaps.map_or(Ok(Vec::new()), |bitmaps| bitmaps.read())? {
                println!("{} {} {} {}", b.name, b.granularity, b.is_consistent, b.is_recording);
                b.ranges.iter().for_each(|range| println!("{} {}", range.start, range.end));
            }
        }
        _ => println!("raw {}", disk.len()),
    }
    Ok(())
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if let Err(error) = run(&args[1], Path::new(&args[2])) {
        println!("error: {error}");
        std::process::exit(1);
    }
}
