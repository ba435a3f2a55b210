//! Sources that misbehave: what cannot be read is reported, and the rest is in the snapshot.

use crate::drive::attach;
use crate::drive::mount_latest;
use crate::house::House;
use crate::house::noise;
use crate::program::Ended;
use crate::program::Program;
use bygone::backup::Options;
use bygone::monitor::Collect;
use bygone::monitor::Event;
use bygone::monitor::Monitor;
use bygone::path::Show;
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
use bygone_mount::memory::MemoryBuilder;
use bygone_mount::memory::MemoryDrive;
use bygone_mount::memory::pattern;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

/// Files of a drive that are not what they should be: by number, where reading goes wrong and how.
struct Bad {
    drive: MemoryDrive,
    /// Here extended attributes cannot be read.
    no_xattrs: Ino,
    files: HashMap<Ino, (u64, Fate)>,
}

#[derive(Clone, Copy)]
enum Fate {
    /// Reading beyond this offset fails.
    Fails,
    /// There is nothing beyond this offset, whatever the size says.
    Ends,
}

impl Drive for Bad {
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

    fn read(&self, ino: Ino, offset: u64, len: u32, caller: Caller) -> Answer<Bytes> {
        let end = offset + u64::from(len);
        match self.files.get(&ino) {
            Some((until, Fate::Fails)) if end > *until => Answer::Now(Err(DriveError::Io)),
            Some((until, Fate::Ends)) if end > *until => {
                let len = u32::try_from(until.saturating_sub(offset)).unwrap();
                self.drive.read(ino, offset, len, caller)
            }
            _ => self.drive.read(ino, offset, len, caller),
        }
    }

    fn read_link(&self, ino: Ino) -> Answer<Bytes> {
        self.drive.read_link(ino)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Bytes> {
        self.drive.xattr(ino, name)
    }

    fn xattr_names(&self, ino: Ino) -> Answer<Vec<Vec<u8>>> {
        if self.no_xattrs == ino { Answer::Now(Err(DriveError::Io)) } else { self.drive.xattr_names(ino) }
    }

    fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.drive.seek(ino, offset, what)
    }
}

#[test]
fn files_that_fail_or_end_in_their_middle() {
    let house = House::new();
    let mut builder = MemoryBuilder::new();
    let mut files = HashMap::new();
    let mut bad = |name: &str, size: u64, at: u64, fate: Fate, builder: &mut MemoryBuilder| {
        let ino = builder.pattern_file(ROOT, name, size);
        files.insert(ino, (at, fate));
    };
    bad("a small one fails", 1 << 20, 500_000, Fate::Fails, &mut builder);
    bad("b large one fails", 12 << 20, 9 << 20, Fate::Fails, &mut builder);
    bad("c small one ends", 1 << 20, 300_000, Fate::Ends, &mut builder);
    bad("d large one ends", 12 << 20, 7_000_000, Fate::Ends, &mut builder);
    bad("e tiny one is empty", 100, 0, Fate::Ends, &mut builder);
    let locked = builder.folder(ROOT, "f folder cannot be listed");
    builder.file(locked, "inside", "never seen");
    builder.fail(locked, DriveError::Io);
    let whole = builder.folder(ROOT, "g whole");
    builder.xattr(whole, "user.note", "for the drive to be asked at all");
    for i in 0..20 {
        builder.pattern_file(whole, &format!("file {i:02}"), i * 100_000);
    }
    builder.pattern_file(ROOT, "h whole", 9 << 20);
    let source = attach(&house, Arc::new(Bad { drive: builder.build(), no_xattrs: whole, files }));
    let options = || {
        let mut options = house.options();
        options.source.roots = vec![source.at.clone()];
        options
    };
    let monitor = Collect::default();
    house.backup_with(options(), &monitor).unwrap();
    let problems = monitor.problems.lock().unwrap();
    let is_told = |name: &str| problems.iter().any(|problem| problem.contains(name));
    for name in ["a small", "b large", "f folder", "g whole"] {
        assert!(is_told(name), "nobody tells of {name}: {problems:?}");
    }
    let base = source.at.canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').to_owned();
    let browse = house.browse();
    let get = |name: &str| house.runtime.block_on(browse.get(format!("{base}/{name}").as_bytes())).unwrap();
    let read = |name: &str| {
        let content = get(name).unwrap().node().content.clone();
        house.runtime.block_on(browse.read(&content, 0, 16 << 20)).unwrap()
    };
    for name in ["a small one fails", "b large one fails"] {
        assert!(get(name).is_none(), "{name}");
    }
    assert!(get("f folder cannot be listed").is_some());
    // What there was of it is kept: it is right as far as it goes. The kernel may have filled up with zeros what it
    // read ahead; or it has learned before the backup looks where the file ends, and nothing is amiss.
    let mut short = 0;
    for (name, len) in [("c small one ends", 300_000), ("d large one ends", 7_000_000), ("e tiny one is empty", 0)] {
        let bytes = read(name);
        assert!(bytes[..len] == pattern(0, len), "{name}");
        assert!(bytes[len..].iter().all(|byte| *byte == 0), "{name}");
        assert!(is_told(name) || bytes.len() == len, "nobody tells of {name}: {problems:?}");
        short += usize::from(is_told(name));
    }
    // The locked folder has two: neither its entries nor its extended attributes can be read.
    assert_eq!(problems.len(), 5 + short, "{problems:?}");
    assert!(read("h whole") == pattern(0, 9 << 20));
    for i in 0..20 {
        assert!(read(&format!("g whole/file {i:02}")) == pattern(0, i * 100_000), "{i}");
    }
    // What failed is not taken for unchanged the next time. (The kernel has learned where the short ones end.)
    let again = Collect::default();
    house.backup_with(options(), &again).unwrap();
    let problems = again.problems.lock().unwrap();
    for name in ["a small", "b large", "f folder", "g whole"] {
        assert!(problems.iter().any(|problem| problem.contains(name)), "nobody tells of {name}: {problems:?}");
    }
}

