//! Drives that judge who opens and who reads: what they refuse one program leaves no trace for the others.

use crate::shown::Shown;
use crate::shown::show_drive;
use bygone_mount::Answer;
use bygone_mount::Attr;
use bygone_mount::Drive;
use bygone_mount::DriveError;
use bygone_mount::drive::Caller;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Listing;
use bygone_mount::drive::ROOT;
use bygone_mount::drive::Seek;
use bygone_mount::drive::Volume;
use bygone_mount::fuse::Counts;
use bygone_mount::fuse::MountOptions;
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::MemoryDrive;
use bygone_mount::memory::pattern;
use bytes::Bytes;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

const BYTES: u64 = 4 << 20;

/// What is done to everybody but this process.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Nothing,
    /// Refused when they open.
    RefuseOpen,
    /// Refused when they read the second half of the file.
    RefuseRead,
    /// Small files come with the permission to open them.
    GiveSmall,
    /// The same, but the first permission comes later than others could.
    GiveSmallLate,
}

struct Choosy {
    drive: MemoryDrive,
    rule: Rule,
    /// Who read what: caller, offset, length.
    reads: Reads,
    opened: Mutex<HashSet<Ino>>,
}

type Reads = Arc<Mutex<Vec<(u32, u64, u32)>>>;

fn is_us(caller: Caller) -> bool {
    Path::new(&format!("/proc/self/task/{}", caller.pid)).exists()
}

