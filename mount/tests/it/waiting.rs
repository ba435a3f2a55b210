//! Slow drives: a waiting request holds up nobody else, and none waits for ever.

use crate::shown::errno;
use crate::shown::show;
use crate::shown::show_drive;
use crate::shown::show_with;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Result;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bygone_mount::fuse::MountOptions;
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::MemoryDrive;
use bytes::Bytes;
use rustix::io::Errno;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

#[test]
fn waiting_reads_hold_up_nobody_else() {
    let mut builder = MemoryBuilder::new();
    // More than there are FUSE threads.
    let gates: Vec<_> = (0..8)
        .map(|number| {
            let ino = builder.file(ROOT, &format!("slow{number}"), "slow content");
            builder.gate(ino)
        })
        .collect();
    let folder = builder.folder(ROOT, "folder");
    builder.file(folder, "quick", "quick content");
    let shown = show(builder);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..gates.len())
            .map(|number| {
                let path = shown.path(&format!("slow{number}"));
                scope.spawn(move || fs::read_to_string(path).unwrap())
            })
            .collect();
        for gate in &gates {
            shown.runtime.block_on(gate.reached(1));
        }
        assert_eq!(fs::read_dir(shown.path("folder")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(shown.path("folder/quick")).unwrap(), "quick content");
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        gates.iter().for_each(bygone_mount::memory::Gate::open);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), "slow content");
        }
    });
}

#[test]
fn a_waiting_listing_holds_up_nobody_else() {
    let mut builder = MemoryBuilder::new();
    let slow = builder.folder(ROOT, "slow");
    builder.file(slow, "inside", "");
    let gate = builder.gate(slow);
    builder.file(ROOT, "quick", "quick content");
    let shown = show(builder);
    thread::scope(|scope| {
        let lister = scope.spawn(|| fs::read_dir(shown.path("slow")).unwrap().count());
        shown.runtime.block_on(gate.reached(1));
        assert_eq!(fs::read_to_string(shown.path("quick")).unwrap(), "quick content");
        gate.open();
        assert_eq!(lister.join().unwrap(), 1);
    });
}

#[test]
fn the_deadline_ends_a_request_and_the_next_one_works() {
    let mut builder = MemoryBuilder::new();
    let file = builder.file(ROOT, "slow", "slow content");
    let folder = builder.folder(ROOT, "folder");
    builder.file(folder, "inside", "");
    let gates = [builder.gate(file), builder.gate(folder)];
    let options = MountOptions { deadline: Duration::from_secs(1), ..MountOptions::default() };
    let shown = show_with(builder, &options);
    assert_eq!(errno(&fs::read(shown.path("slow")).unwrap_err()), Errno::IO);
    let listed = fs::read_dir(shown.path("folder")).unwrap().next().unwrap();
    assert_eq!(errno(&listed.unwrap_err()), Errno::IO);
    gates.iter().for_each(bygone_mount::memory::Gate::open);
    assert_eq!(fs::read(shown.path("slow")).unwrap(), b"slow content");
    assert_eq!(fs::read_dir(shown.path("folder")).unwrap().count(), 1);
}

#[test]
fn many_files_that_are_not_answered_take_little_longer_than_one() {
    const FILES: u32 = 6;
    let mut builder = MemoryBuilder::new();
    let gates: Vec<_> = (0..FILES)
        .map(|number| {
            let ino = builder.file(ROOT, &format!("silent{number}"), "content");
            builder.gate(ino)
        })
        .collect();
    let slow = builder.file(ROOT, "slow", "slow content");
    builder.delay(slow, Duration::from_millis(1500));
    let deadline = Duration::from_secs(2);
    let shown = show_with(builder, &MountOptions { deadline, ..MountOptions::default() });
    let began = Instant::now();
    for number in 0..FILES {
        assert_eq!(errno(&fs::read(shown.path(&format!("silent{number}"))).unwrap_err()), Errno::IO);
    }
    // The system asks twice for each.
    assert!(began.elapsed() < deadline * FILES, "{:?}", began.elapsed());
    assert_eq!(errno(&fs::read(shown.path("slow")).unwrap_err()), Errno::IO);
    // Once in a while one may wait for long, and is answered.
    gates.iter().for_each(bygone_mount::memory::Gate::open);
    while fs::read(shown.path("slow")).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is never waited for again");
    }
    assert_eq!(fs::read(shown.path("silent3")).unwrap(), b"content");
}

/// Panics when a file is read, at once or later.
struct Careless {
    drive: MemoryDrive,
    late: bool,
}

impl Drive for Careless {
    fn volume(&self) -> Volume {
        self.drive.volume()
    }
    fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Attr> {
        self.drive.lookup(parent, name)
    }
    fn attr(&self, ino: Ino) -> Answer<Attr> {
        self.drive.attr(ino)
    }
    fn list(&self, folder: Ino, cursor: u64, entries_max: usize) -> Answer<Listing> {
        self.drive.list(folder, cursor, entries_max)
    }
    fn read(&self, _: Ino, _: u64, _: u32, _: Caller) -> Answer<Bytes> {
        let careless = || -> Result<Bytes> { panic!("on purpose") };
        if self.late { Answer::later(async move { careless() }) } else { Answer::Now(careless()) }
    }
    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        self.drive.read_link(ino)
    }
    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        self.drive.xattr(ino, name)
    }
    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        self.drive.xattr_names(ino)
    }
    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.drive.seek(ino, offset, what)
    }
}

#[test]
fn a_drive_that_panics_stays_mounted() {
    for late in [false, true] {
        let mut builder = MemoryBuilder::new();
        builder.file(ROOT, "f", "content");
        let drive = Arc::new(Careless { drive: builder.build(), late });
        let shown = show_drive(drive, &MountOptions::default());
        // More often than there are FUSE threads.
        for _ in 0..8 {
            assert_eq!(errno(&fs::read(shown.path("f")).unwrap_err()), Errno::IO);
        }
        assert_eq!(fs::read_dir(shown.dir.path()).unwrap().count(), 1);
    }
}
