//! A disk of which some bytes cannot be read: the backup tells it, and nobody gets zeros in their place afterwards.

use crate::disks::Mounted;
use crate::house::noise;
use crate::images_restore::disk;
use crate::program::Ended;
use crate::program::Program;
use crate::tracer;
use crate::tracer::Act;
use crate::tracer::Call;
use crate::tracer::Watch;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::DriveTime;
use bygone_mount::drive::FileKind;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bygone_mount::fuse;
use bygone_mount::fuse::MountOptions;
use bytes::Bytes;
use rustix::fs::SeekFrom;
use std::fs;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

const FILE: Ino = 2;
const NAME: &str = "sda.raw";
/// More than two chunks, so that one of them is nothing but zeros.
const BAD_BYTES: u64 = 192 << 10;

/// A folder with one file, some bytes of which cannot be read.
struct BadDisk {
    bytes: Bytes,
    bad: Range<u64>,
}

impl BadDisk {
    fn attr(&self, ino: Ino) -> Attr {
        let time = DriveTime { secs: 1_700_000_000, nanos: 0 };
        let (kind, size) = if ino == ROOT { (FileKind::Folder, 0) } else { (FileKind::File, self.bytes.len() as u64) };
        let (mode, links) = (if ino == ROOT { 0o755 } else { 0o644 }, 1);
        let (mtime, ctime, btime) = (time, time, time);
        Attr { ino, kind, size, allocated: size, mode, links, uid: 0, gid: 0, device: (0, 0), mtime, ctime, btime }
    }
}

fn no<T>(error: DriveError) -> Answer<T> {
    Answer::Now(Err(error))
}

impl Drive for BadDisk {
    fn volume(&self) -> Volume {
        Volume { bytes: self.bytes.len() as u64, nodes: 2 }
    }

    fn lookup(&self, _parent: Ino, name: &[u8]) -> Answer<Attr> {
        if name == NAME.as_bytes() { Answer::Now(Ok(self.attr(FILE))) } else { no(DriveError::NotFound) }
    }

    fn attr(&self, ino: Ino) -> Answer<Attr> {
        Answer::Now(Ok(BadDisk::attr(self, ino)))
    }

    fn list(&self, _folder: Ino, _cursor: u64, _entries_max: usize) -> Answer<Listing> {
        Answer::Now(Ok(Listing { entries: Vec::new(), parent: ROOT, end: true }))
    }

    fn read(&self, _ino: Ino, offset: u64, len: u32, _caller: Caller) -> Answer<Bytes> {
        let end = (offset + u64::from(len)).min(self.bytes.len() as u64).max(offset);
        if offset < self.bad.end && end > self.bad.start {
            return no(DriveError::Io);
        }
        Answer::Now(Ok(self.bytes.slice(offset as usize..end as usize)))
    }

    fn read_link(&self, _ino: Ino) -> Answer<Bytes> {
        no(DriveError::Invalid)
    }

    fn xattr(&self, _ino: Ino, _name: &[u8]) -> Answer<Bytes> {
        no(DriveError::NoAttribute)
    }

    fn xattr_names(&self, _ino: Ino) -> Answer<Vec<Vec<u8>>> {
        Answer::Now(Ok(Vec::new()))
    }

    fn seek(&self, _ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        Answer::Now(Ok(if what == Seek::Data { offset } else { self.bytes.len() as u64 }))
    }
}

/// A snapshot of a disk, one file of which could not be read everywhere; the disk, and where.
fn backed_up() -> Option<(Program, Vec<u8>, Range<u64>)> {
    let program = Program::new();
    let bytes = fs::read(disk(&program)?).unwrap();
    let middle = &noise(7, 3 << 20)[1 << 20..][..BAD_BYTES as usize + 8192];
    let at = bytes.windows(64).position(|window| window == &middle[..64]).unwrap();
    assert!(&bytes[at..at + middle.len()] == middle, "the file lies in several pieces");
    let start = (at as u64).next_multiple_of(4096);
    let bad = start..start + BAD_BYTES;
    let point = program.scratch().join("bad");
    fs::create_dir(&point).unwrap();
    let runtime = Runtime::new().unwrap();
    let drive = Arc::new(BadDisk { bytes: bytes.clone().into(), bad: bad.clone() });
    let session = fuse::mount(drive, &point, &MountOptions::default(), runtime.handle().clone()).unwrap();
    program.run(&["init"]).ok();
    let ended = program.run(&["backup", "--image", point.join(NAME).to_str().unwrap()]).fails(3);
    drop(session);
    assert!(ended.stderr.contains(&said(&bad)), "{}", ended.stderr);
    Some((program, bytes, bad))
}

fn said(bad: &Range<u64>) -> String {
    format!("bytes {} to {}", bad.start, bad.end)
}

