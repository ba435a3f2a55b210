//! Credentials that may write what is new, and neither delete nor overwrite: everything works but what needs deleting,
//! and that says so. Whoever takes such credentials from a machine cannot destroy its backups.

use crate::bucket::Bucket;
use crate::house::noise;
use crate::journey::Drive;
use crate::program::Ended;
use crate::program::Program;
use crate::program::json_lines;
use crate::servers::Answer;
use crate::servers::Stub;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

/// A bucket whose policy forbids to delete, and to write over what is there.
fn append_only(refused: Arc<Mutex<Vec<String>>>) -> Stub {
    let (bucket, names) = (Bucket::default(), Mutex::new(std::collections::BTreeSet::new()));
    Stub::start(move |head, body, _| {
        let mut words = head.split(' ');
        let (method, name) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let is_refused = match method {
            "delete" => true,
            "put" => !names.lock().unwrap().insert(name.clone()),
            _ => false,
        };
        if !is_refused {
            return bucket.answer(head, body);
        }
        refused.lock().unwrap().push(format!("{method} {name}"));
        Answer::new(403, "<Error><Code>AccessDenied</Code><Message>Not with these credentials.</Message></Error>")
    })
}

fn command(program: &Program, url: &str, arguments: &[&str]) -> Command {
    let endpoint = format!("s3.endpoint={url}");
    let mut command = program.command(&[&["-o", &endpoint, "-o", "s3.allow_http=true"], arguments].concat());
    command.env("BYGONE_REPOSITORY", "s3://tests/only").env("BYGONE_PASSWORD", "test").env("AWS_REGION", "eu-west-1");
    command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", "hunter2");
    command
}

#[test]
fn all_but_deleting_works_without_the_right_to_delete() {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let server = append_only(refused.clone());
    let url = server.url();
    let program = Program::new();
    let run = |arguments: &[&str]| Ended::of(&mut command(&program, &url, arguments));
    let source = program.source();
    fs::create_dir(&source).unwrap();
    (0..5).for_each(|f| fs::write(source.join(format!("{f}")), noise(f, 20_000)).unwrap());
    let path = source.to_str().unwrap();
    // The real `init`, which tries out what the store can do: it may be refused there, and only there.
    run(&["init", "-q"]).ok();
    let tried: Vec<String> = refused.lock().unwrap().drain(..).collect();
    assert!(tried.iter().all(|request| request.contains("/probe/")), "{tried:?}");
    run(&["backup", "-q", path]).ok();
    fs::write(source.join("new"), noise(9, 30_000)).unwrap();
    run(&["backup", "-q", path]).ok();
    let at = program.scratch().join("drive");
    let told = run(&["--json", "mount", &format!("latest:{path}"), at.to_str().unwrap()]).ok();
    let drive = Drive::adopt(&program, &at, json_lines(&told.stdout).remove(0));
    crate::drive::expect_equal(&source, &at);
    drive.umount();
    let back = program.scratch().join("back");
    run(&["restore", "-q", &format!("latest:{path}"), "--to", back.to_str().unwrap()]).ok();
    crate::drive::expect_equal(&source, &back);
    run(&["forget", "-q", "latest"]).ok();
    run(&["undo-forget", "-q", "--last"]).ok();
    run(&["tag", "-q", "--add", "kept", "latest"]).ok();
    run(&["check", "--read-data"]).ok();
    let second = program.scratch().join("second");
    fs::write(&second, "another one").unwrap();
    run(&["key", "add", "--new-password-file", second.to_str().unwrap()]).ok();
    assert_eq!(refused.lock().unwrap().len(), 0, "{refused:?}");
    // What needs deleting says what was refused, and what to do.
    let slots = json_lines(&run(&["key", "list", "--json"]).ok().stdout);
    let other = slots.iter().find(|slot| slot["used_now"] == false).unwrap();
    let told = run(&["key", "remove", other["id"].as_str().unwrap()]).fails(1).stderr;
    for words in ["cannot delete 'copies/keys/", "access denied", "may not delete"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(refused.lock().unwrap().len(), 1, "{refused:?}");
    run(&["forget", "-q", "latest"]).ok();
    let told = run(&["prune", "--grace", "0", "--max-unused", "0%"]).fails(1).stderr;
    for words in ["cannot delete 'packs/", "access denied", "may not delete"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // What was going to be removed is there, and so is what needs it; who may delete goes on where it stopped.
    run(&["check", "--read-data"]).ok();
    run(&["restore", "-q", &format!("latest:{path}/0"), "--to", back.join("again").to_str().unwrap()]).ok();
    assert_eq!(fs::read(back.join("again/0")).unwrap(), noise(0, 20_000));
}

#[test]
fn a_copy_needs_no_right_to_delete() {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let server = append_only(refused.clone());
    let url = server.url();
    let program = Program::with_source();
    let source = program.source();
    program.run(&["backup", "-q", source.to_str().unwrap()]).ok();
    let run = |arguments: &[&str]| Ended::of(&mut command(&program, &url, arguments));
    run(&["init", "-q"]).ok();
    refused.lock().unwrap().clear();
    let from = program.repository();
    let from = ["copy", "-q", "--from", from.to_str().unwrap(), "--from-password-command", "echo correct horse"];
    run(&from).ok();
    fs::write(source.join("new"), noise(9, 30_000)).unwrap();
    program.run(&["backup", "-q", source.to_str().unwrap()]).ok();
    run(&from).ok();
    assert_eq!(refused.lock().unwrap().len(), 0, "{refused:?}");
    run(&["check", "--read-data"]).ok();
    let back = program.scratch().join("back");
    run(&["restore", "-q", &format!("latest:{}", source.display()), "--to", back.to_str().unwrap()]).ok();
    crate::drive::expect_equal(&source, &back);
}
