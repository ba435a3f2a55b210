//! The real program, started as people and scripts start it.

use crate::program::Program;
use crate::program::json_lines;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

const COMMANDS: [&str; 28] = [
    "init",
    "backup",
    "snapshots",
    "ls",
    "cat",
    "find",
    "diff",
    "versions",
    "du",
    "stats",
    "mount",
    "umount",
    "drives",
    "restore",
    "forget",
    "undo-forget",
    "tag",
    "key",
    "cache",
    "completions",
    "man",
    "copy",
    "check",
    "repair",
    "inspect",
    "prune",
    "pin",
    "unpin",
];

/// Who names no command sees which there are, also with a repository named in the environment.
#[test]
fn the_first_screen_tells_what_there_is() {
    let ended = Program::new().run(&[]).fails(2);
    let screen = ended.stdout + &ended.stderr;
    assert!(screen.contains("Usage: bygone") && screen.contains("mount"), "{screen}");
    assert!(screen.contains("First steps:") && !screen.contains("error:"), "{screen}");
}

/// The whole help, as `tests/it/help.txt` has it. `UPDATE_HELP=1 cargo test help_is` writes it anew.
#[test]
fn help_is_what_was_reviewed() {
    let program = Program::new();
    let mut help = program.run(&["--help"]).ok().stdout;
    for command in COMMANDS {
        let own = program.run(&[command, "--help"]).ok().stdout;
        assert!(own.contains("Examples:"), "{command} teaches nothing");
        let own = own.split("\nGlobal options:").next().unwrap().to_owned() + &own[own.find("\nExamples:").unwrap()..];
        help += &format!("\n=== bygone {command} --help (without the global options)\n\n{own}");
    }
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        fs::write(&golden, &help).unwrap();
    }
    let reviewed = fs::read_to_string(&golden).unwrap();
    assert!(help == reviewed, "the help changed; look at it with UPDATE_HELP=1 and git diff");
}

#[test]
fn every_command_has_short_help() {
    let program = Program::new();
    for command in COMMANDS {
        let short = program.run(&[command, "-h"]).ok().stdout;
        assert!(short.contains("Usage: bygone"), "{short}");
        assert_eq!(program.run(&["help", command]).ok().stdout, program.run(&[command, "--help"]).ok().stdout);
    }
}

#[test]
fn mistakes_in_the_command_line_exit_with_2() {
    let program = Program::new();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["snapshots", "--nonsense"],
        &["backup"],
        &["backup", "/etc", "--stdin-name", "x"],
        &["backup", "/etc", "--level", "0"],
        &["backup", "/etc", "--exclude-larger-than", "big"],
        &["backup", "--stdin-name", "../x"],
        &["ls"],
        &["ls", "yesterday"],
        &["ls", "latest:/a/../b"],
        &["restore", "latest"],
        &["restore", "latest", "--to", "x", "--original"],
        &["restore", "latest", "--to", "x", "--yes"],
        &["mount"],
        &["mount", "latest"],
        &["mount", "latest:/home"],
        &["mount", "yesterday", "there"],
        &["mount", "latest", "there", "too"],
        &["mount", "--status", "latest", "there"],
        &["mount", "--host", "h", "there"],
        &["mount", "--owner", "ada", "there"],
        &["completions", "perl"],
        &["snapshots", "-o", "nonsense"],
        &["-q", "-v", "snapshots"],
        &["cache"],
        &["cache", "limit", "much"],
        &["cache", "limit", "1M"],
        &["--cache-size", "big", "snapshots"],
        &["--cache-size", "1G", "--no-cache", "snapshots"],
        &["init", "--chunk-size", "100K"],
        &["--repo", "http://host/x", "snapshots"],
    ] {
        let ended = program.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn mistakes_are_json_when_asked() {
    let program = Program::new();
    for arguments in [&["--json", "nonsense"][..], &["ls", "yesterday", "--json"], &["restore", "--json", "latest"]] {
        let ended = program.run(arguments);
        let errors = json_lines(&ended.stderr);
        assert_eq!((ended.code, errors.len()), (2, 1), "{}", ended.stderr);
        assert_eq!((&errors[0]["type"], &errors[0]["reason"]), (&"error".into(), &"usage".into()));
    }
}

#[test]
fn no_repository_named_or_there() {
    let program = Program::new();
    let unnamed = program.command(&["snapshots"]).env_remove("BYGONE_REPOSITORY").output().unwrap();
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unnamed.stderr).contains("BYGONE_REPOSITORY"));
    // A folder that is missing, and one that is something else.
    assert!(program.run(&["snapshots"]).fails(10).stderr.contains("hint: "));
    fs::create_dir(program.repository()).unwrap();
    let other = program.run(&["snapshots", "--json"]).fails(10);
    let error = &json_lines(&other.stderr)[0];
    assert_eq!((&error["code"], &error["reason"]), (&10.into(), &"no_repository".into()));
    assert!(error["message"].as_str().unwrap().contains("there is no repository"), "{error}");
}

