//! The drive among programs that make previews: what `--previews` keeps them from, and what it must not spoil for others.

use crate::house::noise;
use crate::journey::Drive;
use crate::program::Program;
use crate::program::json_lines;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

const PHOTO_BYTES: usize = 3 << 20;

/// A backup of photos, and programs that read one: an ordinary one, and one that has the name of a known thumbnailer.
struct Photos {
    program: Program,
    at: PathBuf,
}

impl Photos {
    fn new() -> Photos {
        let program = Program::new();
        program.run(&["init"]).ok();
        fs::create_dir(program.source()).unwrap();
        for number in 0..3 {
            fs::write(program.source().join(format!("{number}.jpg")), noise(number, PHOTO_BYTES)).unwrap();
        }
        program.run(&["backup", program.source().to_str().unwrap()]).ok();
        let cat = PathBuf::from("/bin/cat").canonicalize().unwrap();
        for name in ["tumblerd", "my-own-picture-indexer"] {
            // A copy: the name of a program is that of its file, whatever link led to it.
            // By another process: a program that this one still writes to in the eyes of a fork cannot be started.
            let copied = Command::new("cp").arg(&cat).arg(program.scratch().join(name)).status().unwrap();
            assert!(copied.success());
        }
        symlink(&cat, program.scratch().join("cat")).unwrap();
        let at = program.scratch().join("drive");
        Photos { program, at }
    }

    fn mount(&self, options: &[&str]) -> Drive<'_> {
        let (latest, at) = (self.program.at("latest", ""), self.at.to_str().unwrap());
        Drive::mount(&self.program, &[options, &[latest.trim_end_matches('/'), at]].concat())
    }

    /// What a program gets of a photo, or what it says.
    fn read(&self, program: &str, number: u64) -> Result<Vec<u8>, String> {
        let photo = self.at.join(format!("{number}.jpg"));
        let output = Command::new(self.program.scratch().join(program)).arg(photo).env("LC_ALL", "C").output().unwrap();
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    #[track_caller]
    fn is_whole(&self, program: &str, number: u64) {
        assert!(self.read(program, number).unwrap() == noise(number, PHOTO_BYTES), "{program} {number}");
    }

    #[track_caller]
    fn is_refused(&self, program: &str, number: u64) {
        let said = self.read(program, number).unwrap_err();
        assert!(said.contains("Permission denied"), "{said}");
    }

    fn status(&self) -> Value {
        status(&self.program, &self.at)
    }
}

/// All that is told of one drive.
pub(crate) fn status(program: &Program, at: &Path) -> Value {
    json_lines(&program.run(&["drives", "--json", at.to_str().unwrap()]).ok().stdout).remove(0)
}

fn number(status: &Value, group: &str, field: &str) -> u64 {
    status[group][field].as_u64().unwrap_or_else(|| panic!("no {group}.{field} in {status}"))
}

#[test]
fn off_refuses_makers_of_previews_and_nobody_else() {
    let photos = Photos::new();
    let drive = photos.mount(&["--previews=off", "--previews-also", "my-own-picture-indexer"]);
    let before = photos.status();
    for picture in 0..3 {
        photos.is_refused("tumblerd", picture);
        photos.is_refused("my-own-picture-indexer", picture);
    }
    let after = photos.status();
    assert_eq!(after["previews"], "off");
    assert_eq!(number(&after, "store", "bytes"), number(&before, "store", "bytes"), "nothing was fetched for them");
    assert_eq!((number(&after, "served", "bytes"), number(&after, "served", "refused")), (0, 6));
    photos.is_whole("cat", 0);
    // What the system has in memory by now is not for them either.
    photos.is_refused("tumblerd", 0);
    photos.is_whole("cat", 0);
    drive.umount();
}

#[test]
fn cached_gives_them_what_is_there() {
    let photos = Photos::new();
    let drive = photos.mount(&["--previews=cached"]);
    let before = photos.status();
    photos.is_refused("tumblerd", 1);
    let refused = photos.status();
    assert_eq!((number(&refused, "served", "bytes"), number(&refused, "served", "refused")), (0, 1));
    assert_eq!(number(&refused, "store", "bytes"), number(&before, "store", "bytes"), "nothing was fetched for it");
    photos.is_whole("my-own-picture-indexer", 0);
    photos.is_whole("tumblerd", 0);
    // Others get all of a photo that was refused; from then on it is there for everybody.
    photos.is_whole("cat", 1);
    photos.is_whole("tumblerd", 1);
    drive.umount();
}

#[test]
fn cached_gives_them_what_the_disk_has() {
    let photos = Photos::new();
    let options = ["--previews=cached", "--cache-size", "64M"];
    let drive = photos.mount(&options);
    photos.is_whole("cat", 1);
    drive.umount();
    // Nothing is in memory now.
    let drive = photos.mount(&options);
    let before = photos.status();
    photos.is_whole("tumblerd", 1);
    photos.is_refused("tumblerd", 0);
    let after = photos.status();
    assert_eq!(number(&after, "store", "bytes"), number(&before, "store", "bytes"), "nothing was fetched for it");
    assert_eq!((number(&after, "served", "bytes"), number(&after, "served", "refused")), (PHOTO_BYTES as u64, 1));
    photos.is_whole("cat", 0);
    photos.is_whole("tumblerd", 0);
    drive.umount();
}

#[test]
fn who_opened_a_file_may_have_it_read_by_a_maker_of_previews() {
    // As a viewer of pictures does that has a helper decode them: what people open is shown, whatever the rule.
    let photos = Photos::new();
    for rule in ["--previews=cached", "--previews=off"] {
        let drive = photos.mount(&[rule]);
        let opened = fs::File::open(photos.at.join("2.jpg")).unwrap();
        let output = Command::new(photos.program.scratch().join("tumblerd")).stdin(opened).output().unwrap();
        assert!(output.stdout == noise(2, PHOTO_BYTES), "{rule}");
        drive.umount();
    }
}

#[test]
fn on_gives_everything_and_is_what_a_folder_gets() {
    let photos = Photos::new();
    let drive = photos.mount(&["--previews-also", "cat"]);
    photos.is_whole("tumblerd", 2);
    photos.is_whole("cat", 1);
    let status = photos.status();
    assert_eq!((&status["previews"], &status["served"]["refused"]), (&"on".into(), &0.into()));
    assert_eq!(number(&status, "served", "bytes"), 2 * PHOTO_BYTES as u64);
    let names: Vec<_> = status["readers"].as_array().unwrap().iter().map(|reader| &reader["program"]).collect();
    assert!(names.contains(&&"tumblerd".into()) && names.contains(&&"cat".into()), "{names:?}");
    drive.umount();
}
