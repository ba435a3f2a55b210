//! What a command prints, as a stream to back up. A command that fails has printed too little: then there is no snapshot.

use std::io;
use std::io::Read;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

/// The output of a running command. Ended with it when dropped.
pub(super) struct Produced {
    command: String,
    child: Child,
    output: ChildStdout,
    is_over: bool,
}

impl Produced {
    /// Starts a command of the shell. What it has to say on standard error, people see.
    pub(super) fn start(command: &str) -> io::Result<Produced> {
        let mut shell = Command::new("sh");
        let mut child = shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        Ok(Produced { command: command.to_owned(), child, output, is_over: false })
    }
}

impl Read for Produced {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buf)?;
        if count == 0 && !buf.is_empty() && !self.is_over {
            let status = self.child.wait()?;
            self.is_over = true;
            if !status.success() {
                return Err(io::Error::other(format!("the command '{}' failed: {status}", self.command)));
            }
        }
        Ok(count)
    }
}

impl Drop for Produced {
    fn drop(&mut self) {
        if !self.is_over {
            let _gone_already = self.child.kill();
            let _nobody_asks = self.child.wait();
        }
    }
}
