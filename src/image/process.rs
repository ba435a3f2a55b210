//! The reading process: started, talked to, and ended.

use crate::image::wire;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// Makes the program read an image; the only other argument then is the memory it may take, in bytes.
pub const PROGRAM_FLAG: &str = "--read-image";
/// Address space of the process. Parsers keep to a few MiB; the program itself takes some tens.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// More, if an encrypted volume is to be opened: making a key out of a passphrase may take a GiB.
const UNLOCKING_BYTES: u64 = 1200 << 20;
/// The program itself, also after it has been replaced on disk.
const PROGRAM: &str = "/proc/self/exe";

/// A running process. Dropping it ends it.
pub(super) struct Process {
    child: Child,
    to: pipe::Sender,
    from: pipe::Receiver,
}

impl Process {
    /// Starts one, with nothing of this one's environment. Needs a runtime around it.
    pub(super) fn start(unlocks: bool) -> io::Result<Process> {
        let mut command = Command::new(PROGRAM);
        let memory = MEMORY_BYTES_MAX + if unlocks { UNLOCKING_BYTES } else { 0 };
        command.arg(PROGRAM_FLAG).arg(memory.to_string()).env_clear().env("MALLOC_ARENA_MAX", "1").current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let to = pipe::Sender::from_owned_fd(OwnedFd::from(child.stdin.take().ok_or_else(gone)?))?;
        let from = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().ok_or_else(gone)?))?;
        Ok(Process { child, to, from })
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.to.write_all(&wire::frame(message)?).await
    }

    pub(super) async fn receive<T: for<'a> Deserialize<'a>>(&mut self) -> io::Result<T> {
        let mut header = [0; 4];
        self.from.read_exact(&mut header).await?;
        let mut body = vec![0; wire::body_len(header)?];
        self.from.read_exact(&mut body).await?;
        wire::message(&body)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only if the process has ended already; waiting then takes no time, and neither does it after a kill.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
