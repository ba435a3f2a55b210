//! From the first backup to an open drive, with the real program: what people do, in the order they do it.

use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// A user number that is not root's.
pub(crate) const NOBODY: u32 = 65534;

fn backup(program: &Program, more: &[&str]) -> Value {
    let source = program.source();
    let arguments = [&["backup", "--json", source.to_str().unwrap()], more].concat();
    let lines = json_lines(&program.run(&arguments).ok().stdout);
    lines.last().unwrap().clone()
}

fn snapshots(program: &Program, more: &[&str]) -> Vec<Value> {
    json_lines(&program.run(&[&["snapshots", "--json"], more].concat()).ok().stdout)
}

#[test]
fn first_backup_and_a_look_at_it() {
    let program = Program::with_source();
    let source = program.source();
    let told = program.run(&["backup", source.to_str().unwrap(), "--tag", "b", "--tag", "a", "-m", "first"]).ok();
    assert!(told.stdout.starts_with("Snapshot ") && told.stdout.contains(": 6 files in "), "{}", told.stdout);
    assert_eq!((told.stdout.lines().count(), told.stderr.as_str()), (1, ""));

    let all = snapshots(&program, &[]);
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["tags"], &all[0]["description"]), (&serde_json::json!(["a", "b"]), &"first".into()));
    assert_eq!(all[0]["sources"][0], source.to_str().unwrap());
    let id = all[0]["id"].as_str().unwrap();
    let table = program.run(&["snapshots"]).ok().stdout;
    assert!(table.starts_with("ID ") && table.contains(&id[..8]) && table.contains("a,b"), "{table}");

    let listed = program.run(&["ls", &program.at("latest", "")]).ok().stdout;
    assert_eq!(listed, "hello\nlink\nsparse\nsub\n");
    let long = program.run(&["ls", "-l", &program.at(&id[..6], "")]).ok().stdout;
    assert!(long.contains(" link -> hello\n") && long.contains("\ndrwx"), "{long}");
    let sums = program.run(&["ls", "--du", &program.at("latest", "")]).ok().stdout;
    assert!(sums.lines().any(|line| line.trim() == "3.0 MiB  sub"), "{sums}");
    let one = program.run(&["ls", &program.at("latest", "hello")]).ok().stdout;
    assert_eq!(one, "hello\n");
    let deep = program.run(&["ls", "-R", &program.at("latest", "sub")]).ok().stdout;
    assert!(deep.contains(&format!("{}/sub/deeper/note\n", source.display())), "{deep}");
}

#[test]
fn ls_as_json_has_everything() {
    let program = Program::with_source();
    backup(&program, &[]);
    let nodes = json_lines(&program.run(&["ls", "-R", "--du", "--json", &program.at("latest", "")]).ok().stdout);
    let node = |name: &str| nodes.iter().find(|n| n["path"].as_str().unwrap().ends_with(name)).unwrap();
    let real = fs::metadata(program.source().join("hello")).unwrap();
    let hello = node("/hello");
    assert_eq!((&hello["kind"], &hello["size"]), (&"file".into(), &6.into()));
    assert_eq!((&hello["uid"], &hello["inode"]), (&real.uid().into(), &real.ino().into()));
    assert_eq!(hello["mode"], format!("{:04o}", real.mode() & 0o7777));
    assert!(hello["mtime"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&node("/link")["kind"], &node("/link")["target"]), (&"symlink".into(), &"hello".into()));
    assert_eq!(node("/sub")["below"]["bytes"], (3 << 20) + 4 + 1);
    assert_eq!(node("/line\nbreak")["size"], 1);
}

