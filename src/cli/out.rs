//! The only door to the terminal: results go to standard output, everything else to standard error.
//!
//! A reader that goes away (`| head`) ends the program quietly. What is told while a progress bar is shown is put
//! above the bar.

use indicatif::ProgressBar;
use std::fmt::Display;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::StdoutLock;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The bar that is shown.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct OutError(#[source] pub(super) io::Error);

/// Prints one line of the result.
pub(super) fn line(text: impl Display) -> Result<(), OutError> {
    let text = format!("{text}\n");
    let write = || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    };
    above_bar(write).map_err(OutError)
}

/// Tells something on standard error. If nobody listens there, nobody is told.
pub(super) fn note(text: impl Display) {
    let text = format!("{text}\n");
    raw_note(text.as_bytes());
}

/// Passes bytes to standard error.
pub(super) fn raw_note(bytes: &[u8]) {
    let _nobody_listens = above_bar(|| io::stderr().lock().write_all(bytes));
}

/// Tells of something that is not as it should be, though the command goes on.
pub(super) fn warning(as_json: bool, text: impl Display) {
    if as_json {
        let body = serde_json::json!({ "message": text.to_string() });
        note(crate::cli::json::line("warning", &body));
    } else {
        note(format_args!("warning: {text}"));
    }
}

/// Shows a bar, or stops showing it.
pub(super) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

fn above_bar<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A long result: buffered, to be finished.
pub(super) struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    /// True if people look at it: then names are made harmless.
    pub(super) is_terminal: bool,
}

impl Out {
    /// Takes standard output until dropped.
    pub(super) fn new() -> Out {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Out { writer: BufWriter::with_capacity(BUFFER_BYTES, stdout.lock()), is_terminal }
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), OutError> {
        self.writer.write_all(bytes).map_err(OutError)
    }

    /// Writes text.
    pub(super) fn text(&mut self, text: impl Display) -> Result<(), OutError> {
        write!(self.writer, "{text}").map_err(OutError)
    }

    /// Writes a name from a snapshot: as it is, but on a terminal without what could control it.
    pub(super) fn name(&mut self, name: &[u8]) -> Result<(), OutError> {
        if self.is_terminal { self.text(crate::path::Show(name)) } else { self.bytes(name) }
    }

    /// Writes what is still in the buffer.
    pub(super) fn finish(mut self) -> Result<(), OutError> {
        self.writer.flush().map_err(OutError)
    }
}
