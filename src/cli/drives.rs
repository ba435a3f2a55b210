//! `bygone drives`: what is mounted, and how it is doing.
//!
//! No drive is waited for longer than a second, whatever has become of it.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::out::Out;
use crate::cli::socket;
use crate::cli::status;
use crate::cli::status::Status;
use crate::cli::table::Align;
use crate::cli::table::Table;
use bygone_mount::fuse;
use bygone_mount::fuse::MountInfo;
use bygone_mount::fuse::Pulse;
use serde_json::Map;
use serde_json::Value;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  bygone drives
  bygone drives ~/Backups         all about this one: who reads most, is the storage there
  bygone drives --json

READ is what programs were given, FETCHED what came from the storage for it. What the system still
has in memory is read again without asking the drive, and is not counted.";

/// How long a drive may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// List the drives that are mounted on this machine, and how they are doing
///
/// A dead drive is one whose process is gone; 'bygone umount' takes it away, and so does mounting there again. The
/// figures of other users' drives are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DrivesArgs {
    /// Tell all about the drive that is mounted here
    #[arg(value_name = "DIR")]
    point: Option<PathBuf>,
}

impl DrivesArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        match self.point {
            Some(point) => show_one(global, &point),
            None => show_all(global),
        }
    }
}

/// A drive and what was found out about it.
struct Asked {
    drive: MountInfo,
    pulse: Pulse,
    status: Option<Status>,
}

fn show_all(global: &Global) -> Result<Exit> {
    let drives = fuse::mounts().map_err(Fault::Mounts)?;
    socket::sweep(&drives.iter().map(|drive| drive.device).collect::<Vec<_>>());
    let drives = ask(drives);
    let mut out = Out::new();
    if global.json {
        for drive in &drives {
            out.text(format_args!("{}\n", drive.json()))?;
        }
    } else if drives.is_empty() {
        out.text("No drives are mounted.\n")?;
    } else {
        out.text(table(&drives))?;
    }
    out.finish()?;
    Ok(Exit::Done)
}

/// All about the drive that is mounted at a folder.
pub(super) fn show_one(global: &Global, point: &Path) -> Result<Exit> {
    let drives = fuse::mounts().map_err(Fault::Mounts)?;
    let path = std::path::absolute(point).map_err(Fault::CurrentFolder)?;
    let resolved = resolved(&path);
    let is_it = |drive: &&MountInfo| drive.mount_point == path || drive.mount_point == resolved;
    // The last one mounted covers the others.
    let drive = drives.iter().rev().find(is_it).cloned().ok_or(Fault::NoDrive { path: path.clone() })?;
    let mut out = Out::new();
    for drive in &ask(vec![drive]) {
        if global.json {
            out.text(format_args!("{}\n", drive.json()))?;
        } else {
            out.text(drive)?;
        }
    }
    out.finish()?;
    Ok(Exit::Done)
}

/// The path without links. What it leads to is not touched, as it could be a drive that does not answer: the folder above
/// tells what is a link.
fn resolved(path: &Path) -> PathBuf {
    /// As many as the system follows.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let above = path.parent().and_then(|above| above.canonicalize().ok());
        let (Some(above), Some(name)) = (above, path.file_name()) else { return path };
        let at = above.join(name);
        match fs::read_link(&at) {
            Ok(target) => path = above.join(target),
            Err(_) => return at,
        }
    }
    path
}

/// Asks all of them at once.
fn ask(drives: Vec<MountInfo>) -> Vec<Asked> {
    let (pulses, statuses) = thread::scope(|scope| {
        let asking = |drive: &MountInfo| {
            let device = drive.device;
            scope.spawn(move || status::ask(device, PATIENCE))
        };
        let asking: Vec<_> = drives.iter().map(asking).collect();
        let pulses = fuse::pulses(&drives, PATIENCE);
        (pulses, asking.into_iter().map(|asking| asking.join().ok().flatten()).collect::<Vec<_>>())
    });
    let found = drives.into_iter().zip(pulses).zip(statuses);
    found.map(|((drive, pulse), status)| Asked { drive, pulse, status }).collect()
}

impl Asked {
    fn state(&self) -> &'static str {
        match self.pulse {
            Pulse::Dead => "dead",
            Pulse::Silent => "not answering",
            Pulse::Alive if self.status.as_ref().is_some_and(|status| !status.is_online()) => "offline",
            Pulse::Alive => "open",
        }
    }

    fn what(&self) -> &str {
        self.drive.source.strip_prefix("bygone:").unwrap_or(&self.drive.source)
    }

    fn json(&self) -> String {
        let mut map = Map::new();
        json::put_bytes(&mut map, "mount_point", self.drive.mount_point.as_os_str().as_bytes());
        map.insert("what".to_owned(), self.drive.source.as_str().into());
        map.insert("dead".to_owned(), (self.pulse == Pulse::Dead).into());
        map.insert("state".to_owned(), self.state().replace(' ', "_").into());
        if let Some(Ok(Value::Object(status))) = self.status.as_ref().map(serde_json::to_value) {
            map.extend(status);
        }
        json::line("drive", &Value::Object(map))
    }
}

impl Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let point = self.drive.mount_point.as_os_str().as_bytes();
        writeln!(f, "{}: {}", crate::path::Show(point), self.state())?;
        writeln!(f, "  {:<11} {}", "what", crate::path::Show(self.what().as_bytes()))?;
        match (&self.status, self.pulse) {
            (Some(status), _) => f.write_str(&status.lines()),
            (None, Pulse::Alive) => writeln!(f, "  It does not tell how it is doing. Is it another user's?"),
            (None, _) => {
                let point = human::shell(&self.drive.mount_point.to_string_lossy());
                writeln!(f, "  To take it away: bygone umount --lazy {point}")
            }
        }
    }
}

fn table(drives: &[Asked]) -> Table {
    let mut table = Table::new(&[
        ("DRIVE", Align::Left),
        ("STATE", Align::Left),
        ("READ", Align::Right),
        ("FETCHED", Align::Right),
        ("SINCE", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for drive in drives {
        let status = drive.status.as_ref();
        table.row([
            drive.drive.mount_point.display().to_string(),
            drive.state().to_owned(),
            status.map(|status| human::size(status.served.bytes)).unwrap_or_default(),
            status.map(|status| human::size(status.store.bytes)).unwrap_or_default(),
            status.map(|status| status.since.to_string()).unwrap_or_default(),
            drive.what().to_owned(),
        ]);
    }
    table
}
