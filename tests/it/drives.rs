//! What a drive tells about itself, and that nobody waits for one that cannot.

use crate::journey::Drive;
use crate::journey::NOBODY;
use crate::previews::status;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use std::fs;
use std::fs::Permissions;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

fn with_backup() -> (Program, PathBuf) {
    let program = Program::with_source();
    program.run(&["backup", program.source().to_str().unwrap()]).ok();
    let at = program.scratch().join("drive");
    (program, at)
}

/// The sockets of the drives of a program.
fn sockets(program: &Program) -> Vec<PathBuf> {
    let entries = fs::read_dir(program.scratch().join("state/drives")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Waits until something has become true.
#[track_caller]
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "it never came");
        thread::sleep(Duration::from_millis(10));
    }
}

fn pid_of(drive: &Value) -> Pid {
    Pid::from_raw(i32::try_from(drive["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_drive_tells_who_reads_and_what_it_costs() {
    let (program, at) = with_backup();
    let drive = Drive::mount(&program, &[&program.at("latest", "sub"), at.to_str().unwrap()]);
    let fresh = status(&program, &at);
    assert_eq!((&fresh["state"], &fresh["pid"]), (&"open".into(), &drive.told["pid"]));
    assert_eq!((&fresh["served"]["bytes"], &fresh["store"]["online"]), (&0.into(), &true.into()));
    assert_eq!((&fresh["store"]["failed"], &fresh["store"]["last_error"]), (&0.into(), &Value::Null));
    assert_eq!(fresh["snapshot"]["id"], drive.told["snapshot"]);
    let big = fs::read(at.join("big")).unwrap();
    let read = status(&program, &at);
    assert_eq!(read["served"]["bytes"], big.len());
    assert!(read["store"]["bytes"].as_u64() >= Some(big.len() as u64), "{read}");
    assert!(read["store"]["requests"].as_u64() > fresh["store"]["requests"].as_u64(), "{read}");
    assert!(read["served"]["requests"].as_u64() > Some(1) && read["memory_bytes"].as_u64() > Some(1 << 20), "{read}");
    let most = &read["readers"][0];
    assert_eq!((&most["pid"], &most["bytes"]), (&std::process::id().into(), &big.len().into()));
    assert!(most["program"].as_str().unwrap().starts_with("it-"), "{most}");
    let (hits, misses) = (&read["cache"]["memory_hits"], &read["cache"]["memory_misses"]);
    assert_eq!(hits.as_u64().unwrap() + misses.as_u64().unwrap(), read["served"]["reads"].as_u64().unwrap());
    // The same for people, in three ways.
    let place = at.to_str().unwrap();
    let row = program.run(&["drives"]).ok().stdout;
    assert!(row.lines().any(|row| row.contains(place) && row.contains(" 3.0 MiB ")), "{row}");
    let told = program.run(&["drives", place]).ok().stdout;
    for words in ["3.0 MiB by programs", "online", "readers", "served by process", " of ", "at most"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("  failed") && !told.contains("  log"), "{told}");
    // Links lead there, too.
    let (link, chain) = (program.scratch().join("link"), program.scratch().join("chain"));
    symlink("drive", &link).unwrap();
    symlink(&link, &chain).unwrap();
    assert_eq!(status(&program, &chain)["pid"], drive.told["pid"]);
    assert_eq!(told.lines().count(), program.run(&["mount", "--status", place]).ok().stdout.lines().count());
    // The socket is the user's alone, and goes with the drive.
    let [socket] = &sockets(&program)[..] else { panic!("one socket") };
    assert_eq!(fs::metadata(socket).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    drive.umount();
    assert_eq!(sockets(&program).len(), 0);
    let none = program.run(&["drives", place]).fails(1);
    assert!(none.stderr.contains("no drive is mounted at"), "{}", none.stderr);
}

#[test]
fn several_drives_are_closed_at_once() {
    let (program, a) = with_backup();
    let b = program.scratch().join("another");
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let drives = [Drive::mount(&program, &["latest", a]), Drive::mount(&program, &[b])];
    let ended = program.run(&["umount", a, "nothing", b]).fails(1);
    assert!(ended.stderr.contains("no drive is mounted at 'nothing'"), "{}", ended.stderr);
    let told = program.run(&["drives"]).ok().stdout;
    assert!(!told.contains(a) && !told.contains(b), "{told}");
    drop(drives);
}

#[test]
fn a_drive_in_the_foreground_tells_as_well() {
    let (program, at) = with_backup();
    let mut command = program.command(&["mount", "-f", at.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let told = status(&program, &at);
    assert_eq!((&told["pid"], &told["snapshot"], &told["state"]), (&child.id().into(), &Value::Null, &"open".into()));
    program.run(&["umount", at.to_str().unwrap()]).ok();
    child.wait().unwrap();
    assert_eq!(sockets(&program).len(), 0);
}

#[test]
fn somebody_who_asks_and_does_not_listen_holds_up_nobody() {
    let (program, at) = with_backup();
    let drive = Drive::mount(&program, &["latest", at.to_str().unwrap()]);
    let deaf: Vec<_> = (0..8).map(|_| UnixStream::connect(&sockets(&program)[0]).unwrap()).collect();
    assert_eq!(status(&program, &at)["pid"], drive.told["pid"]);
    drop(deaf);
    drive.umount();
}

#[test]
fn a_killed_drive_leaves_nothing_that_confuses() {
    let (program, at) = with_backup();
    let killed = Drive::mount(&program, &["latest", at.to_str().unwrap()]);
    kill_process(pid_of(&killed.told), Signal::KILL).unwrap();
    until(|| status(&program, &at)["state"] == "dead");
    let dead = status(&program, &at);
    assert_eq!((&dead["dead"], &dead["pid"]), (&true.into(), &Value::Null));
    // A process that is killed closes its files one after the other; who asks then removes what nobody listens to.
    until(|| status(&program, &at)["dead"] == true && sockets(&program).is_empty());
    assert!(program.run(&["drives"]).ok().stdout.contains(" dead "));
    let drive = Drive::mount(&program, &["latest", at.to_str().unwrap()]);
    let again = status(&program, &at);
    assert_eq!((&again["state"], &again["pid"]), (&"open".into(), &drive.told["pid"]));
    drive.umount();
}

#[test]
fn a_stopped_drive_is_not_waited_for() {
    let (program, at) = with_backup();
    let drive = Drive::mount(&program, &["latest", at.to_str().unwrap()]);
    kill_process(pid_of(&drive.told), Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", drive.told["pid"]);
    until(|| fs::read_to_string(&stat).unwrap().contains(") T "));
    // That these end at all is the point.
    let one = status(&program, &at);
    let all = json_lines(&program.run(&["drives", "--json"]).ok().stdout);
    let shown = program.run(&["drives", at.to_str().unwrap()]).ok().stdout;
    kill_process(pid_of(&drive.told), Signal::CONT).unwrap();
    assert_eq!((&one["state"], &one["dead"]), (&"not_answering".into(), &false.into()));
    assert!(all.iter().any(|row| row["mount_point"] == at.to_str().unwrap() && row["state"] == "not_answering"));
    assert!(shown.contains("not answering") && shown.contains("umount --lazy"), "{shown}");
    assert_eq!(sockets(&program).len(), 1);
    until(|| status(&program, &at)["state"] == "open");
    drive.umount();
}

#[test]
fn a_drive_tells_that_its_storage_is_away_and_back() {
    let (program, at) = with_backup();
    let drive = Drive::mount(&program, &[&program.at("latest", "sub"), at.to_str().unwrap()]);
    let away = program.scratch().join("away");
    fs::rename(program.repository(), &away).unwrap();
    fs::read(at.join("big")).unwrap_err();
    let gone = status(&program, &at);
    assert_eq!((&gone["state"], &gone["store"]["online"]), (&"offline".into(), &false.into()));
    assert!(gone["store"]["failed"].as_u64() > Some(0) && gone["store"]["last_error"].is_string(), "{gone}");
    assert!(gone["served"]["failed"].as_u64() > Some(0), "{gone}");
    // What failed, and why; and where there is more of it.
    let last = &gone["faults"]["last"];
    let path = program.source().join("sub/big").to_str().unwrap().to_owned();
    assert_eq!((&last["path"], &last["snapshot"]), (&path.as_str().into(), &drive.told["snapshot"]), "{gone}");
    assert!(gone["faults"]["count"].as_u64() > Some(0), "{gone}");
    assert!(!last["reason"].as_str().unwrap().is_empty() && last["secs_ago"].as_u64() < Some(60), "{gone}");
    let log = gone["log"].as_str().unwrap();
    assert!(fs::read_to_string(log).unwrap().contains(last["reason"].as_str().unwrap()), "{gone}");
    let told = program.run(&["drives", at.to_str().unwrap()]).ok().stdout;
    for words in ["OFFLINE", path.as_str(), log, last["reason"].as_str().unwrap()] {
        assert!(told.contains(words), "{words}: {told}");
    }
    fs::rename(&away, program.repository()).unwrap();
    assert_eq!(fs::read(at.join("big")).unwrap().len(), 3 << 20);
    assert_eq!(status(&program, &at)["state"], "open");
    drive.umount();
}

#[test]
fn a_drive_of_another_user_is_named_as_such() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (program, at) = with_backup();
    let drive = Drive::mount(&program, &["latest", at.to_str().unwrap()]);
    fs::set_permissions(program.scratch(), Permissions::from_mode(0o755)).unwrap();
    let mut other = program.command(&["umount", at.to_str().unwrap()]);
    let refused = Ended::of(other.uid(NOBODY).gid(NOBODY)).fails(1);
    assert!(refused.stderr.contains("was mounted by user 0; only that user or root"), "{}", refused.stderr);
    assert_eq!(status(&program, &at)["state"], "open");
    drive.umount();
}