impl Drive for Choosy {
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
    fn asks_open(&self) -> bool {
        !matches!(self.rule, Rule::Nothing | Rule::RefuseRead)
    }
    fn open(&self, ino: Ino, caller: Caller) -> Answer<()> {
        if self.rule == Rule::GiveSmallLate && self.opened.lock().unwrap().insert(ino) {
            return Answer::later(async { Ok(()) });
        }
        let is_allowed = matches!(self.rule, Rule::GiveSmall | Rule::GiveSmallLate) || is_us(caller);
        Answer::Now(if is_allowed { Ok(()) } else { Err(DriveError::Denied) })
    }
    fn small(&self, ino: Ino, bytes_max: u64, caller: Caller) -> Option<Bytes> {
        let Answer::Now(Ok(attr)) = self.drive.attr(ino) else { return None };
        let is_small = attr.size <= bytes_max;
        match is_small.then(|| self.drive.read(ino, 0, attr.size as u32, caller))? {
            Answer::Now(read) => read.ok(),
            Answer::Later(_) => None,
        }
    }
    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes> {
        self.reads.lock().unwrap().push((caller.pid, offset, len));
        let is_refused = self.rule == Rule::RefuseRead && !is_us(caller) && offset >= BYTES / 2;
        if is_refused { Answer::Now(Err(DriveError::Denied)) } else { self.drive.read(ino, offset, len, caller) }
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

fn choosy(rule: Rule) -> (Shown, Reads) {
    let mut builder = MemoryBuilder::new();
    builder.pattern_file(ROOT, "big", BYTES);
    let reads = Reads::default();
    let drive = Choosy { drive: builder.build(), rule, reads: reads.clone(), opened: Mutex::default() };
    (show_drive(Arc::new(drive), &MountOptions::default()), reads)
}

/// What `cat`, another process than this, gets of the file and whether all went well; and its number.
fn cat(shown: &Shown) -> (u32, bool, Vec<u8>) {
    let mut command = Command::new("cat");
    let child = command.arg(shown.path("big")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let number = child.id();
    let output = child.wait_with_output().unwrap();
    (number, output.status.success(), output.stdout)
}

/// This process reads all of it, and gets it.
fn we_read(shown: &Shown) -> Counts {
    let (content, counts) = shown.counted(|| fs::read(shown.path("big")).unwrap());
    assert!(content == pattern(0, BYTES as usize));
    counts
}

#[test]
fn read_ahead_is_made_in_the_name_of_the_reader() {
    let (shown, reads) = choosy(Rule::Nothing);
    let (number, good, content) = cat(&shown);
    assert!(good && content == pattern(0, BYTES as usize));
    let reads = reads.lock().unwrap();
    assert!(reads.iter().any(|(_, _, len)| *len > 128 << 10), "no read-ahead: {reads:?}");
    assert!(reads.iter().all(|(reader, _, _)| *reader == number), "{number}: {reads:?}");
}

#[test]
fn a_refused_opening_leaves_no_trace() {
    let (shown, reads) = choosy(Rule::RefuseOpen);
    let (_, good, content) = cat(&shown);
    assert!(!good && content.is_empty() && reads.lock().unwrap().is_empty());
    // Without being root the kernel reads 128 KiB at once.
    let reads_max = if rustix::process::geteuid().is_root() { 8 } else { 32 + 2 };
    let counts = we_read(&shown);
    assert!(counts.read <= reads_max, "{counts:?}");
    // Now the system has all of it, and still asks.
    assert!(!cat(&shown).1);
}

#[test]
fn a_refused_read_concerns_nobody_else() {
    let (shown, reads) = choosy(Rule::RefuseRead);
    let (_, good, content) = cat(&shown);
    assert!(!good && content.len() < BYTES as usize && pattern(0, content.len()) == content);
    // Little is asked for beyond the refusal, and nothing opened.
    let refused = reads.lock().unwrap().iter().filter(|(_, offset, _)| *offset >= BYTES / 2).count();
    assert!(refused <= 4, "{refused}");
    // In single pages where the kernel had begun to read ahead: at most that much.
    let counts = we_read(&shown);
    assert!(counts.read <= (1 << 20) / 4096 * 2 + 8 && counts.open <= 1, "{counts:?}");
    // Now the system has all of it, and gives it to anybody.
    let (_, good, content) = cat(&shown);
    assert!(good && content == pattern(0, BYTES as usize));
}

const SIZES: [u64; 7] = [1, 100, 4096, 4097, 20_000, 32 << 10, (32 << 10) + 1];

fn giving(rule: Rule, threads: usize) -> (Shown, Reads) {
    let mut builder = MemoryBuilder::new();
    for (number, size) in SIZES.iter().cycle().enumerate().take(700) {
        builder.pattern_file(ROOT, &number.to_string(), *size);
    }
    let reads = Reads::default();
    let drive = Choosy { drive: builder.build(), rule, reads: reads.clone(), opened: Mutex::default() };
    (show_drive(Arc::new(drive), &MountOptions { threads, ..MountOptions::default() }), reads)
}

fn expect_content(shown: &Shown, number: usize) {
    let size = SIZES[number % SIZES.len()] as usize;
    assert!(fs::read(shown.path(&number.to_string())).unwrap() == pattern(0, size), "{number}");
}

#[test]
fn small_files_come_with_the_permission_to_open_them() {
    let (shown, reads) = giving(Rule::GiveSmall, 2);
    let (_, counts) = shown.counted(|| (0..700).for_each(|number| expect_content(&shown, number)));
    assert_eq!(counts.open, 700);
    // One size is too long for that.
    assert!((100..=200).contains(&counts.read), "{counts:?}");
    assert_eq!(reads.lock().unwrap().len() as u64, counts.read);
    let (_, counts) = shown.counted(|| (0..700).for_each(|number| expect_content(&shown, number)));
    assert_eq!((counts.open, counts.read), (700, 0));
}

#[test]
fn a_file_that_others_may_be_reading_is_not_given() {
    let (shown, _) = giving(Rule::GiveSmallLate, 2);
    let (_, counts) = shown.counted(|| (0..700).for_each(|number| expect_content(&shown, number)));
    assert!(counts.open == 700 && counts.read >= 700, "{counts:?}");
}

#[test]
fn many_who_open_the_same_small_files_do_not_wait_for_each_other() {
    for (rule, threads) in
        [(Rule::GiveSmall, 1), (Rule::GiveSmall, 2), (Rule::GiveSmallLate, 1), (Rule::GiveSmallLate, 2)]
    {
        let (shown, _) = giving(rule, threads);
        std::thread::scope(|scope| {
            for reader in 0..8 {
                let shown = &shown;
                // The same ones at about the same time, half of the readers from the other end.
                scope.spawn(move || {
                    for step in 0..700 {
                        expect_content(shown, if reader % 2 == 0 { step } else { 699 - step });
                    }
                });
            }
        });
    }
}
