//! Raw disk images as qcow2, by the program that made the format.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::monitor::Monitor;
use crate::restore::DiskError;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

const PROGRAM: &str = "qemu-img";
/// How often the program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Fails if the program is not there.
pub(super) fn find() -> Result<()> {
    let started = Command::new(PROGRAM).arg("--version").stdin(Stdio::null()).output();
    started.map(drop).map_err(|error| Fault::NoQemu(error).into())
}

/// A file beside the one that is wanted, removed at the end unless it was given its name.
pub(super) struct Beside {
    path: PathBuf,
}

impl Beside {
    /// A name that nobody has, in the folder of `target`.
    pub(super) fn new(target: &Path, end: &str) -> Result<Beside> {
        let random =
            getrandom::u64().map_err(|error| Fault::WriteTo { path: target.to_owned(), source: error.into() })?;
        let name = format!(".bygone-{random:016x}.{end}");
        Ok(Beside { path: target.with_file_name(name) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, when it is on disk.
    fn place(&self, target: &Path) -> Result<()> {
        let placed =
            File::open(&self.path).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&self.path, target));
        Ok(placed.map_err(|source| Fault::WriteTo { path: target.to_owned(), source })?)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may never have been made.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Makes `target` of a raw image; what was there before stays until that is complete.
pub(super) fn convert(raw: &Path, target: &Path, verify: bool, monitor: &dyn Monitor) -> Result<()> {
    let new = Beside::new(target, "qcow2")?;
    let to = new.path().as_os_str();
    let convert = ["convert", "-f", "raw", "-O", "qcow2"].map(OsStr::new);
    run(&[&convert[..], &[OsStr::new("--"), raw.as_os_str(), to]].concat(), target, monitor)?;
    if verify {
        let compare = ["compare", "-f", "raw", "-F", "qcow2"].map(OsStr::new);
        run(&[&compare[..], &[OsStr::new("--"), raw.as_os_str(), to]].concat(), target, monitor)?;
    }
    new.place(target)
}

fn run(arguments: &[&OsStr], target: &Path, monitor: &dyn Monitor) -> Result<()> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Fault::NoQemu)?;
    let ended = loop {
        if monitor.is_cancelled() {
            end(&mut child);
            return Err(DiskError::Cancelled.into());
        }
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(Fault::NoQemu(error).into()),
        }
    };
    if ended {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        // What cannot be read is not text, and says nothing.
        let _readable = errors.read_to_string(&mut said);
    }
    Err(Fault::Qemu { path: target.to_owned(), said: said.trim().to_owned() }.into())
}

fn end(child: &mut Child) {
    // It fails only if it has ended already.
    let _gone = child.kill();
    let _reaped = child.wait();
}
