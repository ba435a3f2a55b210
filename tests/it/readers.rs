//! The processes that read disks for a drive: one that is killed or stands still costs what was asked of it, and no more.

use crate::disks::Mounted;
use crate::house::noise;
use crate::images_restore::tool;
use crate::program::Program;
use crate::program::json_lines;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// An image of an ext4 with folders of files; nothing where it cannot be made.
fn image(program: &Program, name: &str, seed: u64) -> Option<String> {
    let tree = program.scratch().join(format!("tree of {name}"));
    for folder in 0..20 {
        let folder = tree.join(format!("folder {folder}"));
        fs::create_dir_all(&folder).unwrap();
        (0..40).for_each(|file| fs::write(folder.join(file.to_string()), noise(seed + file, 3_000)).unwrap());
    }
    let image = program.scratch().join(name).to_str().unwrap().to_owned();
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", tree.to_str().unwrap(), &image, "32M"]).then_some(image)
}

/// What the program tells of a drive.
fn status(program: &Program, point: &Path) -> serde_json::Value {
    let told = program.run(&["mount", "--status", "--json", point.to_str().unwrap()]).ok().stdout;
    json_lines(&told).remove(0)
}

/// The processes that a drive has started.
fn readers(program: &Program, point: &Path) -> Vec<Pid> {
    let tasks = format!("/proc/{}/task", status(program, point)["pid"]);
    let children = fs::read_dir(tasks).unwrap().map(|task| fs::read_to_string(task.unwrap().path().join("children")));
    let children: String = children.map(Result::unwrap).collect();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

fn parts(point: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = fs::read_dir(point).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.is_dir());
    parts.sort();
    parts
}

/// How many names are in a folder, or the number of the error.
fn count(folder: PathBuf) -> Result<usize, Option<i32>> {
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).and_then(|entries| entries.collect());
    entries.map(|entries| entries.len()).map_err(|error| error.raw_os_error())
}

#[test]
fn a_reader_that_dies_or_hangs_costs_one_answer() {
    let program = Program::new();
    let images = [("one.raw", 1), ("two.raw", 100)].map(|(name, seed)| image(&program, name, seed));
    let [Some(one), Some(two)] = images else { return };
    program.run(&["init"]).ok();
    program.run(&["backup", "--image", &one, "--image", &two]).ok();
    let point = program.scratch().join("drive");
    program.run(&["mount", "latest", point.to_str().unwrap()]).ok();
    let _mounted = Mounted(&point);
    let found = parts(&point);
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!(count(first.join("folder 0")), Ok(40));
    let [reader] = readers(&program, &point)[..] else { panic!("one part was looked into") };
    kill_process(reader, Signal::KILL).unwrap();
    // It may have ended before the question or during it.
    assert!([Ok(40), Err(Some(5))].contains(&count(first.join("folder 1"))));
    assert_eq!(count(first.join("folder 2")), Ok(40));
    assert_eq!(count(second.join("folder 0")), Ok(40));

    let standing: Vec<Pid> = readers(&program, &point);
    assert_eq!(standing.len(), 2);
    standing.iter().for_each(|reader| kill_process(*reader, Signal::STOP).unwrap());
    // Both at once: they are given up after the same time, and each by a new one afterwards.
    std::thread::scope(|scope| {
        for part in [first, second] {
            scope.spawn(|| assert_eq!(count(part.join("folder 3")), Err(Some(5))));
        }
    });
    for part in [first, second] {
        assert_eq!(count(part.join("folder 3")), Ok(40));
        assert!(fs::read(part.join("folder 3/7")).unwrap().len() == 3_000);
    }
    let now = readers(&program, &point);
    assert!(now.len() == 2 && now.iter().all(|reader| !standing.contains(reader)), "{standing:?} {now:?}");
}

/// What a browse needs lies together: a cloud that takes 50 ms for each request shows a folder inside a disk at once.
#[test]
fn the_first_look_inside_takes_few_requests() {
    let program = Program::new();
    let Some(image) = image(&program, "disk.raw", 1) else { return };
    program.run(&["init"]).ok();
    program.run(&["backup", "--image", &image]).ok();
    let point = program.scratch().join("drive");
    program.run(&["--no-cache", "mount", "latest", point.to_str().unwrap()]).ok();
    let _mounted = Mounted(&point);
    let part = parts(&point).remove(0);
    assert_eq!(count(part), Ok(21));
    let asked = status(&program, &point)["store"]["requests"].as_u64().unwrap();
    println!("{asked} requests from the password to a folder inside a disk");
    assert!(asked <= 12, "{asked} requests");
}