#[test]
fn what_could_not_be_read_is_not_given_as_zeros() {
    let Some((program, bytes, bad)) = backed_up() else { return };
    let told = |ended: Ended| {
        assert!(ended.stderr.contains(&said(&bad)), "{}", ended.stderr);
        assert!(ended.stderr.contains("could not be read when"), "{}", ended.stderr);
    };
    let out = |name: &str| program.scratch().join(name);
    let listed = program.run(&["ls", "-R", "latest:/sda.img!/1"]).ok().stdout;
    assert!(listed.contains("home/ada/deep/noise") && listed.contains("home/sparse"), "{listed}");
    let letter = program.run(&["cat", "latest:/sda.img!/1/home/ada/letter.txt"]).ok().stdout;
    assert_eq!(letter, "Dear Charles\n");
    told(program.run(&["cat", "latest:/sda.img!/1/home/ada/deep/noise"]).fails(3));
    let mut whole = program.command(&["cat", "latest:/sda.img"]);
    let output = whole.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.len() as u64 <= bad.start && bytes.starts_with(&output.stdout));

    for more in [&[][..], &["--verify"]] {
        let restore = |at: &str, to: &str| program.run(&[&["restore", at, "--to", to], more].concat()).fails(3);
        // The second time it is there already, but still not as it was.
        told(restore("latest", "plain"));
        told(restore("latest:/sda.img!/1", "inside"));
        assert!(!out("inside/home/ada/deep/noise").exists());
        assert_eq!(fs::read_to_string(out("inside/home/again.txt")).unwrap(), "Dear Charles\n");
        told(restore("latest:/sda.img!/1/home/ada/deep/noise", "one"));
    }
    told(program.run(&["restore", "--image", "latest", "back.img"]).fails(3));
    assert!(fs::read(out("plain/sda.img")).unwrap() == fs::read(out("back.img")).unwrap());
}

/// Makes a file shorter when the first content is stored, which is long before its end is read.
struct Shrink {
    file: File,
    bytes: u64,
}

impl Watch for Shrink {
    fn before(&mut self, _call: &Call) -> Act {
        self.file.set_len(self.bytes).unwrap();
        Act::Go
    }
}

#[test]
fn a_disk_that_becomes_shorter_is_told_and_has_no_zeros_at_its_end() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let bytes = noise(3, 80 << 20);
    let image = program.scratch().join("sda.raw");
    fs::write(&image, &bytes).unwrap();
    let bad = (76 << 20)..bytes.len() as u64;
    let mut shrink = Shrink { file: File::options().write(true).open(&image).unwrap(), bytes: bad.start };
    let packs = program.repository().join("packs");
    let command = program.command(&["backup", "--image", image.to_str().unwrap()]);
    let ended = tracer::run(&command, &[&packs], &mut shrink);
    assert!(ended.code == Some(3) && ended.stderr.contains(&said(&bad)), "{:?} {}", ended.code, ended.stderr);
    let output = program.command(&["cat", "latest:/sda.img"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && told.contains(&said(&bad)), "{told}");
    let there = output.stdout.len() as u64;
    assert!((1..=bad.start).contains(&there) && bytes.starts_with(&output.stdout));
    assert!(program.run(&["restore", "--image", "latest", "back.img"]).fails(3).stderr.contains(&said(&bad)));
}

#[test]
fn a_drive_refuses_what_could_not_be_read() {
    let Some((program, bytes, bad)) = backed_up() else { return };
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
    let _mounted = Mounted(&point);
    let part = fs::read_dir(&point).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let fails = |path: &Path| assert_eq!(fs::read(path).unwrap_err().raw_os_error(), Some(5), "{}", path.display());
    assert_eq!(fs::read_to_string(part.join("home/ada/letter.txt")).unwrap(), "Dear Charles\n");
    let notes = fs::read_to_string(point.join("NOTES.txt")).unwrap();
    assert_eq!(notes, format!("Bytes {} to {} could not be read when the disk was backed up.\n", bad.start, bad.end));
    let file = File::open(part.join("home/ada/deep/noise")).unwrap();
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, 2 << 20).unwrap();
    assert!(noise(7, 3 << 20)[2 << 20..].starts_with(&page));
    fails(&part.join("home/ada/deep/noise"));
    // Twice: now, and when it is in memory.
    fails(&part.join("home/ada/deep/noise"));

    let shown = File::open(point.join("sda.img")).unwrap();
    shown.read_exact_at(&mut page, 300_000).unwrap();
    assert!(bytes[300_000..].starts_with(&page));
    for at in [bad.start, bad.end - 4096] {
        assert_eq!(shown.read_at(&mut page, at).unwrap_err().raw_os_error(), Some(5), "at {at}");
    }
    fails(&point.join("sda.img"));
    // Whoever copies passes over holes: none may be there.
    assert_eq!(rustix::fs::seek(&shown, SeekFrom::Data(bad.start)).unwrap(), bad.start);
    assert!(rustix::fs::seek(&shown, SeekFrom::Hole(bad.start)).unwrap() >= bad.end);
}