/// Does something when the first large file is about to be read, and collects problems.
struct Meddler {
    meddle: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    collect: Collect,
}

impl Monitor for Meddler {
    fn event(&self, event: Event<'_>) {
        if let Event::Path(_) = event
            && let Some(meddle) = self.meddle.lock().unwrap().take()
        {
            meddle();
        }
        self.collect.event(event);
    }
}

#[test]
fn files_that_change_while_they_are_backed_up() {
    let house = House::new();
    let root = house.source();
    for name in ["a large", "b large too", "c large goes"] {
        fs::write(root.join(name), noise(1, 6 << 20)).unwrap();
    }
    for name in ["d shrinks", "e grows", "f goes", "g is replaced", "fifo", "i becomes a folder", "j stays"] {
        fs::write(root.join(name), noise(2, 50_000)).unwrap();
    }
    fs::create_dir(root.join("k folder")).unwrap();
    (0..20).for_each(|i| fs::write(root.join(format!("k folder/{i}")), noise(i, 5_000)).unwrap());
    let at = root.clone();
    let meddle = move || {
        let path = |name: &str| at.join(name);
        fs::File::options().write(true).open(path("b large too")).unwrap().set_len(100_000).unwrap();
        fs::remove_file(path("c large goes")).unwrap();
        fs::File::options().write(true).open(path("d shrinks")).unwrap().set_len(10_000).unwrap();
        fs::File::options().append(true).open(path("e grows")).unwrap().write_all(b"more").unwrap();
        fs::remove_file(path("f goes")).unwrap();
        fs::write(path("new"), noise(3, 60_000)).unwrap();
        fs::rename(path("new"), path("g is replaced")).unwrap();
        fs::remove_file(path("fifo")).unwrap();
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        fs::remove_file(path("i becomes a folder")).unwrap();
        fs::create_dir(path("i becomes a folder")).unwrap();
    };
    let monitor = Meddler { meddle: Mutex::new(Some(Box::new(meddle))), collect: Collect::default() };
    house.backup_with(house.options(), &monitor).unwrap();
    let problems = monitor.collect.problems.lock().unwrap();
    for name in ["c large", "f goes", "i becomes"] {
        assert!(problems.iter().any(|problem| problem.contains(name)), "nobody tells of {name}: {problems:?}");
    }
    // The others are whole, as they were when it was their turn.
    assert_eq!(problems.len(), 3, "{problems:?}");
    let mounted = mount_latest(&house);
    let read = |name: &str| fs::read(mounted.at.join(name));
    assert!(read("a large").unwrap() == noise(1, 6 << 20));
    assert!(read("b large too").unwrap() == noise(1, 100_000));
    assert!(read("d shrinks").unwrap() == noise(2, 10_000));
    assert!(read("e grows").unwrap() == [&noise(2, 50_000)[..], b"more"].concat());
    assert!(read("g is replaced").unwrap() == noise(3, 60_000));
    assert!(fs::symlink_metadata(mounted.at.join("fifo")).unwrap().file_type().is_fifo());
    assert!(read("j stays").unwrap() == noise(2, 50_000));
    for name in ["c large goes", "f goes", "i becomes a folder"] {
        assert!(read(name).is_err(), "{name}");
    }
    (0..20).for_each(|i| assert!(read(&format!("k folder/{i}")).unwrap() == noise(i, 5_000)));
    // The next run sees them as they are now.
    drop(mounted);
    house.backup();
    crate::drive::expect_equal(&house.source(), &mount_latest(&house).at);
}

