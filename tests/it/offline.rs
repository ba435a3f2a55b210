//! The whole program without the network: what was seen is there, what was not is told, and nothing is asked for that
//! is known.

use crate::drives::until;
use crate::house::noise;
use crate::network::Far;
use crate::previews::status;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

const MIB: usize = 1 << 20;
/// What the system says if there is no way to the storage.
const NETWORK_IS_UNREACHABLE: i32 = 101;

/// A repository in a cloud with one snapshot, of which something was seen.
struct Seen {
    far: Far,
    program: Program,
    at: PathBuf,
    id: String,
}

impl Seen {
    fn new(place: &str) -> Seen {
        let (far, program) = (Far::new(place), Program::new());
        far.run(&program, &["init"]).ok();
        let source = program.source();
        fs::create_dir_all(source.join("folder")).unwrap();
        // In the order of the tree: what is read is followed by nothing that could be fetched ahead with it.
        fs::write(source.join("a unseen"), noise(1, 6 * MIB)).unwrap();
        fs::write(source.join("b seen"), noise(2, 3 * MIB)).unwrap();
        (0..30).for_each(|i| fs::write(source.join(format!("folder/{i:02}")), noise(10 + i, 700)).unwrap());
        let told = far.run(&program, &["backup", "--json", source.to_str().unwrap()]).ok();
        let told = json_lines(&told.stdout);
        let id = told.iter().find_map(|line| line["snapshot"]["id"].as_str()).unwrap().to_owned();
        let at = program.scratch().join("drive");
        let seen = Seen { far, program, at, id };
        seen.mount(&["latest"]);
        assert_eq!(seen.names(), ["a unseen", "b seen", "folder"]);
        seen.is_whole("b seen", 2, 3 * MIB);
        (0..30).for_each(|i| seen.is_whole(&format!("folder/{i:02}"), 10 + i, 700));
        seen.umount();
        seen
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.far.run(&self.program, arguments)
    }

    /// Options, and last what to mount.
    fn mount(&self, arguments: &[&str]) {
        let (what, options) = arguments.split_last().unwrap();
        let what = self.program.at(what, "");
        self.run(&[&["mount"], options, &[what.trim_end_matches('/'), self.at.to_str().unwrap()]].concat()).ok();
    }

    /// Unmounts, and waits until the process has ended: what it gives to the cache is written then.
    fn umount(&self) {
        let pid = format!("--pid={}", status(&self.program, &self.at)["pid"]);
        self.program.run(&["umount", self.at.to_str().unwrap()]).ok();
        assert!(Command::new("tail").args(["-f", "/dev/null", &pid, "-s", "0.02"]).status().unwrap().success());
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.at).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn is_whole(&self, name: &str, seed: u64, len: usize) {
        assert!(fs::read(self.at.join(name)).unwrap() == noise(seed, len), "{name}");
    }

    /// Requests that went out on the network.
    fn requests(&self) -> u64 {
        self.far.link.counts().requests
    }

    fn file(&self, below: &str) -> String {
        self.program.at("latest", below)
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        // Mostly unmounted already.
        let _ended = self.program.run(&["umount", "--lazy", self.at.to_str().unwrap()]);
    }
}

#[test]
fn a_drive_seen_before_asks_nothing_and_the_newest_one_thing() {
    let seen = Seen::new("seen-again");
    for (what, requests) in [(seen.id.as_str(), 0), ("latest", 1)] {
        let before = seen.requests();
        seen.mount(&[what]);
        assert_eq!(seen.names(), ["a unseen", "b seen", "folder"]);
        seen.is_whole("b seen", 2, 3 * MIB);
        seen.is_whole("folder/17", 27, 700);
        let status = status(&seen.program, &seen.at);
        assert_eq!(status["store"]["requests"], requests, "{what}: {status}");
        assert_eq!(seen.requests() - before, requests, "{what}");
        assert!(status["cache"]["disk"]["hits"].as_u64() > Some(40), "{status}");
        // What was not seen is fetched.
        seen.is_whole("a unseen", 1, 6 * MIB);
        assert!(seen.requests() > before + requests);
        seen.umount();
        seen.run(&["cache", "clear"]).ok();
        seen.mount(&["latest"]);
        seen.names();
        seen.is_whole("b seen", 2, 3 * MIB);
        seen.is_whole("folder/17", 27, 700);
        seen.umount();
    }
    // A command tells the same.
    let listed = seen.run(&["ls", "--json", &seen.file("")]).ok();
    let lines = json_lines(&listed.stderr);
    let requests = lines.iter().find(|line| line["type"] == "requests").unwrap();
    assert_eq!((&requests["requests"], &requests["lists"]), (&1.into(), &1.into()), "{requests}");
}

#[test]
fn without_a_network_what_was_seen_is_there() {
    let seen = Seen::new("offline");
    let before = seen.far.link.counts();
    seen.far.link.cut();
    for what in [seen.id.as_str(), "latest"] {
        seen.mount(&["--offline", what]);
        assert_eq!(seen.names(), ["a unseen", "b seen", "folder"]);
        seen.is_whole("b seen", 2, 3 * MIB);
        for _ in 0..2 {
            let error = fs::read(seen.at.join("a unseen")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(NETWORK_IS_UNREACHABLE), "{error}");
            (0..30).for_each(|i| seen.is_whole(&format!("folder/{i:02}"), 10 + i, 700));
        }
        let told = status(&seen.program, &seen.at);
        assert_eq!((&told["state"], &told["store"]["offline_asked"]), (&"offline".into(), &true.into()));
        assert_eq!((&told["store"]["requests"], &told["faults"]["count"]), (&0.into(), &0.into()), "{told}");
        let shown = seen.run(&["drives", seen.at.to_str().unwrap()]).ok().stdout;
        assert!(shown.contains("storage     offline (asked for)\n"), "{shown}");
        seen.umount();
    }
    let after = seen.far.link.counts();
    assert_eq!((after.requests, after.turned_away), (before.requests, before.turned_away), "nothing went out");
}

