//! Prints the SHA-256 of what is in a LUKS disk or in logical volumes, read by the parsers alone.
//!
//! usage: volume luks IMAGE PASSPHRASE [BYTES] | volume lvm IMAGE...      BYTES: of the plain disk, from its start
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod image_file;

use bygone::disk::BlockSource;
use bygone::disk::Run;
use bygone::disk::fs::Source;
use bygone::disk::read_runs;
use bygone::disk::volume::luks;
use bygone::disk::volume::lvm;
use image_file::ImageFile;
use sha2::Digest;
use std::path::Path;
use std::sync::Arc;

fn image(path: &str) -> Source {
    Arc::new(ImageFile::open(Path::new(path)).unwrap())
}

/// Once through `map`, once through `read_at`; both must be the same. In odd steps, so that edges are met.
fn digest(source: &Source, below: &Source, len: u64) -> String {
    const STEP: u64 = 300_007;
    let mut hash = sha2::Sha256::new();
    let mut at = 0;
    while at < len {
        let end = len.min(at + STEP);
        let mut runs: Vec<Run> = Vec::new();
        source.map(at..end, &mut runs).unwrap();
        let mapped = read_runs(below, &runs).unwrap();
        let mut read = vec![0; (end - at) as usize];
        source.read_at(at, &mut read).unwrap();
        assert!(mapped == read, "map and read_at differ");
        hash.update(&read);
        at = end;
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["luks", path, passphrase, rest @ ..] => {
            let below = image(path);
            eprintln!("{:?}", luks::about(&below));
            match luks::unlock(below.clone(), passphrase.as_bytes()) {
                Ok(plain) => {
                    let len = rest.first().map_or(plain.len(), |len| len.parse().unwrap());
                    println!("{}", digest(&plain, &below, len));
                }
                Err(error) => println!("{error}"),
            }
        }
        ["lvm", paths @ ..] => {
            let pvs: Vec<Source> = paths.iter().map(|path| image(path)).collect();
            for volume in lvm::volumes(&pvs).unwrap() {
                let content = match &volume.content {
                    Ok(source) => digest(source, &pvs[volume.below.unwrap_or(0)], volume.len),
                    Err(error) => error.to_string(),
                };
                println!("{}\t{}\t{}\t{content}", volume.name, volume.uuid, volume.len);
            }
        }
        _ => eprintln!("usage: volume luks IMAGE PASSPHRASE [BYTES] | volume lvm IMAGE..."),
    }
}
