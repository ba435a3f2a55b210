//! Snapshots copied into another repository, with the real program.

use crate::drives::until;
use crate::house::noise;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

/// Two repositories of different passwords, and a source.
struct Two {
    program: Program,
    source: PathBuf,
}

impl Two {
    fn new() -> Two {
        let program = Program::new();
        program.run(&["init"]).ok();
        let source = program.scratch().join("source");
        fs::create_dir_all(source.join("deep/er")).unwrap();
        fs::write(source.join("large"), noise(1, 9 << 20)).unwrap();
        fs::write(source.join("medium"), noise(2, 700_000)).unwrap();
        fs::write(source.join("deep/small"), noise(3, 5000)).unwrap();
        fs::write(source.join("deep/er/tiny"), "tiny").unwrap();
        fs::write(source.join("deep/er/empty"), "").unwrap();
        let sparse = fs::File::create(source.join("sparse")).unwrap();
        sparse.set_len(40 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(4, 300_000), 20 << 20).unwrap();
        std::os::unix::fs::symlink("large", source.join("link")).unwrap();
        let two = Two { program, source };
        two.there(&["init"]);
        two
    }

    fn backup(&self) {
        self.program.run(&["backup", self.source.to_str().unwrap()]).ok();
    }

    fn run_there(&self, arguments: &[&str]) -> Output {
        let from = self.program.repository();
        let mut command = self.program.command(arguments);
        command.env("BYGONE_REPOSITORY", self.program.scratch().join("second"));
        command.env("BYGONE_PASSWORD", "the second").env("BYGONE_FROM_REPOSITORY", from);
        command.env("BYGONE_FROM_PASSWORD", "correct horse").output().unwrap()
    }

