//! Starts the real program, with a repository, state and home of its own.

use crate::house::noise;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use tempfile::TempDir;

/// The program and its world.
pub(crate) struct Program {
    scratch: TempDir,
}

/// How a run went.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// A new world without a repository.
    pub(crate) fn new() -> Program {
        Program { scratch: tempfile::tempdir().unwrap() }
    }

    /// A folder for the test.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the repository is, or will be.
    pub(crate) fn repository(&self) -> PathBuf {
        self.scratch().join("repository")
    }

    /// The program with these arguments, not started yet. Nothing of the caller's environment shows through.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bygone"));
        command.args(arguments).env_clear().current_dir(self.scratch()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.scratch()).env("TZ", "UTC");
        command.env("BYGONE_REPOSITORY", self.repository());
        command.env("BYGONE_PASSWORD", "correct horse");
        command.env("BYGONE_STATE_DIR", self.scratch().join("state"));
        command
    }

    /// A new repository, and a source with a few files of every kind in the folder `source`.
    pub(crate) fn with_source() -> Program {
        let program = Program::new();
        program.run(&["init"]).ok();
        let source = program.source();
        fs::create_dir_all(source.join("sub/deeper")).unwrap();
        fs::write(source.join("hello"), "Hello\n").unwrap();
        fs::write(source.join("sub/big"), noise(1, 3 << 20)).unwrap();
        fs::write(source.join("sub/deeper/note"), "deep").unwrap();
        fs::write(source.join("sub/line\nbreak"), "x").unwrap();
        symlink("hello", source.join("link")).unwrap();
        let sparse = fs::File::create(source.join("sparse")).unwrap();
        sparse.set_len(5 << 20).unwrap();
        sparse.write_all_at(&noise(2, 1000), 2 << 20).unwrap();
        program
    }

    /// The folder that is backed up.
    pub(crate) fn source(&self) -> PathBuf {
        self.scratch().canonicalize().unwrap().join("source")
    }

    /// `snapshot:/path` for a path below the source.
    pub(crate) fn at(&self, snapshot: &str, below: &str) -> String {
        format!("{snapshot}:{}/{below}", self.source().display())
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }
}

impl Ended {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Ended {
        self.fails(0)
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Documents, one on each line; each has version and type.
#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    let lines: Vec<Value> = text.lines().map(parse).collect();
    for line in &lines {
        assert!(line["version"] == 1 && line["type"].is_string(), "{line}");
    }
    lines
}
