//! Snapshots on real mounts: the kernel, `diff`, `rsync` and `find` look at them.

use crate::house::House;
use crate::house::noise;
use bygone::backup::Options;
use bygone::drive::DriveOptions;
use bygone::drive::repository_drive;
use bygone::drive::snapshot_drive;
use bygone::monitor::Collect;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Log;
use bygone_mount::fuse;
use bygone_mount::fuse::MountOptions;
use bygone_mount::fuse::Session;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A mounted drive; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
    pub(crate) session: Session,
}

pub(crate) fn attach(house: &House, drive: Arc<dyn bygone_mount::Drive>) -> Mounted {
    let at = house.folder.path().join("drive");
    fs::create_dir_all(&at).unwrap();
    let session = fuse::mount(drive, &at, &MountOptions::default(), house.runtime.handle().clone()).unwrap();
    Mounted { at, session }
}

/// Mounts the newest snapshot, at the source folder.
pub(crate) fn mount_latest(house: &House) -> Mounted {
    let base = house.source().canonicalize().unwrap();
    let base = base.to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let drive = house.runtime.block_on(snapshot_drive(house.browse(), &base, &[], DriveOptions::default()));
    attach(house, drive.unwrap().unwrap())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Content, names, modes, owners, times to the nanosecond, links, extended attributes and ACLs: no difference.
pub(crate) fn expect_equal(source: &Path, shown: &Path) {
    let (source, shown) = (format!("{}/", source.display()), format!("{}/", shown.display()));
    // `diff` calls any two pipes different; the listing below compares them.
    run("diff", &["-r", "--no-dereference", "--exclude=fifo", &source, &shown]);
    let listed = run("rsync", &["-aHAXn", "--checksum", "--delete", "--itemize-changes", &source, &shown]);
    assert_eq!(listed, "");
    // The size of a folder is its file system's own business.
    let find = |root: &str| {
        let (folder, other) = ("%P|%y|%m|%U|%G|%T@|%n\\n", "%P|%y|%m|%U|%G|%s|%T@|%n|%l\\n");
        let found = run("find", &[root, "(", "-type", "d", "-printf", folder, ")", "-o", "-printf", other]);
        found.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let (there, here) = (find(&source), find(&shown));
    let different: Vec<_> = there.symmetric_difference(&here).take(10).collect();
    assert!(different.is_empty(), "{different:#?}");
}

fn fill(root: &Path) {
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("tiny"), b"tiny").unwrap();
    fs::write(root.join("large"), noise(3, 9 << 20)).unwrap();
    fs::hard_link(root.join("large"), root.join("another name")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(&noise(4, 100_000), 32 << 20).unwrap();
    std::os::unix::fs::symlink("tiny", root.join("link")).unwrap();
    run("mkfifo", &[root.join("fifo").to_str().unwrap()]);
    run("setfattr", &["-n", "user.note", "-v", "hello", root.join("tiny").to_str().unwrap()]);
    run("setfacl", &["-m", "u:1234:rwx", root.join("large").to_str().unwrap()]);
    run("touch", &["-d", "1950-06-07 08:09:10.123456789", root.join("empty").to_str().unwrap()]);
    for d in 0..30 {
        let folder = root.join(format!("folder {d}/deeper"));
        fs::create_dir_all(&folder).unwrap();
        for f in 0..40 {
            fs::write(folder.join(format!("file {f}")), format!("{d} {f} ").repeat(d * f)).unwrap();
        }
    }
}

#[test]
fn a_drive_is_the_source() {
    let house = House::new();
    fill(&house.source());
    house.backup();
    let mounted = mount_latest(&house);
    expect_equal(&house.source(), &mounted.at);
    let meta = |name: &str| fs::metadata(mounted.at.join(name)).unwrap();
    assert_eq!((meta("large").ino(), meta("large").nlink()), (meta("another name").ino(), 2));
    assert!(meta("sparse").blocks() * 512 < 1 << 20);
    let copy = house.folder.path().join("copy");
    run("cp", &["--sparse=auto", mounted.at.join("sparse").to_str().unwrap(), copy.to_str().unwrap()]);
    assert!(fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20);
    assert!(fs::read(mounted.at.join(".xdg-volume-info")).unwrap().starts_with(b"[Volume Info]"));
    assert_eq!(
        run("getfattr", &["--only-values", "-n", "user.note", mounted.at.join("tiny").to_str().unwrap()]),
        "hello"
    );
    assert!(fs::write(mounted.at.join("new"), b"x").is_err());
}

#[test]
fn random_reads_of_a_large_file_are_right() {
    let house = House::new();
    let bytes = noise(7, 20 << 20);
    fs::write(house.source().join("large"), &bytes).unwrap();
    house.backup();
    let mounted = mount_latest(&house);
    let file = fs::File::open(mounted.at.join("large")).unwrap();
    let seeds = noise(8, 8 * 500);
    for seed in seeds.chunks(8) {
        let n = u64::from_le_bytes(seed.try_into().unwrap());
        let (offset, len) = ((n % bytes.len() as u64) as usize, (n >> 40) as usize % 300_000);
        let mut got = vec![0; len.min(bytes.len() - offset)];
        file.read_exact_at(&mut got, offset as u64).unwrap();
        assert!(got == bytes[offset..offset + got.len()], "{offset} {len}");
    }
}

#[test]
fn a_walk_of_100_000_files_costs_few_requests() {
    let house = House::new();
    for d in 0..1000 {
        let folder = house.source().join(format!("folder {d}"));
        fs::create_dir(&folder).unwrap();
        (0..100).for_each(|f| fs::write(folder.join(format!("{f}")), []).unwrap());
    }
    house.backup();
    let mounted = mount_latest(&house);
    let count = run("find", &[mounted.at.to_str().unwrap(), "-type", "f", "-size", "0", "-links", "1"]).lines().count();
    assert_eq!(count, 100_000);
    let requests = mounted.session.counts();
    assert!(requests.total() <= 3000, "{requests:?}");
}

#[test]
fn all_snapshots_are_one_drive() {
    let house = House::new();
    fs::write(house.source().join("file"), b"first").unwrap();
    fs::write(house.source().join("linked"), b"both").unwrap();
    fs::hard_link(house.source().join("linked"), house.source().join("linked too")).unwrap();
    house.backup();
    fs::write(house.source().join("file"), b"second").unwrap();
    let tagged = Options { tags: vec!["weekly".to_owned(), "home/ada".to_owned()], ..house.options() };
    house.backup_with(tagged, &Collect::default()).unwrap();
    let (log, chunks) = house.runtime.block_on(async {
        (Log::read(&house.repo).await.unwrap(), Chunks::new(&house.repo, &ChunksOptions::default()))
    });
    let mounted = attach(&house, repository_drive(&chunks, &log, DriveOptions::default()));
    let source = house.source().canonicalize().unwrap();
    let below = source.strip_prefix("/").unwrap();
    let read = |top: PathBuf| fs::read_to_string(top.join(below).join("file")).unwrap();
    assert_eq!(read(mounted.at.join("latest")), "second");
    let names = |folder: &str| {
        let entries = fs::read_dir(mounted.at.join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["hosts", "latest", "snapshots", "tags"]);
    let snapshots = names("snapshots");
    assert_eq!(snapshots.len(), 2);
    assert_eq!(names("hosts/host"), [&snapshots[..], &["latest".to_owned()]].concat());
    assert_eq!(read(mounted.at.join("hosts/host/latest")), "second");
    assert_eq!(names("tags"), ["home_ada", "weekly"]);
    assert_eq!(names("tags/weekly"), [&snapshots[1], "latest"]);
    assert_eq!(read(mounted.at.join("tags/home_ada/latest")), "second");
    assert_eq!(read(mounted.at.join("hosts/host").join(&snapshots[0])), "first");
    let ino = |snapshot: &str, name: &str| {
        fs::metadata(mounted.at.join("snapshots").join(snapshot).join(below).join(name)).unwrap().ino()
    };
    assert_eq!(ino(&snapshots[0], "linked"), ino(&snapshots[0], "linked too"));
    assert_ne!(ino(&snapshots[0], "linked"), ino(&snapshots[1], "linked"));
    run("find", &[mounted.at.to_str().unwrap(), "-ls"]);
}
