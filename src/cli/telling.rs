//! Where the library's log goes: to standard error, or for a drive in the background to a file in the state folder,
//! which is made when there is something to write.

use crate::cli::out;
use crate::cli::place;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
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
    let (Some(folder), Some(path)) = (place::state_folder(), file()) else { return };
    sweep(&folder);
    let log = LateFile(Arc::new((path, Mutex::new(None))));
    // What programs ask for and no drive has (ioctl, bmap) is nobody's fault.
    let filter = filter("warn,fuser=error");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log);
    let _already_set = builder.try_init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// The file that this process tells in, if it does.
pub(super) fn file() -> Option<PathBuf> {
    Some(place::state_folder()?.join(format!("mount-{}.log", std::process::id())))
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

/// Longest such file: a drive may serve for months.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Those of drives that are gone are taken away after a week.
const LOG_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Takes away what drives of long ago have told.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("mount-")?.strip_suffix(".log"));
        let Some(number) = number.filter(|number| number.parse::<u32>().is_ok()) else { continue };
        let is_old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age > LOG_AGE_MAX);
        if !Path::new("/proc").join(number).exists() && is_old() == Some(true) {
            let _it_stays = fs::remove_file(entry.path());
        }
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
        match file.as_mut() {
            Some(file) if file.metadata()?.len() < LOG_BYTES_MAX => file.write(bytes),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
