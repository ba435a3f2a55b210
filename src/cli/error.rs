//! What ends a command early: an error with all its causes, told to people in layers and to programs as JSON, with
//! the next step to take.

use crate::cli::exit::Exit;
use crate::cli::exit::is_damage;
use crate::cli::exit::layers;
use crate::cli::hints;
use crate::cli::json;
use crate::cli::json::rooted;
use crate::cli::out;
use crate::image::DeviceError;
use crate::path::Show;
use serde_json::json;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Faults that only a command line has.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no repository was named")]
    NoLocation,
    #[error("no password was given")]
    NoPassword { hints: &'static [&'static str] },
    #[error("{first} and {second} are both set, and only one can be meant")]
    TwoPasswords { first: &'static str, second: &'static str },
    #[error("the password from {from} is empty")]
    EmptyPassword { from: String },
    #[error("the two passwords are not the same")]
    PasswordsDiffer,
    #[error("cannot get the password from {from}")]
    Password {
        from: String,
        #[source]
        source: io::Error,
    },
    #[error("{message}")]
    Usage { message: String },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("snapshot {snapshot} has no '{}'", Show(&rooted(path)))]
    NoPath { path: Vec<u8>, snapshot: String },
    #[error("none of the snapshots that were looked into has '{}'", Show(&rooted(path)))]
    Nowhere { path: Vec<u8> },
    #[error("'{}' has no part '{}'; it has: {}", Show(image), Show(name), Show(parts.as_bytes()))]
    NoPart { image: Vec<u8>, name: Vec<u8>, parts: String },
    #[error("'{}' is not a file", Show(&rooted(path)))]
    NotAFile { path: Vec<u8> },
    #[error("'{}' is neither a folder nor a disk image, and only those open as drives", Show(&rooted(path)))]
    NotAFolder { path: Vec<u8> },
    #[error("the mount point '{}' lies inside the repository", path.display())]
    MountInRepository { path: PathBuf },
    #[error("cannot make the folder '{}'", path.display())]
    MakeFolder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write to '{}'", path.display())]
    WriteTo {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the command")]
    Command(#[source] io::Error),
    #[error("cannot start the process that serves the drive")]
    Background(#[source] io::Error),
    #[error("the drive ended because of an error")]
    DriveFailed(#[source] io::Error),
    #[error("cannot read the table of mounts")]
    Mounts(#[source] io::Error),
    #[error("no drive is mounted at '{}'", path.display())]
    NoDrive { path: PathBuf },
    #[error("nothing was restored: it was not confirmed")]
    NotConfirmed,
    #[error("snapshot {snapshot} holds no disks")]
    NoDisks { snapshot: String },
    #[error("cannot start qemu-img, which makes qcow2 files")]
    NoQemu(#[source] io::Error),
    #[error("qemu-img cannot make '{}': {said}", path.display())]
    Qemu { path: PathBuf, said: String },
    #[error("cannot use the current folder")]
    CurrentFolder(#[source] io::Error),
    #[error("'{}' holds {kind}, which cannot be looked into", Show(&rooted(path)))]
    Sealed { path: Vec<u8>, kind: String },
    #[error("the passphrase does not open '{part}': {why}")]
    Passphrase { part: String, why: String },
    #[error("no snapshot can be made of '{}': {said}", path.display())]
    Capture { path: PathBuf, said: String },
    #[error("there is no disk in '{}'", Show(path))]
    NoDisk { path: Vec<u8> },
    #[error("there is no disk or file '{}'", path.display())]
    NoDiskFile { path: PathBuf },
    #[error("of the group '{group}' nothing would stay")]
    NoneLeft { group: String },
    #[error("this machine has forgotten no snapshot that can be taken back")]
    NothingForgotten,
    #[error("it is too late for {snapshots}: the repository was pruned")]
    TooLate { snapshots: String },
    #[error("no password slot has an id that begins with '{digits}'")]
    NoKey { digits: String },
    #[error("several password slots have ids that begin with '{digits}'")]
    KeysAlike { digits: String },
    #[error("this is the only password of the repository")]
    OnlyKey,
    #[error("the password opens the repository already: slot {slot}")]
    KnownPassword { slot: String },
    #[error(transparent)]
    Device(DeviceError),
    #[error("cannot read '{}'", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why a command failed, and what to do about it.
#[derive(Debug)]
pub(super) struct CommandError {
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl<E: Error + Send + Sync + 'static> From<E> for CommandError {
    fn from(error: E) -> CommandError {
        let hints = hints::of(&error);
        CommandError { error: Box::new(error), hints }
    }
}

/// Result of a command.
pub(super) type Result<T> = std::result::Result<T, CommandError>;

/// A command line that cannot be understood, beyond what clap finds out.
pub(super) fn usage(message: impl Into<String>) -> CommandError {
    Fault::Usage { message: message.into() }.into()
}

impl CommandError {
    /// The same with one more hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> CommandError {
        self.hints.push(hint.into());
        self
    }

    /// True if it is an object of the repository that is not what it should be.
    pub(super) fn is_damage(&self) -> bool {
        is_damage(self.layer())
    }

    /// How the program ends.
    pub(super) fn exit(&self) -> Exit {
        Exit::of(self.layer())
    }

    fn layer(&self) -> &(dyn Error + 'static) {
        &*self.error
    }

    /// Tells it on standard error; a reader that went away is not told that it did.
    pub(super) fn tell(&self, as_json: bool) {
        if self.exit() == Exit::Pipe {
            return;
        }
        if as_json {
            out::note(self.json());
        } else {
            out::note(self.text());
        }
    }

    /// One layer per line, outermost first; a layer that only repeats the one above is left out.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for layer in layers(self.layer()) {
            let text = layer.to_string();
            if lines.last().is_none_or(|last| *last != text) {
                lines.push(text);
            }
        }
        lines
    }

    fn text(&self) -> String {
        let lines = self.lines();
        let mut text = String::new();
        for (i, line) in lines.iter().enumerate() {
            text += if i == 0 { "bygone: " } else { "\n  because: " };
            text += &line.replace('\n', "\n           ");
        }
        for hint in &self.hints {
            text += "\n  hint: ";
            text += hint;
        }
        text
    }

    fn json(&self) -> String {
        let lines = self.lines();
        let (message, causes) = lines.split_first().expect("an error has a first layer");
        let exit = self.exit();
        let body = json!({
            "code": exit.number(),
            "reason": exit.name(),
            "message": message,
            "causes": causes,
            "hints": self.hints,
        });
        json::line("error", &body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::repo;
    use crate::store;
    use crate::store::ErrorKind;

    #[test]
    fn each_layer_is_told_once_with_a_next_step() {
        let store = store::Error::new(ErrorKind::Unreachable, "list", "", "s3://b").because("connection refused");
        let error = CommandError::from(repo::Error::Store(store));
        let text = error.text();
        assert!(text.starts_with("bygone: cannot list s3://b: the storage cannot be reached\n"), "{text}");
        assert!(text.contains("\n  because: connection refused\n"), "{text}");
        assert_eq!(text.matches("cannot be reached").count(), 1, "{text}");
        assert!(text.contains("\n  hint: "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&error.json()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["type"], "error");
        assert_eq!(json["code"], 16);
        assert_eq!(json["reason"], "unreachable");
        assert_eq!(json["causes"][0], "connection refused");
    }

    #[test]
    fn a_folder_needs_no_credentials() {
        for (errno, hint) in [(30, "mounted read-only"), (13, "to whom the folder"), (1, "to whom the folder")] {
            let source = std::io::Error::from_raw_os_error(errno);
            let store =
                store::Error::new(ErrorKind::Denied, "write", "log/x", "/srv/backup").because(source.to_string());
            let text = CommandError::from(repo::Error::Store(store)).text();
            assert!(text.contains(hint) && !text.contains("credentials"), "{text}");
        }
    }
}
