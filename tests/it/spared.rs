//! What `restore --delete` leaves alone: it may be the only copy there is.

use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Runs it with its state in the source.
fn run(program: &Program, repository: &Path, arguments: &[&str]) -> Ended {
    let mut command = program.command(&[&["-r", repository.to_str().unwrap()], arguments].concat());
    Ended::of(command.env("BYGONE_STATE_DIR", program.source().join("state")))
}

/// Brings the source back to where it was; returns how much was removed.
fn restore(program: &Program, repository: &Path) -> u64 {
    let at = program.at("latest", "");
    let removed = |more: &[&str]| {
        let restore = [&["--json", "restore", &at, "--original", "--yes", "--delete"], more].concat();
        let told = run(program, repository, &restore).ok().stdout;
        json_lines(&told).last().unwrap()["removed"].as_u64().unwrap()
    };
    let would = removed(&["--dry-run"]);
    assert_eq!(removed(&[]), would);
    assert!(fs::read_dir(program.source().join("state")).unwrap().count() > 0);
    would
}

#[test]
fn the_repository_in_the_folder_that_is_restored() {
    let program = Program::with_source();
    let source = program.source();
    let repository = source.join("backups/repository");
    run(&program, &repository, &["init"]).ok();
    run(&program, &repository, &["backup", source.to_str().unwrap()]).ok();
    fs::write(source.join("extra"), "x").unwrap();
    fs::write(source.join("backups/extra"), "x").unwrap();
    assert_eq!(restore(&program, &repository), 2);
    run(&program, &repository, &["check", "--read-data"]).ok();
    // Where the snapshot has not even the folder it lies in.
    let moved = source.join("later/deep/repository");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(&repository, &moved).unwrap();
    fs::write(source.join("later/extra"), "x").unwrap();
    assert_eq!(restore(&program, &moved), 1);
    run(&program, &moved, &["check", "--read-data"]).ok();
    let inside = moved.join("packs/restored");
    let refused = run(&program, &moved, &["restore", "latest", "--to", inside.to_str().unwrap()]).fails(2);
    assert!(refused.stderr.contains("lies inside the repository") && !inside.exists(), "{}", refused.stderr);
}

/// A file system in memory on a folder; unmounted when dropped. `None` where nobody may mount.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf) -> Option<Mounted> {
        fs::create_dir(&at).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at).output().unwrap();
        output.status.success().then_some(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_disk_that_the_backup_stayed_out_of() {
    let program = Program::with_source();
    let source = program.source();
    let Some(disk) = Mounted::new(source.join("disk")) else { return };
    fs::create_dir(disk.0.join("folder")).unwrap();
    fs::write(disk.0.join("folder/photo"), "the only one").unwrap();
    let backup = |more: &[&str]| {
        run(&program, &program.repository(), &[&["backup", source.to_str().unwrap()], more].concat()).ok();
    };
    backup(&["--one-file-system"]);
    fs::write(source.join("extra"), "x").unwrap();
    assert_eq!(restore(&program, &program.repository()), 1);
    assert_eq!(fs::read_to_string(disk.0.join("folder/photo")).unwrap(), "the only one");
    // One that the backup went into is restored like the rest.
    backup(&[]);
    fs::write(disk.0.join("extra"), "x").unwrap();
    assert_eq!(restore(&program, &program.repository()), 1);
    assert!(disk.0.join("folder/photo").exists() && !disk.0.join("extra").exists());
}