#[test]
fn a_folder_that_cannot_be_fetched_takes_little_longer_than_a_file() {
    const FILES: u64 = 6;
    let (far, program) = (Far::new("away"), Program::new());
    far.run(&program, &["init"]).ok();
    let (source, at) = (program.source(), program.scratch().join("drive"));
    fs::create_dir_all(&source).unwrap();
    (0..FILES).for_each(|i| fs::write(source.join(i.to_string()), noise(i, 200_000)).unwrap());
    far.run(&program, &["backup", source.to_str().unwrap()]).ok();
    let what = program.at("latest", "");
    far.run(&program, &["--no-cache", "mount", "--deadline", "8s", &what, at.to_str().unwrap()]).ok();
    assert_eq!(fs::read_dir(&at).unwrap().count() as u64, FILES);
    far.link.hold();
    let began = Instant::now();
    for i in 0..FILES {
        fs::read(at.join(i.to_string())).unwrap_err();
    }
    // The system asks twice for each.
    assert!(began.elapsed() < Duration::from_secs(8 * FILES), "{:?}", began.elapsed());
    // A busy machine may not answer in time how it is doing.
    until(|| status(&program, &at)["faults"]["count"].as_u64() >= Some(FILES));
    until(|| status(&program, &at)["faults"]["last"]["path"] == format!("{}/{}", source.display(), FILES - 1));
    far.link.mend();
    for i in 0..FILES {
        let whole = || fs::read(at.join(i.to_string())).is_ok_and(|read| read == noise(i, 200_000));
        until(whole);
    }
    program.run(&["umount", at.to_str().unwrap()]).ok();
}

#[test]
fn a_pin_that_broke_off_is_told_and_goes_on() {
    let program = Program::with_source();
    program.run(&["backup", program.source().to_str().unwrap()]).ok();
    let packs = program.repository().join("packs");
    let files = fs::read_dir(packs).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let largest = files.map(|file| file.unwrap()).max_by_key(|file| file.metadata().unwrap().len()).unwrap().path();
    let away = program.scratch().join("away");
    fs::rename(&largest, &away).unwrap();
    let what = program.at("latest", "");
    let what = what.trim_end_matches('/');
    let pinned = || json_lines(&program.run(&["cache", "status", "--json"]).ok().stdout).remove(0)["pins"].clone();
    let failed = program.run(&["--cache-size", "1G", "pin", what]);
    assert!(failed.code != 0 && failed.stderr.contains("the same command again"), "{}", failed.stderr);
    assert_eq!(pinned()[0]["complete"], false);
    assert!(program.run(&["cache", "status"]).ok().stdout.contains(", incomplete"));
    fs::rename(&away, &largest).unwrap();
    program.run(&["--cache-size", "1G", "pin", what]).ok();
    assert_eq!(pinned()[0]["complete"], true);
    assert!(!program.run(&["cache", "status"]).ok().stdout.contains("incomplete"));
    // It is let go by the name it was made with.
    let other = program.run(&["unpin", &format!("{what}/sub")]).fails(2);
    assert!(other.stderr.contains("is not pinned"), "{}", other.stderr);
    program.run(&["unpin", what]).ok();
    assert_eq!(pinned(), serde_json::json!([]));
}

#[test]
fn commands_without_a_network_say_what_is_missing() {
    let seen = Seen::new("offline-commands");
    seen.far.link.cut();
    let listed = seen.run(&["ls", "--offline", &seen.file("")]).ok().stdout;
    assert!(["a unseen", "b seen", "folder"].iter().all(|name| listed.contains(name)), "{listed}");
    assert!(!seen.run(&["cat", "--offline", &seen.file("folder/03")]).ok().stdout.is_empty());
    let refused = seen.run(&["cat", "--offline", &seen.file("a unseen")]).fails(16);
    assert!(refused.stderr.contains("offline"), "{}", refused.stderr);

    let back = seen.program.scratch().join("back");
    let to = |name: &str| back.join(name).to_str().unwrap().to_owned();
    seen.run(&["restore", "--offline", &seen.file("b seen"), "--to", &to("seen")]).ok();
    seen.run(&["restore", "--offline", &seen.file("folder"), "--to", &to("folder")]).ok();
    let source = seen.program.source().join("folder");
    let same = Command::new("diff").args(["-r", source.to_str().unwrap(), &to("folder")]).status().unwrap();
    assert!(same.success());
    // What is here is restored, and what is not is named.
    let partly = seen.run(&["restore", "--offline", &seen.file(""), "--to", &to("all")]).fails(3);
    assert!(partly.stderr.contains("a unseen") && partly.stderr.contains("offline"), "{}", partly.stderr);
    assert!(fs::read(back.join("all/b seen")).unwrap() == noise(2, 3 * MIB));
    assert!(!back.join("all/a unseen").exists(), "half a file is none");

    // Without having seen anything there is nothing to open.
    let nothing = seen.run(&["ls", "--offline", "--cache-dir", &to("no cache"), "latest"]).fails(16);
    assert!(nothing.stderr.contains("offline"), "{}", nothing.stderr);
}
