//! Other users: mounting without being root, and what they may see of a drive that lets them in.

use crate::shown::is_mounted;
use crate::shown::show_with;
use bygone_mount::drive::ROOT;
use bygone_mount::fuse;
use bygone_mount::fuse::MountOptions;
use bygone_mount::memory::MemoryBuilder;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

const NOBODY: u32 = 65_534;
const ACL: &str = "system.posix_acl_access";

/// The example program, built here if only the tests were.
fn show_program() -> PathBuf {
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/show");
    if !program.exists() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut build = Command::new(env!("CARGO"));
        assert!(build.args(["build", "--example", "show", "--manifest-path", manifest]).status().unwrap().success());
    }
    program
}

fn show_command(at: &Path, program: Option<&Path>) -> Command {
    let mut command = Command::new(program.map_or_else(show_program, Path::to_owned));
    command.arg(at).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `show`, as nobody if the program was laid out for it, and waits until the drive is there.
pub(crate) fn start_show(at: &Path, nobodys: Option<&Path>) -> Child {
    let mut command = show_command(at, nobodys);
    if nobodys.is_some() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line != "mounted\n" {
        panic!("show failed: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
    }
    child
}

/// True if this test can become somebody else. Says so if not.
#[allow(clippy::print_stderr)]
fn can_become_nobody() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not run: only root can become another user");
    }
    is_root
}

/// A scratch folder of nobody's, and the program where nobody may run it.
fn nobodys_place() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let device = fs::metadata("/dev/fuse").unwrap();
    if device.mode() & 0o666 != 0o666 {
        // What every desktop and server system sets by itself.
        fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, at) = (dir.path().join("show"), dir.path().join("drive"));
    // By another process: a program that this one still writes to in the eyes of a fork cannot be started.
    assert!(Command::new("cp").arg(show_program()).arg(&program).status().unwrap().success());
    fs::create_dir(&at).unwrap();
    std::os::unix::fs::chown(&at, Some(NOBODY), Some(NOBODY)).unwrap();
    (dir, program, at)
}

fn as_nobody(program: &str, arguments: &[&Path]) -> Output {
    Command::new(program).args(arguments).uid(NOBODY).gid(NOBODY).output().unwrap()
}

#[test]
fn a_user_mounts_and_unmounts_without_being_root() {
    if !can_become_nobody() {
        return;
    }
    let (_dir, program, at) = nobodys_place();
    let mut child = start_show(&at, Some(&program));
    let seen = as_nobody("cat", &[&at.join("hello")]);
    assert_eq!(seen.stdout, b"Hello from the drive\n");
    assert!(fs::read_dir(&at).is_err(), "a private drive is closed even to root");
    let unmounted = as_nobody("fusermount3", &[Path::new("-u"), &at]);
    assert!(unmounted.status.success(), "{unmounted:?}");
    assert!(child.wait().unwrap().success());
    assert!(!is_mounted(&at));
}

#[test]
fn a_users_dead_drive_is_replaced_by_the_user() {
    if !can_become_nobody() {
        return;
    }
    let (_dir, program, at) = nobodys_place();
    let mut first = start_show(&at, Some(&program));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(is_mounted(&at));
    let mut second = start_show(&at, Some(&program));
    let seen = as_nobody("cat", &[&at.join("hello")]);
    assert_eq!(seen.stdout, b"Hello from the drive\n");
    fuse::unmount(&at, false).unwrap();
    assert!(second.wait().unwrap().success());
    assert!(!is_mounted(&at));
}

#[test]
fn a_user_is_told_what_is_missing() {
    if !can_become_nobody() {
        return;
    }
    let (_dir, program, at) = nobodys_place();
    let refusal = |change: &dyn Fn(&mut Command) -> &mut Command| {
        let mut command = show_command(&at, Some(&program));
        change(command.uid(NOBODY).gid(NOBODY));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let helper = refusal(&|command| command.env("FUSERMOUNT_PATH", "/no/such/program"));
    assert!(helper.contains("NoHelper"), "{helper}");
    let settings = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if !settings.lines().any(|line| line.trim() == "user_allow_other") {
        let others = refusal(&|command| command.arg("--allow-other"));
        assert!(others.contains("AllowOtherRefused"), "{others}");
    }
}

/// An access ACL as the kernel hands it around: version 2, then tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry = |(tag, permissions, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    };
    2_u32.to_le_bytes().into_iter().chain(entries.iter().flat_map(entry)).collect()
}

/// Files of root: `named` lets nobody in by name, `masked` is group-readable by its mode but not by its ACL.
fn guarded() -> (MemoryBuilder, Vec<u8>) {
    const UNNAMED: u32 = u32::MAX;
    let (owner, user, group, mask, other) = (1, 2, 4, 16, 32);
    let mut builder = MemoryBuilder::new();
    let named = builder.file(ROOT, "named", "for nobody\n");
    builder.change(named, |attr| (attr.uid, attr.gid, attr.mode) = (0, 0, 0o640));
    let entries =
        [(owner, 6, UNNAMED), (user, 4, NOBODY), (group, 0, UNNAMED), (mask, 4, UNNAMED), (other, 0, UNNAMED)];
    let value = acl(&entries);
    builder.xattr(named, ACL, value.clone());
    let masked = builder.file(ROOT, "masked", "not for nobody's group\n");
    builder.change(masked, |attr| (attr.uid, attr.gid, attr.mode) = (0, NOBODY, 0o640));
    let entries = [(owner, 6, UNNAMED), (user, 4, 1000), (group, 0, UNNAMED), (mask, 4, UNNAMED), (other, 0, UNNAMED)];
    builder.xattr(masked, ACL, acl(&entries));
    let plain = builder.file(ROOT, "plain", "for all\n");
    builder.change(plain, |attr| (attr.uid, attr.gid, attr.mode) = (0, 0, 0o644));
    let private = builder.file(ROOT, "private", "for root\n");
    builder.change(private, |attr| (attr.uid, attr.gid, attr.mode) = (0, 0, 0o600));
    (builder, value)
}

#[test]
fn acls_are_shown_on_every_drive() {
    // Letting others in may be forbidden to anyone but root.
    for allow_other in [false, true].into_iter().filter(|allow| !allow || rustix::process::geteuid().is_root()) {
        let (builder, expected) = guarded();
        let options = MountOptions { allow_other, ..MountOptions::default() };
        let shown = show_with(builder, &options);
        let mut value = [0; 200];
        let len = rustix::fs::getxattr(shown.path("named"), ACL, &mut value[..]).unwrap();
        assert_eq!(value[..len], expected, "allow_other {allow_other}");
        let none = rustix::fs::getxattr_query(shown.path("plain"), ACL);
        assert_eq!(none, Err(rustix::io::Errno::NODATA), "allow_other {allow_other}");
    }
}

#[test]
fn strangers_have_the_rights_that_modes_and_acls_give() {
    if !can_become_nobody() {
        return;
    }
    let (builder, _) = guarded();
    let options = MountOptions { allow_other: true, ..MountOptions::default() };
    let shown = show_with(builder, &options);
    for (name, allowed) in [("plain", true), ("named", true), ("private", false), ("masked", false)] {
        let seen = as_nobody("cat", &[&shown.path(name)]);
        assert_eq!(seen.status.success(), allowed, "{name}: {seen:?}");
    }
}