#[test]
fn cat_gives_the_very_bytes() {
    let program = Program::with_source();
    backup(&program, &[]);
    for name in ["hello", "sub/big", "sparse", "sub/line\nbreak"] {
        let output = program.command(&["cat", &program.at("latest", name)]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == fs::read(program.source().join(name)).unwrap(), "{name} differs");
    }
    program.run(&["cat", &program.at("latest", "sub")]).fails(13);
    let missing = program.run(&["cat", &program.at("latest", "nothing"), "--json"]).fails(13);
    assert_eq!(json_lines(&missing.stderr)[0]["reason"], "not_found");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program.command(&["cat", &program.at("latest", "sub/big")]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(141), vec![]));
}

#[test]
fn the_second_backup_reads_and_stores_what_changed() {
    let program = Program::with_source();
    let first = backup(&program, &[]);
    fs::write(program.source().join("new"), "new").unwrap();
    fs::remove_file(program.source().join("hello")).unwrap();
    let second = backup(&program, &[]);
    assert_eq!(second["parent"], first["snapshot"]["id"]);
    assert_eq!(second["nodes_removed"], 1);
    assert_eq!(second["bytes_read"], 3);
    assert!(second["store"]["puts"].as_u64().unwrap() > 0);
    assert_eq!(program.run(&["ls", &program.at("latest~1", "hello")]).ok().stdout, "hello\n");
    program.run(&["ls", &program.at("latest", "hello")]).fails(13);
    let whole = backup(&program, &["--force"]);
    assert_eq!((&whole["parent"], whole["bytes_read"].as_u64().unwrap() > 3 << 20), (&Value::Null, true));
    let chosen = backup(&program, &["--parent", &first["snapshot"]["id"].as_str().unwrap()[..10]]);
    assert_eq!(chosen["parent"], first["snapshot"]["id"]);
    program.run(&["backup", "/etc/hostname", "--parent", "ffff"]).fails(13);
}

#[test]
fn a_dry_run_stores_nothing() {
    let program = Program::with_source();
    let done = backup(&program, &["--dry-run"]);
    assert_eq!((&done["dry_run"], &done["snapshot"]), (&true.into(), &Value::Null));
    assert!(done["bytes"].as_u64().unwrap() >= 8 << 20);
    assert!(snapshots(&program, &[]).is_empty());
    assert!(!program.repository().join("packs").exists());
}

#[test]
fn what_is_left_out() {
    let program = Program::with_source();
    let source = program.source();
    fs::create_dir_all(source.join("cache")).unwrap();
    fs::write(source.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    fs::write(source.join("cache/x"), "x").unwrap();
    fs::create_dir_all(source.join("private")).unwrap();
    fs::write(source.join("private/.nobackup"), "").unwrap();
    fs::write(source.join("private/x"), "x").unwrap();
    fs::write(source.join("rules"), "*.tmp\n").unwrap();
    for name in ["a.tmp", "keep.tmp", "b.log"] {
        fs::write(source.join(name), name).unwrap();
    }
    let rules = source.join("rules");
    let more = [
        "--exclude-caches",
        "--exclude-nobackup",
        "--exclude-larger-than=4M",
        "--exclude-file",
        rules.to_str().unwrap(),
        "--include=/keep.tmp",
        "-e",
        "*.log",
    ];
    backup(&program, &more);
    let left = program.run(&["ls", "-R", &program.at("latest", "")]).ok().stdout;
    let names: Vec<_> = left.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name).collect();
    for there in ["hello", "keep.tmp", "rules", "cache", "private"] {
        assert!(names.contains(&there), "{there}: {left}");
    }
    for gone in ["a.tmp", "b.log", "sparse", "x"] {
        assert!(!names.contains(&gone), "{gone}: {left}");
    }
    let told = program.run(&["-v", "backup", source.to_str().unwrap(), "-e", "*.log"]).ok().stderr;
    assert!(told.contains("skipped: ") && told.contains("b.log"), "{told}");
}