#[test]
fn init_tells_what_comes_next_and_keeps_what_is_there() {
    let program = Program::new();
    let made = program.run(&["init"]).ok().stdout;
    assert!(made.contains("lost password") && made.contains("backup PATH"), "{made}");
    assert!(program.run(&["init"]).fails(1).stderr.contains("already"));
    assert_eq!(program.run(&["snapshots"]).ok().stdout, "There are no snapshots.\n");
    assert_eq!(program.run(&["snapshots", "--json"]).ok().stdout, "");
    assert!(program.run(&["-v", "snapshots"]).ok().stderr.contains("requests to the repository"));
}

#[test]
fn init_as_json() {
    let program = Program::new();
    let made = json_lines(&program.run(&["init", "--json", "--chunk-size", "1M"]).ok().stdout);
    assert_eq!((&made[0]["version"], &made[0]["type"]), (&1.into(), &"repository".into()));
    assert_eq!(made[0]["id"].as_str().unwrap().len(), 32);
    assert_eq!(made[0]["create_only"], true);
}

#[test]
fn init_where_no_folder_can_be() {
    let program = Program::new();
    fs::write(program.repository(), "a file").unwrap();
    let ended = program.run(&["init"]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.starts_with("bygone: cannot open"), "{}", ended.stderr);
    assert_eq!(fs::read(program.repository()).unwrap(), b"a file");
    // Nobody can write there, root included.
    let ended = program.run(&["-r", "/proc/bygone", "init"]);
    assert!(ended.code == 1 || ended.code == 10, "{}", ended.stderr);
}

#[test]
fn a_wrong_password_is_12_and_says_where_it_came_from() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let file = program.scratch().join("password");
    fs::write(&file, "wrong\n").unwrap();
    let ended = program.run(&["--password-file", file.to_str().unwrap(), "snapshots"]).fails(12);
    assert!(ended.stderr.contains(file.to_str().unwrap()), "{}", ended.stderr);
    assert!(!ended.stderr.contains("wrong\n  because"), "{}", ended.stderr);
}

#[test]
fn passwords_come_from_many_places() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let file = program.scratch().join("password");
    fs::write(&file, "correct horse\n").unwrap();
    let file = file.to_str().unwrap();
    let command = format!("cat {file}");
    let none = || {
        let mut command = program.command(&["snapshots"]);
        command.env_remove("BYGONE_PASSWORD");
        command
    };
    let code = |mut command: Command| command.output().unwrap().status.code();
    let with = |key: &str, value: &str| {
        let mut command = none();
        command.env(key, value);
        code(command)
    };
    assert_eq!(with("BYGONE_PASSWORD", "correct horse"), Some(0));
    assert_eq!(with("BYGONE_PASSWORD_FILE", file), Some(0));
    assert_eq!(with("BYGONE_PASSWORD_COMMAND", &command), Some(0));
    program.run(&["--password-file", file, "snapshots"]).ok();
    program.run(&["--password-command", &command, "snapshots"]).ok();
    // Nobody to ask, nothing in it, not there, failing, contradicting.
    assert_eq!(code(none()), Some(2));
    assert_eq!(with("BYGONE_PASSWORD", ""), Some(2));
    assert_eq!(with("BYGONE_PASSWORD_FILE", "/nonexistent"), Some(1));
    assert_eq!(with("BYGONE_PASSWORD_COMMAND", "exit 3"), Some(1));
    let mut both = program.command(&["snapshots"]);
    assert_eq!(code(std::mem::replace(both.env("BYGONE_PASSWORD_FILE", file), none())), Some(2));
    program.run(&["--password-file", file, "--password-command", &command, "snapshots"]).fails(2);
}

#[test]
fn no_option_takes_a_password() {
    let program = Program::new();
    let help = program.run(&["--help"]).ok().stdout;
    for line in help.lines().filter(|line| line.trim_start().starts_with('-')) {
        let takes_one = line.contains("password") && !line.contains("--password-file <FILE>");
        assert!(!takes_one || line.contains("--password-command <COMMAND>"), "{line}");
    }
    assert_eq!(program.run(&["--password", "x", "snapshots"]).code, 2);
    let seen = program.run(&["-o", "s3.secret_access_key=hunter2", "snapshots"]);
    assert!(seen.stderr.contains("other users can see 's3.secret_access_key'"), "{}", seen.stderr);
    assert!(!seen.stderr.contains("hunter2"));
}

