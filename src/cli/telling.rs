//! Where the library's log goes: to standard error, or for a drive in the background to a file in the state folder,
//! which is made when there is something to write.

use crate::cli::out;
use crate::cli::place;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Names what to tell in the words of tracing, instead of `-v`.
const VARIABLE: &str = "BYGONE_LOG";

/// Begins to tell on standard error.
pub(super) fn to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "warn,bygone=info,bygone_mount=info",
        2 => "warn,bygone=debug,bygone_mount=debug",
        _ => "trace",
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)).with_ansi(colour).with_writer(|| AboveBar);
    // Only the first call in a process has an effect, and there is one.
    let _already_set = builder.try_init();
}

/// Begins to tell in a file of this process. A panic is told there as well: nobody sees standard error.
pub(super) fn to_file() {
    let Some(folder) = place::state_folder() else { return };
    let log = LateFile(Arc::new((folder.join(format!("mount-{}.log", std::process::id())), Mutex::new(None))));
    let builder = tracing_subscriber::fmt().with_env_filter(filter("warn")).with_ansi(false).with_writer(log);
    let _already_set = builder.try_init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level))
}

/// Standard error, above a progress bar if there is one.
struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        out::raw_note(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is made by the first line.
#[derive(Clone)]
struct LateFile(Arc<(PathBuf, Mutex<Option<File>>)>);

impl<'a> MakeWriter<'a> for LateFile {
    type Writer = LateFile;

    fn make_writer(&'a self) -> LateFile {
        self.clone()
    }
}

impl Write for LateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (path, file) = &*self.0;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?);
        }
        file.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
