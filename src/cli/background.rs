//! A drive in the background: the program starts itself once more, and goes when the drive answers.
//!
//! The parent asks for the password, because it has the terminal, and hands it over through a pipe. The child does all
//! the rest, and tells errors on the standard error it inherits. Its standard output is a pipe to the parent: first
//! the word [`READY`], then what people are to read. Then the child lets go of both, and is on its own.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::out::Out;
use crate::cli::out::line;
use crate::cli::password::Given;
use crate::cli::password::VARIABLES;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::process::Command;
use std::process::Stdio;

/// What the child says once the drive answers.
const READY: &str = "ready";
/// Makes a process the child; see [`crate::cli`].
const FLAG: &str = "--serve-drive";

/// Starts the child, waits until the drive answers or cannot, and ends as it did.
pub(super) fn start(given: &Given) -> Result<Exit> {
    let mut command = Command::new(std::env::current_exe().map_err(Fault::Background)?);
    // Before the other arguments: behind `--` it would be a path.
    command.arg(FLAG).args(std::env::args_os().skip(1));
    for name in VARIABLES {
        command.env_remove(name);
    }
    // Memory of freed segments is shared by all threads instead of kept for each: measured 151 instead of 187 MiB.
    command.env("MALLOC_ARENA_MAX", "2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(Fault::Background)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that is gone already has said why.
        let _gone = given.send(&mut stdin);
    }
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said).map_err(Fault::Background)?;
    }
    if let Some(text) = said.strip_prefix(READY.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n")) {
        let mut out = Out::new();
        out.bytes(text)?;
        out.finish()?;
        return Ok(Exit::Done);
    }
    let status = child.wait().map_err(Fault::Background)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).and_then(Exit::from_number);
    match code {
        Some(exit) if exit != Exit::Done => Ok(exit),
        _ => Err(Fault::Background(io::Error::other(format!("it ended with {status}"))).into()),
    }
}

/// In the child, first: away from the terminal's signals.
pub(super) fn detach() {
    // It fails only for a leader of a group, which a child is not.
    let _is_leader_already = rustix::process::setsid();
}

/// In the child: the drive answers. Fails if the parent is gone; then nobody knows of the drive.
pub(super) fn ready() -> Result<()> {
    Ok(line(READY)?)
}

/// In the child: everything is said. Lets go of the terminal and of the current folder.
pub(super) fn leave_terminal() -> Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(Fault::Background)?;
    let moved =
        [rustix::stdio::dup2_stdin(&null), rustix::stdio::dup2_stdout(&null), rustix::stdio::dup2_stderr(&null)];
    moved.into_iter().collect::<std::result::Result<(), _>>().map_err(|errno| Fault::Background(errno.into()))?;
    // Or the file system of the current folder could not be unmounted. A drive works from any folder.
    let _stays = std::env::set_current_dir("/");
    Ok(())
}