#[test]
fn a_server_that_is_away_is_16_and_told_at_once() {
    let program = Program::new();
    // A port that was ours a moment ago and that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("s3.endpoint=http://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = ["-r", "s3://bucket/x", "-o", &endpoint, "-o", "s3.allow_http=true", "-o", "s3.region=x"];
    for command in ["snapshots", "init"] {
        let mut arguments = settings.to_vec();
        arguments.extend(["--retry-for", "0", command]);
        let began = Instant::now();
        let mut command = program.command(&arguments);
        let output = command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(16), "{stderr}");
        assert!(stderr.contains("cannot be reached") && stderr.contains("hint: check the network"), "{stderr}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn what_is_not_in_an_empty_repository() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let to = program.scratch().join("to");
    let to = to.to_str().unwrap();
    for arguments in [
        &["ls", "latest"][..],
        &["cat", "latest:/x"],
        &["ls", "abcd"],
        &["restore", "latest", "--to", to],
        &["mount", "latest", to],
        &["mount", "latest~1", to],
        // An option may stand anywhere.
        &["mount", "latest", "--create", to],
        &["mount", "--create", "latest", "--owner", "me", to],
    ] {
        program.run(arguments).fails(13);
    }
    assert!(!Path::new(to).exists());
}

#[test]
fn a_restore_of_nothing_says_so() {
    let program = Program::with_source();
    program.run(&["backup", program.source().to_str().unwrap()]).ok();
    let run = |include| program.run(&["restore", "latest", "--to", "to", "--include", include]).ok().stderr;
    assert!(run("*.odt").contains("nothing matches --include"));
    assert_eq!(run("hello"), "");
}

#[test]
fn a_snapshot_that_lacks_something_is_no_measure_for_what_may_go() {
    let program = Program::with_source();
    let restore = || program.run(&["restore", "latest", "--to", "to", "--delete"]).ok().stderr;
    program.run(&["backup", "source"]).ok();
    assert_eq!(restore(), "");
    program.run(&["backup", "source", "missing"]).fails(3);
    let told = restore();
    assert!(told.starts_with("warning: ") && told.contains("with 1 problem:"), "{told}");
}

#[test]
fn mount_points_that_cannot_be() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let inside = program.repository().join("drive");
    program.run(&["mount", inside.to_str().unwrap()]).fails(14);
    let deep = program.scratch().join("a/b");
    let ended = program.run(&["mount", deep.to_str().unwrap()]).fails(14);
    assert!(ended.stderr.contains("hint: --create"), "{}", ended.stderr);
    assert!(!inside.exists() && !deep.exists());
    let full = program.scratch().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("x"), "x").unwrap();
    let ended = program.run(&["mount", full.to_str().unwrap()]).fails(14);
    assert!(ended.stderr.contains("not empty") || ended.stderr.contains("FUSE"), "{}", ended.stderr);
    assert!(full.join("x").exists());
    program.run(&["umount", full.to_str().unwrap()]).fails(1);
    let wrong = program.command(&["mount", deep.to_str().unwrap(), "--create"]).env("BYGONE_PASSWORD", "no").output();
    let wrong = wrong.unwrap();
    assert_eq!(wrong.status.code(), Some(12));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the variable BYGONE_PASSWORD"));
}

#[test]
fn state_that_cannot_be_kept_is_only_a_warning() {
    let program = Program::new();
    program.run(&["init"]).ok();
    let mut command = program.command(&["snapshots"]);
    let output = command.env("BYGONE_STATE_DIR", "/proc/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("warning: "));
    let mut command = program.command(&["--json", "snapshots"]);
    let output = command.env("BYGONE_STATE_DIR", "/proc/nonexistent").output().unwrap();
    assert_eq!(json_lines(&String::from_utf8_lossy(&output.stderr))[0]["type"], "warning");
}

#[test]
fn completions_for_every_shell() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = program.run(&["completions", shell]).ok().stdout;
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
    let script = program.run(&["completions", "bash"]).ok().stdout;
    let file = program.scratch().join("completions");
    fs::write(&file, script).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_manual_page_for_every_command() {
    let program = Program::new();
    let folder = program.scratch().join("man/man1");
    program.run(&["man", folder.to_str().unwrap()]).ok();
    for command in COMMANDS {
        let page = fs::read_to_string(folder.join(format!("bygone-{command}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{command}");
    }
    assert!(folder.join("bygone.1").exists());
    program.run(&["man", "/proc/nonexistent"]).fails(1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = Program::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program.command(&["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(141), vec![]));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program.command(&["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(15));
}

#[test]
fn drives_when_there_are_none_of_ours() {
    let program = Program::new();
    let listed = program.run(&["drives", "--json"]).ok().stdout;
    assert!(json_lines(&listed).iter().all(|drive| drive["type"] == "drive"));
}