    /// A command with the second repository; its output.
    fn there(&self, arguments: &[&str]) -> String {
        let output = self.run_there(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn copy(&self, arguments: &[&str]) -> (Vec<Value>, Value) {
        let lines = json_lines(&self.there(&[&["copy", "--json"], arguments].concat()));
        let of_type = |name: &str| lines.iter().filter(|line| line["type"] == name).cloned().collect::<Vec<_>>();
        (of_type("copied"), of_type("summary").remove(0))
    }

    /// What is in a snapshot, as each repository tells it.
    fn assert_same(&self, snapshot: &str) {
        let list = ["ls", "-R", "--json", snapshot];
        assert_eq!(self.program.run(&list).ok().stdout, self.there(&list));
        let out = self.program.scratch().join("out");
        self.there(&["restore", snapshot, "--to", out.to_str().unwrap(), "--verify"]);
        let original = self.program.scratch().join("original");
        self.program.run(&["restore", snapshot, "--to", original.to_str().unwrap()]).ok();
        let differs = std::process::Command::new("diff").arg("-r").args([&out, &original]).output().unwrap();
        assert!(differs.status.success(), "{}", String::from_utf8_lossy(&differs.stdout));
        fs::remove_dir_all(out).unwrap();
        fs::remove_dir_all(original).unwrap();
    }
}

#[test]
fn a_copy_is_the_snapshot_itself() {
    let two = Two::new();
    two.backup();
    fs::write(two.source.join("medium"), noise(5, 600_000)).unwrap();
    fs::remove_file(two.source.join("deep/small")).unwrap();
    fs::create_dir(two.source.join("new")).unwrap();
    two.backup();
    let would = two.there(&["copy", "--dry-run"]);
    assert_eq!(would.matches("Would copy").count(), 2, "{would}");
    assert!(two.there(&["snapshots"]).contains("no snapshots"));

    let (copied, summary) = two.copy(&[]);
    assert_eq!((copied.len(), &summary["snapshots"], &summary["here_already"]), (2, &2.into(), &0.into()));
    // The second brings only what changed.
    assert!(copied[0]["bytes_read"].as_u64().unwrap() > 10_000_000, "{}", copied[0]);
    assert_eq!(copied[1]["bytes_read"], 600_000, "{}", copied[1]);
    for snapshot in ["latest", "latest~1"] {
        two.assert_same(snapshot);
    }
    let again = two.there(&["copy"]);
    assert!(again.contains("Nothing to copy"), "{again}");

    two.backup();
    let (copied, _) = two.copy(&["latest"]);
    assert_eq!((copied.len(), &copied[0]["bytes_read"]), (1, &0.into()));
    two.assert_same("latest");
}

/// Each repository has a chunker of its own. What is copied is cut by that of the copy, and so shared with what is backed up there.
#[test]
fn what_was_copied_is_shared_with_backups_there() {
    let two = Two::new();
    two.backup();
    two.copy(&[]);
    two.assert_same("latest");
    let source = two.source.to_str().unwrap();
    let told = json_lines(&two.there(&["backup", "--json", "--force", source]));
    let stored = told.last().unwrap()["bytes_new"].as_u64().unwrap();
    assert_eq!(stored, 0, "{told:?}");
}

#[test]
fn a_disk_is_copied_with_its_description() {
    let two = Two::new();
    let disk = two.program.scratch().join("disk.raw");
    fs::write(&disk, noise(7, 3 << 20)).unwrap();
    two.program.run(&["backup", "--image", disk.to_str().unwrap()]).ok();
    two.copy(&[]);
    let told = |text: String| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let inspect = ["inspect", "--snapshot", "latest"];
    assert_eq!(told(two.there(&inspect)), told(two.program.run(&inspect).ok().stdout));
    two.there(&["restore", "--image", "latest", "back.img", "--verify"]);
    assert!(fs::read(two.program.scratch().join("back.img")).unwrap() == fs::read(&disk).unwrap());
}

#[test]
fn what_cannot_be_read_is_not_copied() {
    let two = Two::new();
    two.backup();
    let packs = two.program.repository().join("packs");
    let mut pending = vec![packs];
    let mut largest = (0, PathBuf::new());
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let len = entry.metadata().unwrap().len();
            match entry.path().is_dir() {
                true => pending.push(entry.path()),
                false if len > largest.0 => largest = (len, entry.path()),
                false => {}
            }
        }
    }
    fs::remove_file(&largest.1).unwrap();
    let output = two.run_there(&["copy"]);
    let told = String::from_utf8(output.stderr).unwrap();
    let name = largest.1.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(!output.status.success() && told.contains(&name), "{told}");
    assert!(two.there(&["snapshots"]).contains("no snapshots"));
    let mut same = two.program.command(&["copy", "--repo", two.program.repository().to_str().unwrap()]);
    let from = two.program.repository();
    let output =
        same.env("BYGONE_FROM_REPOSITORY", from).env("BYGONE_FROM_PASSWORD", "correct horse").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_was_forgotten_here_is_told_and_left_out() {
    let two = Two::new();
    two.backup();
    let (first, _) = two.copy(&[]);
    let original = first[0]["id"].as_str().unwrap().to_owned();
    two.there(&["forget", "latest"]);
    let told = two.there(&["copy"]);
    assert!(told.contains("Left out, because forgotten here") && told.contains("bygone undo-forget"), "{told}");
    let (copied, summary) = two.copy(&[]);
    assert_eq!((copied.len(), summary["forgotten_here"].as_array().unwrap().len()), (0, 1));
    // Pruned, it is gone for good, and whoever wants it back names it: once, under another name.
    two.there(&["prune", "--grace", "0"]);
    let told = two.there(&["copy"]);
    assert!(told.contains("Left out, because forgotten here") && told.contains("bygone copy"), "{told}");
    for count in [1, 0] {
        let (copied, _) = two.copy(&["latest"]);
        assert_eq!(copied.len(), count);
        assert!(copied.iter().all(|copied| copied["id"] != original.as_str()), "{copied:?}");
        two.assert_same("latest");
    }
    let mut wrong = two.program.command(&["copy", "--from-password-command", "echo wrong"]);
    wrong.env("BYGONE_REPOSITORY", two.program.scratch().join("second")).env("BYGONE_PASSWORD", "the second");
    let wrong = wrong.env("BYGONE_FROM_REPOSITORY", two.program.repository()).output().unwrap();
    let told = String::from_utf8_lossy(&wrong.stderr);
    assert!(told.contains("the password came from --from-password-command"), "{told}");
}

#[test]
fn a_killed_copy_goes_on_where_it_was() {
    let two = Two::new();
    two.backup();
    let log = two.program.scratch().join("second/log");
    let mut slow = two.program.command(&["copy", "--checkpoint-every", "1ms", "--limit-upload", "4M"]);
    slow.env("BYGONE_REPOSITORY", two.program.scratch().join("second")).env("BYGONE_PASSWORD", "the second");
    slow.env("BYGONE_FROM_REPOSITORY", two.program.repository()).env("BYGONE_FROM_PASSWORD", "correct horse");
    let mut child = slow.spawn().unwrap();
    let has_record = |writer: fs::DirEntry| writer.path().join("0000000000").exists();
    until(|| fs::read_dir(&log).is_ok_and(|mut writers| writers.any(|writer| has_record(writer.unwrap()))));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(two.there(&["snapshots"]).contains("no snapshots"));
    let (copied, _) = two.copy(&[]);
    // The large file was written down by then.
    assert!(copied[0]["bytes_read"].as_u64().unwrap() < 2 << 20, "{}", copied[0]);
    two.assert_same("latest");
}
