//! One cache for several processes: two drives and a backup, one of the drives killed in the middle of its work.

use crate::cache::disk_bytes;
use crate::house::noise;
use crate::network::Far;
use crate::previews::status;
use crate::program::Program;
use crate::program::json_lines;
use crate::weather::Dice;
use crate::weather::read_part;
use rustix::fs::Advice;
use rustix::fs::fadvise;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const MIB: usize = 1 << 20;
const CACHE_BYTES: u64 = 24 << 20;
const FILES: u64 = 4;
const FILE_BYTES: usize = 10 * MIB;

/// A drive of the one snapshot with hardly any memory; unmounted when dropped.
struct Drive<'a> {
    program: &'a Program,
    at: PathBuf,
}

impl<'a> Drive<'a> {
    fn mount(far: &Far, program: &'a Program, snapshot: &str, name: &str) -> Drive<'a> {
        let at = program.scratch().join(name);
        let what = program.at(snapshot, "");
        let options = ["mount", "--cache-size", "24M", "--memory", "8M"];
        far.run(program, &[&options[..], &[what.trim_end_matches('/'), at.to_str().unwrap()]].concat()).ok();
        Drive { program, at }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(status(self.program, &self.at)["pid"].as_i64().unwrap() as i32).unwrap()
    }

    /// Reads here and there. What comes is right; how much that was, or the error that ended it.
    fn read(&self, seed: u64, reads: usize, done: &AtomicU64) -> io::Result<()> {
        let mut dice = Dice::new(seed << 32);
        for _ in 0..reads {
            let number = dice.below(FILES);
            let (offset, len) = (dice.below(FILE_BYTES as u64), dice.below(MIB as u64) as usize);
            let file = File::open(self.at.join(number.to_string()))?;
            let found = read_part(&file, offset, len)?;
            let end = (offset as usize + len).min(FILE_BYTES);
            assert!(found == noise(number, FILE_BYTES)[offset as usize..end], "{number} from {offset}, {len} bytes");
            fadvise(&file, 0, None, Advice::DontNeed)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn hits(&self) -> u64 {
        status(self.program, &self.at)["cache"]["disk"]["hits"].as_u64().unwrap()
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let _ended = self.program.run(&["umount", "--lazy", self.at.to_str().unwrap()]);
    }
}

/// The largest a folder gets until it is over.
fn largest(folder: &Path, is_over: &AtomicBool) -> u64 {
    let mut largest = 0;
    while !is_over.load(Ordering::Relaxed) {
        largest = largest.max(disk_bytes(folder));
        thread::yield_now();
    }
    largest.max(disk_bytes(folder))
}

/// Ends the watch even if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(count: &AtomicU64, least: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    while count.load(Ordering::Relaxed) < least {
        assert!(Instant::now() < end, "nobody reads");
        thread::yield_now();
    }
}

#[test]
fn two_drives_and_a_backup_share_a_cache_and_one_is_killed() {
    let (far, program) = (Far::new("shared-cache"), Program::new());
    far.run(&program, &["init"]).ok();
    fs::create_dir(program.source()).unwrap();
    for number in 0..FILES {
        fs::write(program.source().join(number.to_string()), noise(number, FILE_BYTES)).unwrap();
    }
    let told = json_lines(&far.run(&program, &["backup", "--json", program.source().to_str().unwrap()]).ok().stdout);
    let id = told.iter().find_map(|line| line["snapshot"]["id"].as_str()).unwrap().to_owned();
    let more = program.scratch().join("more");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("file"), noise(77, 15 * MIB)).unwrap();

    let killed = Drive::mount(&far, &program, &id, "killed");
    let steady = Drive::mount(&far, &program, &id, "steady");
    let cache = program.scratch().join(".cache/bygone");
    let (pid, is_over) = (killed.pid(), AtomicBool::new(false));
    let (of_killed, of_steady) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let (killed, steady, of_killed, of_steady) = (&killed, &steady, &of_killed, &of_steady);
        let over = Over(&is_over);
        let watcher = scope.spawn(|| largest(&cache, &is_over));
        let doomed: Vec<_> = (0..2).map(|seed| scope.spawn(move || killed.read(seed, 100_000, of_killed))).collect();
        let others: Vec<_> = (2..5).map(|seed| scope.spawn(move || steady.read(seed, 40, of_steady))).collect();
        let backup = scope.spawn(|| far.run(&program, &["--cache-size", "24M", "backup", more.to_str().unwrap()]));
        wait_for(of_killed, 20);
        wait_for(of_steady, 20);
        kill_process(pid, Signal::KILL).unwrap();
        for reader in doomed {
            let error = reader.join().unwrap().unwrap_err();
            // The drive is gone: connection aborted, or not connected.
            assert!([103, 107].contains(&error.raw_os_error().unwrap()), "{error}");
        }
        others.into_iter().for_each(|reader| reader.join().unwrap().unwrap());
        backup.join().unwrap().ok();
        // In the place of the dead one, with what is in the cache.
        let again = Drive::mount(&far, &program, &id, "killed");
        again.read(9, 40, of_killed).unwrap();
        assert!(again.hits() > 0 && again.pid() != pid);
        steady.read(10, 10, of_steady).unwrap();
        drop(over);
        let largest = watcher.join().unwrap();
        println!("at most {largest} bytes on disk");
        assert!((CACHE_BYTES / 2..=CACHE_BYTES).contains(&largest), "{largest}");
    });
    assert!(steady.hits() > 0);
}