/// Does something whenever it is asked whether to go on, as it is while a large file is read.
struct Scribbler<F> {
    scribble: F,
    collect: Collect,
}

impl<F: Fn() + Send + Sync> Monitor for Scribbler<F> {
    fn event(&self, event: Event<'_>) {
        self.collect.event(event);
    }

    fn is_cancelled(&self) -> bool {
        (self.scribble)();
        false
    }
}

/// Backs a large file up while something is done with it; what is told, and what is stored.
fn backed_up_while(scribble: impl Fn(&Path) + Send + Sync) -> (Vec<String>, Vec<u8>) {
    let house = House::new();
    let at = house.source().join("large");
    fs::write(&at, noise(1, 6 << 20)).unwrap();
    let monitor = Scribbler { scribble: || scribble(&at), collect: Collect::default() };
    house.backup_with(house.options(), &monitor).unwrap();
    let stored = fs::read(mount_latest(&house).at.join("large")).unwrap();
    let problems = monitor.collect.problems.lock().unwrap().clone();
    (problems, stored)
}

#[test]
fn a_file_that_is_written_to_all_the_time_is_stored_and_told() {
    let (problems, stored) = backed_up_while(|at| {
        fs::File::options().append(true).open(at).unwrap().write_all(b"more").unwrap();
    });
    assert!(problems.len() == 1 && problems[0].contains("large: it was written to"), "{problems:?}");
    assert!(stored.starts_with(&noise(1, 6 << 20)));
}

#[test]
fn a_file_that_is_replaced_all_the_time_is_whole() {
    let one_at_a_time = Mutex::new(());
    let (problems, stored) = backed_up_while(|at| {
        let _turn = one_at_a_time.lock().unwrap();
        let new = at.with_file_name("../new");
        fs::write(&new, noise(2, 5 << 20)).unwrap();
        fs::rename(&new, at).unwrap();
    });
    assert!(problems.is_empty(), "{problems:?}");
    assert!([noise(1, 6 << 20), noise(2, 5 << 20)].contains(&stored));
}

#[test]
fn a_folder_that_goes_while_it_is_walked() {
    let house = House::new();
    let root = house.source();
    fs::write(root.join("large"), noise(1, 6 << 20)).unwrap();
    for d in 0..300 {
        fs::create_dir(root.join(format!("folder {d:03}"))).unwrap();
        (0..5).for_each(|i| fs::write(root.join(format!("folder {d:03}/{i}")), noise(i, 1_000)).unwrap());
    }
    let at = root.clone();
    let meddle =
        move || (0..300).step_by(2).for_each(|d| fs::remove_dir_all(at.join(format!("folder {d:03}"))).unwrap());
    let monitor = Meddler { meddle: Mutex::new(Some(Box::new(meddle))), collect: Collect::default() };
    house.backup_with(house.options(), &monitor).unwrap();
    let problems = monitor.collect.problems.lock().unwrap();
    let is_gone = |line: &String| (0..300).step_by(2).any(|d| line.contains(&format!("folder {d:03}")));
    assert!(problems.iter().all(is_gone), "{problems:?}");
    let mounted = mount_latest(&house);
    for d in (1..300).step_by(2) {
        for i in 0..5 {
            assert!(fs::read(mounted.at.join(format!("folder {d:03}/{i}"))).unwrap() == noise(i, 1_000));
        }
    }
    println!("{} problems told", problems.len());
}