#[test]
fn the_repository_and_the_state_are_never_backed_up() {
    let program = Program::with_source();
    program.run(&["backup", program.scratch().to_str().unwrap()]).ok();
    let listed = program.run(&["ls", "-R", "latest"]).ok().stdout;
    assert!(listed.contains("/source/hello"), "{listed}");
    assert!(!listed.contains("/repository/packs") && !listed.contains("/state/"), "{listed}");
}

#[test]
fn a_stream_is_backed_up_as_a_file() {
    let program = Program::with_source();
    let stream = |name: &str, bytes: &[u8]| {
        let mut child = program
            .command(&["backup", "--stdin-name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    };
    stream("dumps/shop.sql", b"create table x");
    assert_eq!(program.run(&["cat", "latest:dumps/shop.sql"]).ok().stdout, "create table x");
    stream("empty", b"");
    assert_eq!(program.run(&["cat", "latest:/empty"]).ok().stdout, "");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_stored() {
    let program = Program::with_source();
    let secret = program.source().join("sub/secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything, so somebody else has to try.
    let is_root = rustix::process::geteuid().is_root();
    let run = |more: &[&str]| {
        let mut command = program.command(&[&["backup", program.source().to_str().unwrap()], more].concat());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    if is_root {
        let owner = format!("{NOBODY}:{NOBODY}");
        for folder in ["repository", "state"].map(|name| program.scratch().join(name)) {
            fs::create_dir_all(&folder).unwrap();
            let status = Command::new("chown").args(["-R", &owner]).arg(&folder).status().unwrap();
            assert!(status.success());
        }
        fs::set_permissions(program.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (stdout, stderr) = run(&[]);
    assert!(stdout.starts_with("Snapshot "), "{stdout}");
    let line = stderr.lines().find(|line| line.starts_with("problem: ")).unwrap();
    assert!(line.contains("sub/secret: ") && line.contains("ermission denied"), "{line}");
    assert!(stderr.contains("1 problem; everything else was backed up"), "{stderr}");
    let (stdout, stderr) = run(&["--json"]);
    let problem = &json_lines(&stderr)[0];
    assert_eq!(problem["type"], "problem");
    assert_eq!(problem["path"], secret.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(json_lines(&stdout).last().unwrap()["problems"], 1);
    assert_eq!(program.run(&["cat", &program.at("latest", "hello")]).ok().stdout, "Hello\n");
}

#[test]
fn snapshots_are_chosen_by_host_tag_and_path() {
    let program = Program::with_source();
    backup(&program, &["--host", "one", "--tag", "daily"]);
    backup(&program, &["--host", "two", "--tag", "daily", "--tag", "weekly"]);
    backup(&program, &["--host", "two"]);
    let count = |more: &[&str]| snapshots(&program, more).len();
    assert_eq!(count(&["--host", "two"]), 2);
    assert_eq!(count(&["--host", "one", "--host", "two"]), 3);
    assert_eq!(count(&["--tag", "daily"]), 2);
    assert_eq!(count(&["--tag", "daily", "--tag", "weekly"]), 1);
    assert_eq!(count(&["--path", program.source().join("sub").to_str().unwrap()]), 3);
    assert_eq!(count(&["--path", "/nonexistent"]), 0);
    // From the current folder on.
    assert_eq!(count(&["--path", "source/sub"]), 3);
    assert_eq!(count(&["--path", "./source/../source"]), 3);
    assert_eq!(count(&["--path", "sub"]), 0);
    assert_eq!(count(&["--latest", "2"]), 2);
    assert_eq!(snapshots(&program, &["--latest", "1"])[0]["host"], "two");
    program.run(&["ls", "latest", "--host", "one"]).ok();
    program.run(&["ls", "latest", "--host", "three"]).fails(13);
    program.run(&["ls", "latest~2"]).ok();
    assert!(program.run(&["ls", "latest~3"]).fails(13).stderr.contains("(there: 3)"));
}

#[test]
fn damage_is_told_with_what_is_left_to_do() {
    let program = Program::with_source();
    backup(&program, &[]);
    let mut packs = Vec::new();
    files(&program.repository().join("packs"), &mut packs);
    assert!(!packs.is_empty());
    for pack in &packs {
        let bytes = fs::read(pack).unwrap();
        fs::remove_file(pack).unwrap();
        fs::write(pack, vec![0; bytes.len()]).unwrap();
    }
    let ended = program.run(&["cat", &program.at("latest", "sub/big")]).fails(1);
    assert!(ended.stderr.contains("hint: ") && ended.stderr.contains("other snapshots"), "{}", ended.stderr);
    assert_eq!(snapshots(&program, &[]).len(), 1);
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_repository_that_went_backwards_is_told_loudly() {
    let program = Program::with_source();
    backup(&program, &[]);
    let old = program.scratch().join("old");
    let copy = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(status.success());
    };
    copy(&program.repository(), &old);
    backup(&program, &[]);
    fs::remove_dir_all(program.repository()).unwrap();
    copy(&old, &program.repository());
    let ended = program.run(&["snapshots", "--json"]).ok();
    assert_eq!(json_lines(&ended.stdout).len(), 1);
    assert!(ended.stderr.contains("WENT BACKWARDS") && ended.stderr.contains("rolled back"), "{}", ended.stderr);
    assert!(json_lines(&ended.stderr).iter().all(|line| line["type"] == "warning" || line["type"] == "requests"));
    // Whoever knows why says so, once.
    program.run(&["check"]).fails(4);
    program.run(&["repair", "--accept-rollback"]).ok();
    backup(&program, &[]);
    for command in ["snapshots", "check", "prune"] {
        let ended = program.run(&[command]).ok();
        assert!(!ended.stderr.contains("BACKWARDS"), "{}", ended.stderr);
    }
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let dump = |command: &str| program.run(&["backup", "--stdin-name", "shop.sql", "--stdin-from-command", command]);
    let ended = dump("echo a part; exit 3").fails(1);
    assert!(ended.stderr.contains("failed: exit status: 3"), "{}", ended.stderr);
    assert!(snapshots(&program, &[]).is_empty());
    dump("echo all of it").ok();
    assert_eq!(program.run(&["cat", "latest:/shop.sql"]).ok().stdout, "all of it\n");
}

#[test]
fn the_first_interrupt_ends_a_backup_in_good_order() {
    let program = Program::with_source();
    let mut command = program.command(&["backup", "--json", "--stdin-name", "endless"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || while stdin.write_all(&[7; 4096]).is_ok() {});
    let mut progress = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut progress).unwrap();
    assert_eq!(json_lines(&progress)[0]["type"], "progress");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("good order") && stderr.contains("run the same backup again"), "{stderr}");
    assert!(snapshots(&program, &[]).is_empty());
}

fn restore(program: &Program, arguments: &[&str]) -> Value {
    let lines = json_lines(&program.run(&[&["restore", "--json"], arguments].concat()).ok().stdout);
    lines.last().unwrap().clone()
}

#[test]
fn a_folder_comes_back() {
    let program = Program::with_source();
    backup(&program, &[]);
    let to = program.scratch().join("to");
    let to_text = to.to_str().unwrap();
    let planned = restore(&program, &[&program.at("latest", ""), "--to", to_text, "--dry-run"]);
    assert!(planned["written"].as_u64().unwrap() > 0 && !to.exists());
    let done = restore(&program, &[&program.at("latest", ""), "--to", to_text, "--verify"]);
    assert_eq!((&done["problems"], &done["unchanged"]), (&0.into(), &0.into()));
    assert_eq!(done["written"], planned["written"]);
    crate::drive::expect_equal(&program.source(), &to);
    // Again: nothing to do. Changed: only that.
    assert_eq!(restore(&program, &[&program.at("latest", ""), "--to", to_text])["written"], 0);
    fs::write(to.join("hello"), "Changed\n").unwrap();
    fs::write(to.join("more"), "x").unwrap();
    let kept = restore(&program, &[&program.at("latest", ""), "--to", to_text, "--overwrite", "never"]);
    assert_eq!(kept["written"], 0);
    assert_eq!(fs::read_to_string(to.join("hello")).unwrap(), "Changed\n");
    let told = program.run(&["restore", &program.at("latest", ""), "--to", to_text, "--delete"]).ok().stdout;
    assert!(told.starts_with("Restored: 1 file, 6 B in ") && told.contains("1 removed"), "{told}");
    crate::drive::expect_equal(&program.source(), &to);
}

#[test]
fn a_dry_run_tells_names_if_asked() {
    let program = Program::with_source();
    backup(&program, &[]);
    let to = program.scratch().join("to");
    let (at, to_text) = (program.at("latest", ""), to.to_str().unwrap().to_owned());
    let dry = ["restore", &at, "--to", &to_text, "--dry-run", "--delete"];
    let source = program.source();
    let path = |below: &str| source.join(below).to_str().unwrap().to_owned();
    let lines = |more: &[&str]| -> Vec<String> {
        let told = program.run(&[&dry[..], more].concat()).ok().stdout;
        let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
        // The last one is the summary.
        lines.pop();
        lines.sort();
        lines
    };
    let all = lines(&["--verbose"]);
    assert!(all.contains(&format!("+ {}", path("sub/deeper/note"))), "{all:?}");
    assert!(all.contains(&format!("+ {}/", path("sub/deeper"))), "{all:?}");

    program.run(&["restore", &at, "--to", &to_text]).ok();
    assert!(lines(&["--verbose"]).is_empty());
    fs::write(to.join("hello"), "Changed\n").unwrap();
    fs::remove_file(to.join("link")).unwrap();
    fs::create_dir(to.join("other")).unwrap();
    fs::write(to.join("other/file"), "x").unwrap();
    let marked = |mark: &str, below: &str| format!("{mark} {}", path(below));
    let expected = [marked("+", "link"), marked("-", "other/"), marked("-", "other/file"), marked("M", "hello")];
    assert_eq!(lines(&["--verbose"]), expected);
    assert!(lines(&[]).is_empty());
    let json = json_lines(&program.run(&[&dry[..], &["--verbose", "--json"]].concat()).ok().stdout);
    let changed = json.iter().find(|line| line["type"] == "change" && line["change"] == "changed").unwrap();
    assert_eq!(changed["path"], path("hello"));
    assert!(to.join("other/file").exists() && !to.join("link").exists());
}

#[test]
fn lists_name_what_to_back_up() {
    let program = Program::with_source();
    let source = program.source();
    let lines = format!("# mine\n{}\n\nsource/link\n", source.join("sub/deeper").display());
    fs::write(program.scratch().join("lines"), lines).unwrap();
    program.run(&["backup", "--files-from", "lines"]).ok();
    let listed = |at: &str| program.run(&["ls", "--recursive", &program.at(at, "")]).ok().stdout;
    let first = listed("latest");
    assert!(first.contains("deeper/note") && first.contains("link") && !first.contains("hello"), "{first}");

    // With other paths, out of a pipe, and with a line break in a name.
    let mut child = program
        .command(&["backup", "source/hello", "--files-from-raw", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"source/sub/line\nbreak\0").unwrap();
    assert!(child.wait().unwrap().success());
    let second = listed("latest");
    assert!(second.contains("hello") && second.contains("break") && !second.contains("note"), "{second}");

    fs::write(program.scratch().join("lines"), "# nothing\n").unwrap();
    let ended = program.run(&["backup", "--files-from", "lines"]).fails(2);
    assert!(ended.stderr.contains("nothing to back up"), "{}", ended.stderr);
    program.run(&["backup", "--files-from", "missing"]).fails(1);
    program.run(&["backup", "--stdin-name", "x", "--files-from", "lines"]).fails(2);
}

/// A disk that is not there must not stop a backup, nor look as if it had been emptied.
#[test]
fn a_missing_source_is_told_and_the_rest_is_backed_up() {
    let program = Program::with_source();
    let (source, other) = (program.source(), program.scratch().canonicalize().unwrap().join("other"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "x").unwrap();
    let paths = [source.to_str().unwrap(), other.to_str().unwrap()];
    let run = |code| {
        let ended = program.run(&[&["backup", "--json"][..], &paths].concat()).fails(code);
        (json_lines(&ended.stdout).last().unwrap().clone(), ended.stderr)
    };
    let (whole, _) = run(0);
    fs::rename(&other, program.scratch().join("away")).unwrap();
    for parent in [&whole["snapshot"]["id"], &Value::Null] {
        let (done, told) = run(3);
        assert!(told.contains("cannot read") && told.contains(paths[1]), "{told}");
        // What is there did not change and is not read again.
        assert_eq!((&done["problems"], &done["bytes_read"], &done["nodes_removed"]), (&1.into(), &0.into(), &0.into()));
        assert_eq!(done["snapshot"]["sources"].as_array().map(Vec::len), Some(1), "{done}");
        assert!(parent.is_null() || done["parent"] == *parent, "{done}");
    }
    assert!(program.run(&["snapshots"]).ok().stdout.contains("[1 problem]"));
    // Those with all of it are a group of their own.
    let kept = program.run(&["forget", "--keep-last", "1", "--dry-run", "--json"]).ok().stdout;
    assert!(kept.contains(whole["snapshot"]["id"].as_str().unwrap()), "{kept}");

    fs::rename(program.scratch().join("away"), &other).unwrap();
    let (done, _) = run(0);
    assert_eq!((&done["parent"], &done["nodes_new"]), (&whole["snapshot"]["id"], &0.into()), "{done}");
    let none = program.run(&["backup", "/nowhere/a", "/nowhere/b"]).fails(1);
    assert!(none.stderr.contains("cannot read '/nowhere/a'"), "{}", none.stderr);
}

#[test]
fn an_import_has_its_own_time() {
    let program = Program::with_source();
    backup(&program, &["--time", "2012-11-01 22:08"]);
    backup(&program, &["--time", "2011-01-01T00:00:00+01:00"]);
    let listed = snapshots(&program, &[]);
    let times: Vec<&str> = listed.iter().map(|snapshot| snapshot["time"].as_str().unwrap()).collect();
    assert_eq!(times, ["2010-12-31T23:00:00Z", "2012-11-01T22:08:00Z"]);
    let source = program.source();
    let ended = program.run(&["backup", source.to_str().unwrap(), "--time", "2999-01-01"]).fails(2);
    assert!(ended.stderr.contains("future"), "{}", ended.stderr);
}

/// A snapshot has only the way to what was backed up: what else stands beside it is none of its business.
#[test]
fn a_restore_that_removes_leaves_alone_what_was_never_backed_up() {
    let program = Program::with_source();
    backup(&program, &[]);
    let to = program.scratch().join("to");
    let inside = to.join(program.source().strip_prefix("/").unwrap());
    for folder in [to.join("etc"), inside.parent().unwrap().join("precious"), inside.join("old")] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
    }
    let told = restore(&program, &["latest", "--to", to.to_str().unwrap(), "--delete"]);
    assert_eq!(told["removed"], 2, "{told}");
    assert!(to.join("etc/file").exists() && inside.parent().unwrap().join("precious/file").exists());
    crate::drive::expect_equal(&program.source(), &inside);
}

#[test]
fn one_file_or_a_choice_comes_back() {
    let program = Program::with_source();
    backup(&program, &[]);
    let to = program.scratch().join("to");
    let to_text = to.to_str().unwrap();
    restore(&program, &[&program.at("latest", "sub/big"), "--to", to_text]);
    assert!(fs::read(to.join("big")).unwrap() == fs::read(program.source().join("sub/big")).unwrap());
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    program.run(&["restore", &program.at("latest", "sub/big"), "--to", to_text, "--delete"]).fails(2);
    program.run(&["restore", &program.at("latest", "nothing"), "--to", to_text]).fails(13);
    let chosen = program.scratch().join("chosen");
    restore(
        &program,
        &[&program.at("latest", ""), "--to", chosen.to_str().unwrap(), "-i", "/sub", "-e", "big", "-i", "hello"],
    );
    let there = |name: &str| chosen.join(name).exists();
    assert!(there("hello") && there("sub/deeper/note") && !there("sub/big") && !there("sparse"));
}

#[test]
fn everything_goes_back_to_where_it_came_from() {
    let program = Program::with_source();
    backup(&program, &[]);
    let lost = program.scratch().join("lost");
    fs::rename(program.source(), &lost).unwrap();
    let asked = program.run(&["restore", "latest", "--original"]).fails(1);
    assert!(asked.stderr.contains("not confirmed") && !program.source().exists(), "{}", asked.stderr);
    restore(&program, &["latest", "--original", "--yes"]);
    crate::drive::expect_equal(&lost, &program.source());
    fs::remove_file(program.source().join("hello")).unwrap();
    fs::remove_dir_all(program.source().join("sub")).unwrap();
    restore(&program, &[&program.at("latest", "hello"), "--original", "--yes"]);
    assert!(program.source().join("hello").exists() && !program.source().join("sub").exists());
}

#[test]
fn a_disk_that_is_full_is_15() {
    let program = Program::with_source();
    backup(&program, &[]);
    // Only root can mount a small disk.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let small = SmallDisk::new(program.scratch().join("small"));
    let target = small.0.join("to");
    let ended =
        program.run(&["restore", &program.at("latest", ""), "--to", target.to_str().unwrap(), "--json"]).fails(15);
    assert_eq!(json_lines(&ended.stderr).last().unwrap()["reason"], "full");
    let repository = small.0.join("repository");
    let repository = repository.to_str().unwrap();
    program.run(&["-r", repository, "init"]).ok();
    let source = program.source();
    program.run(&["-r", repository, "backup", source.to_str().unwrap()]).fails(15);
    program.run(&["-r", repository, "snapshots"]).ok();
}

/// A disk of one mebibyte in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf) -> SmallDisk {
        fs::create_dir(&at).unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&at).status().unwrap();
        assert!(made.success());
        SmallDisk(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A mounted drive; taken away when the test ends, however it ends.
pub(crate) struct Drive<'a> {
    program: &'a Program,
    at: PathBuf,
    /// What `mount --json` told.
    pub(crate) told: Value,
}

impl<'a> Drive<'a> {
    pub(crate) fn mount(program: &'a Program, arguments: &[&str]) -> Drive<'a> {
        let at = PathBuf::from(arguments.last().unwrap());
        let told = json_lines(&program.run(&[&["--json", "mount"], arguments].concat()).ok().stdout);
        Drive { program, at, told: told[0].clone() }
    }

    /// A drive that was mounted in another way, with what `mount --json` told.
    pub(crate) fn adopt(program: &'a Program, at: &Path, told: Value) -> Drive<'a> {
        Drive { program, at: at.to_owned(), told }
    }

    fn process(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.told["pid"]))
    }

    /// Unmounts, and waits until the process that served the drive has ended.
    pub(crate) fn umount(&self) {
        // On a machine that is very busy something may use it a little longer.
        let umount = || self.program.run(&["umount", self.at.to_str().unwrap()]);
        let is_in_use = |ended: &Ended| ended.code == 1 && ended.stderr.contains("is in use");
        (0..5).map(|_| umount()).find(|ended| !is_in_use(ended)).expect("nobody uses it for so long").ok();
        let pid = format!("--pid={}", self.told["pid"]);
        assert!(Command::new("tail").args(["-f", "/dev/null", &pid, "-s", "0.02"]).status().unwrap().success());
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        // Mostly unmounted already.
        let _ended = self.program.run(&["umount", "--lazy", self.at.to_str().unwrap()]);
    }
}

#[test]
fn all_snapshots_as_a_drive() {
    let program = Program::with_source();
    backup(&program, &[]);
    let at = program.scratch().join("drive");
    let drive = Drive::mount(&program, &[at.to_str().unwrap()]);
    assert_eq!((&drive.told["type"], &drive.told["snapshot"]), (&"mounted".into(), &Value::Null));
    let below = program.source().strip_prefix("/").unwrap().join("hello");
    assert_eq!(fs::read_to_string(at.join("latest").join(below)).unwrap(), "Hello\n");

    let drives = json_lines(&program.run(&["drives", "--json"]).ok().stdout);
    let ours = drives.iter().find(|drive| drive["mount_point"] == at.to_str().unwrap()).unwrap();
    assert!(ours["what"].as_str().unwrap().contains("repository") && ours["dead"] == false, "{ours}");
    assert!(program.run(&["drives"]).ok().stdout.contains(at.to_str().unwrap()));

    // Nobody who looks at the process learns the password.
    for file in ["cmdline", "environ"] {
        let shown = fs::read(drive.process().join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&shown).contains("correct horse"), "{file}");
    }
    assert_eq!(fs::read_link(drive.process().join("cwd")).unwrap(), Path::new("/"));

    let again = program.run(&["mount", at.to_str().unwrap()]).fails(14);
    assert!(again.stderr.contains("already mounted"), "{}", again.stderr);
    drive.umount();
    assert!(!at.exists(), "a folder that mount made goes with the drive");
    program.run(&["umount", at.to_str().unwrap()]).fails(1);
}

#[test]
fn one_folder_of_a_snapshot_as_a_drive() {
    let program = Program::with_source();
    let id = backup(&program, &[])["snapshot"]["id"].as_str().unwrap().to_owned();
    let at = program.scratch().join("drive");
    fs::create_dir(&at).unwrap();
    let drive = Drive::mount(&program, &["--owner", "4321:1234", &program.at(&id[..8], "sub"), at.to_str().unwrap()]);
    assert_eq!(drive.told["snapshot"], id);
    assert!(fs::read(at.join("big")).unwrap() == fs::read(program.source().join("sub/big")).unwrap());
    let seen = fs::metadata(at.join("deeper/note")).unwrap();
    assert_eq!((seen.uid(), seen.gid()), (4321, 1234));
    drive.umount();
    assert!(at.is_dir(), "a folder that was there stays");
    program.run(&["mount", &program.at("latest", "nothing"), at.to_str().unwrap()]).fails(13);
    program.run(&["mount", &program.at("latest", "hello"), at.to_str().unwrap()]).fails(13);
    assert!(at.is_dir());
}

#[test]
fn a_drive_in_the_foreground_ends_with_a_signal() {
    let program = Program::with_source();
    backup(&program, &[]);
    let at = program.scratch().join("a/b/drive");
    let mut command = program.command(&["mount", "-f", "--create", "latest", at.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains(" is open at "), "{told}");
    assert!(fs::read_dir(&at).unwrap().count() > 0);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
    assert!(!at.exists() && at.parent().unwrap().is_dir());
}

#[test]
fn a_drive_in_the_foreground_ends_when_it_is_unmounted() {
    let program = Program::with_source();
    backup(&program, &[]);
    let at = program.scratch().join("drive");
    let mut command = program.command(&["--json", "mount", "-f", "-v", "latest", at.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
    assert_eq!(json_lines(&told)[0]["pid"], child.id());
    program.run(&["umount", "--json", at.to_str().unwrap()]).ok();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains(r#""type":"requests""#));
}