/// A world that everybody may enter, with a repository, for the program as another user.
fn public_program() -> Program {
    let program = Program::new();
    fs::set_permissions(program.scratch(), fs::Permissions::from_mode(0o777)).unwrap();
    program
}

fn as_nobody(program: &Program, arguments: &[&str]) -> (i32, String) {
    let mut command = program.command(arguments);
    let output = command.uid(65534).gid(65534).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_another_user_may_not_read() {
    if !rustix::process::geteuid().is_root() {
        return println!("Skipped: becoming another user takes root");
    }
    let program = public_program();
    let root: PathBuf = program.scratch().join("mixed");
    fs::create_dir_all(root.join("secret folder")).unwrap();
    fs::write(root.join("secret folder/inside"), "never seen").unwrap();
    fs::write(root.join("secret"), noise(1, 10_000)).unwrap();
    fs::write(root.join("secret large"), noise(2, 6 << 20)).unwrap();
    fs::write(root.join("open"), noise(3, 10_000)).unwrap();
    for name in ["secret folder", "secret", "secret large"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (code, told) = as_nobody(&program, &["init"]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = as_nobody(&program, &["backup", root.to_str().unwrap()]);
    assert_eq!(code, 3, "{told}");
    for name in ["secret folder", "secret'", "secret large"] {
        assert!(told.contains(name) || told.contains(name.trim_end_matches('\'')), "{told}");
    }
    let listed = program.run(&["ls", "-R", &format!("latest:{}", root.display())]).ok().stdout;
    assert!(listed.contains("open") && !listed.contains("inside"), "{listed}");
    let open = program.run(&["cat", &format!("latest:{}/open", root.display())]);
    assert_eq!(open.code, 0);
    // A state folder nobody may write to costs a warning, a repository nobody may write to everything.
    fs::create_dir(program.scratch().join("locked")).unwrap();
    let mut command = program.command(&["backup", root.to_str().unwrap()]);
    command.env("BYGONE_STATE_DIR", program.scratch().join("locked")).uid(65534).gid(65534);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("going on without"), "{told}");
    let lock = Command::new("chown").args(["-R", "root"]).arg(program.repository()).status().unwrap();
    assert!(lock.success());
    let (code, told) = as_nobody(&program, &["backup", root.to_str().unwrap()]);
    assert!(code != 0 && code != 3 && told.contains("access denied"), "{code} {told}");
}

#[test]
fn few_files_that_may_be_open_are_enough() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let mut deep = program.source();
    for folder in 0..100u64 {
        deep.push(folder.to_string());
        fs::create_dir_all(&deep).unwrap();
        for file in 0..20 {
            fs::write(deep.join(format!("file {file}")), noise(20 * folder + file, 500)).unwrap();
        }
    }
    let bare = program.command(&["backup", "source"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"]).arg(bare.get_program()).args(bare.get_args());
    command
        .env_clear()
        .envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(program.scratch());
    Ended::of(&mut command).ok();
    crate::prune::all_is_well(&program);
}

#[test]
fn a_state_that_is_nonsense_costs_a_warning() {
    let program = Program::new();
    program.run(&["init"]).ok();
    fs::create_dir(program.scratch().join("small")).unwrap();
    fs::write(program.scratch().join("small/file"), "content").unwrap();
    program.run(&["backup", "small"]).ok();
    let states: Vec<_> = fs::read_dir(program.scratch().join("state")).unwrap().map(|e| e.unwrap().path()).collect();
    let databases: Vec<_> = states.iter().filter(|path| path.extension().is_some_and(|e| e == "db")).collect();
    assert_eq!(databases.len(), 1, "{states:?}");
    for nonsense in [&b""[..], b"nonsense", &noise(1, 50_000)] {
        fs::write(databases[0], nonsense).unwrap();
        let ended = program.run(&["backup", "small"]).ok();
        assert!(nonsense.is_empty() || ended.stderr.contains("going on without"), "{}", ended.stderr);
        program.run(&["snapshots"]).ok();
    }
}

#[test]
fn options_that_name_nothing() {
    let house = House::new();
    let mut options: Options = house.options();
    options.source.roots = vec![house.source().join("not there")];
    let error = house.backup_with(options, &Collect::default()).unwrap_err();
    let told = bygone::monitor::chain(&error);
    assert!(told.contains("not there"), "{told} {}", Show(b"not there"));
}
