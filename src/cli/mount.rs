//! `bygone mount`: a snapshot, or all of them, as a drive.

use crate::browse::Browse;
use crate::browse::Selector;
use crate::browse::SnapshotPath;
use crate::cli::background;
use crate::cli::drives;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::inside;
use crate::cli::inside::Place;
use crate::cli::interrupt::Signals;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::OutError;
use crate::cli::password;
use crate::cli::point;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::cli::socket::Listening;
use crate::cli::status;
use crate::cli::status::Gauges;
use crate::drive::DriveOptions;
use crate::drive::Previews;
use crate::drive::Watch;
use crate::drive::image_drive;
use crate::drive::repository_drive;
use crate::drive::snapshot_drive;
use crate::format::disk::Disk;
use crate::format::disk::DiskPart;
use crate::meta::Kind;
use crate::repo::Freshness;
use crate::store::Location;
use bygone_mount::Drive;
use bygone_mount::fuse;
use bygone_mount::fuse::MountOptions;
use bygone_mount::fuse::Session;
use bygone_mount::fuse::Unmounted;
use jiff::tz::TimeZone;
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

const EXAMPLES: &str = "Examples:
  bygone mount ~/Backups                        all snapshots, by time and by host
  bygone mount latest ~/Yesterday               the newest one
  bygone mount latest:/home/ada/Pictures ~/Old --host laptop
  bygone mount latest:/vm/disk.qcow2 ~/Disk     the partitions of a disk image
  bygone mount --status ~/Old                   how it is doing
  bygone umount ~/Old

The drive is read-only and private to you. It stays until 'bygone umount', eject in the file manager, or shutdown.";

/// Open a snapshot as a drive, or all of them
///
/// Nothing is copied: what you open in the drive is fetched when you read it. A missing mount point is made, and taken
/// away again with the drive.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(super) struct MountArgs {
    /// Which snapshot, and which folder in it; all snapshots if left out
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    at: Option<SnapshotPath>,

    /// The mount point: an empty folder, or one to be made
    #[arg(value_name = "DIR", required = true)]
    point: PathBuf,

    /// Serve the drive from this process until it is unmounted or interrupted
    #[arg(short, long)]
    foreground: bool,

    /// Make missing parents of the mount point, too
    #[arg(long)]
    create: bool,

    /// Let other users in, each with the rights that owners and modes give
    #[arg(long)]
    allow_other: bool,

    /// Who seems to own the files: 'original', 'me' or UID:GID. Unless given, 'original' for root, 'me' for others
    #[arg(long, value_name = "OWNER")]
    owner: Option<Owner>,

    /// Memory for what was read: chunks, folders
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,

    /// How long a program that reads may have to wait before it is told of an error
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = human::parse_duration)]
    deadline: Duration,

    /// What programs that make previews or search indexes get: all ('on'), only what is in memory or in the cache
    /// ('cached') or nothing ('off'). Unless given, 'on' for a repository in a folder, 'cached' for a cloud
    #[arg(long, value_name = "RULE", value_enum, hide_possible_values = true)]
    previews: Option<PreviewsRule>,

    /// Another program (or thread) that makes previews, by its name; '*' at an end stands for anything (repeatable)
    #[arg(long, value_name = "NAME")]
    previews_also: Vec<String>,

    /// Opens encrypted partitions (LUKS) of a disk image that is named by its path: the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// Tell how the drive that is mounted at DIR is doing, like 'bygone drives DIR'
    #[arg(long, conflicts_with_all = ["at", "foreground", "previews", "previews_also"])]
    status: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// What programs that make previews get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PreviewsRule {
    On,
    Cached,
    Off,
}

impl From<PreviewsRule> for Previews {
    fn from(rule: PreviewsRule) -> Previews {
        match rule {
            PreviewsRule::On => Previews::On,
            PreviewsRule::Cached => Previews::Cached,
            PreviewsRule::Off => Previews::Off,
        }
    }
}

/// Who seems to own the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Original,
    Numbers(u32, u32),
}

impl Owner {
    fn me() -> Owner {
        Owner::Numbers(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Owner, String> {
        match text {
            "original" => Ok(Owner::Original),
            "me" => Ok(Owner::me()),
            _ => {
                let numbers = text.split_once(':').and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
                let fault = || format!("'{text}' is not 'original', 'me' or two numbers like 1000:1000");
                numbers.map(|(uid, gid)| Owner::Numbers(uid, gid)).ok_or_else(fault)
            }
        }
    }
}

impl MountArgs {
    /// `serves` in the process that `mount` started to serve a drive in the background.
    pub(super) fn run(self, global: &Global, serves: bool) -> Result<Exit> {
        if self.status {
            return drives::show_one(global, &self.point);
        }
        if self.at.is_none() && !self.filter.is_empty() {
            return Err(usage("--host, --tag and --path choose a snapshot: name one, as in 'mount latest DIR'"));
        }
        if let Location::Folder(repository) = global.location()? {
            point::check_outside(&self.point, &repository)?;
        }
        match (self.foreground, serves) {
            (true, _) => self.serve(global, password::read, false),
            (false, true) => {
                background::detach();
                self.serve(global, |_| password::read_from_parent(), true)
            }
            (false, false) => background::start(&password::read(global)?),
        }
    }

    /// Shows the drive until it is unmounted or a signal comes.
    fn serve(
        &self,
        global: &Global,
        password: impl FnOnce(&Global) -> Result<password::Given>,
        in_background: bool,
    ) -> Result<Exit> {
        let opened = self.open(global, password)?;
        let watch = Watch::new(self.previews(&opened.location), &self.previews_also);
        let shown = self.drive(&opened, watch.clone())?;
        // Before the session, so that the folder is taken away after the drive.
        let _made = point::make(&self.point, self.create)?;
        let options = MountOptions {
            fs_name: shown.source.clone(),
            allow_other: self.allow_other,
            deadline: self.deadline,
            ..MountOptions::default()
        };
        let session =
            Arc::new(fuse::mount(shown.drive.clone(), &self.point, &options, opened.runtime.handle().clone())?);
        let ended = end_of(&session, &opened)?;
        let gauges = Gauges {
            watch,
            counted: opened.counted.clone(),
            cache: opened.repo.cache().cloned(),
            snapshot: shown.snapshot.clone(),
            since: human::now(),
            session: Arc::downgrade(&session),
        };
        let _listening = listen(gauges, &session);
        let place = session.mount_point().display().to_string();
        if in_background {
            background::ready()?;
        }
        // A drive that answers stays, whether or not somebody reads this.
        let _told = shown.tell(global, &place);
        if in_background {
            background::leave_terminal()?;
        }
        let result = opened.runtime.block_on(ended);
        opened.tell_requests(global);
        match result {
            Ok(Err(error)) => Err(Fault::DriveFailed(error).into()),
            Ok(Ok(())) | Err(_) => Ok(Exit::Done),
        }
    }

    /// Opens the repository. A snapshot that is named by its id and known needs no asking which others there are.
    fn open(&self, global: &Global, password: impl FnOnce(&Global) -> Result<password::Given>) -> Result<Opened> {
        let named = self.at.as_ref().filter(|at| matches!(at.snapshot, Selector::Id(_)));
        let freshness = if named.is_some() { Freshness::Known } else { Freshness::Newest };
        let mut opened = Opened::with(global, &global.store_options_within(self.deadline)?, freshness, password)?;
        if let Some(at) = named
            && !global.offline
            && opened.select(at, &self.filter.filter()?).is_err()
        {
            opened.read_log(global)?;
        }
        Ok(opened)
    }

    fn previews(&self, location: &Location) -> Previews {
        match (self.previews, location) {
            (Some(rule), _) => rule.into(),
            (None, Location::Folder(_)) => Previews::On,
            (None, _) => Previews::Cached,
        }
    }

    fn drive(&self, opened: &Opened, watch: Arc<Watch>) -> Result<Shown> {
        let mut chunks = opened.chunks_options();
        if let Some(bytes) = self.memory {
            chunks.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        let chunks = opened.chunks(&chunks);
        let is_root = rustix::process::geteuid().is_root();
        let owner = match self.owner.unwrap_or_else(|| if is_root { Owner::Original } else { Owner::me() }) {
            Owner::Original => None,
            Owner::Numbers(uid, gid) => Some((uid, gid)),
        };
        let location = &opened.location;
        let Some(at) = &self.at else {
            let options = DriveOptions {
                owner,
                name: "Backups".to_owned(),
                time_zone: TimeZone::system(),
                watch,
                ..DriveOptions::default()
            };
            let _within = opened.runtime.enter();
            return Ok(Shown {
                drive: repository_drive(&chunks, &opened.log, options),
                source: format!("bygone:{location}"),
                what: format!("The repository {location}"),
                snapshot: None,
            });
        };
        let snapshot = opened.select(at, &self.filter.filter()?)?;
        let browse = Browse::open(&chunks, &opened.log, snapshot);
        let id = short(snapshot.id);
        let name = format!("{} {}", snapshot.host, human::time_for_name(snapshot.time));
        let options =
            DriveOptions { owner, name, time_zone: TimeZone::system(), watch, passphrase: self.passphrase()? };
        let drive = opened.runtime.block_on(self.drive_of(&browse, &at.path, options))?;
        let path = if at.path.is_empty() { String::new() } else { format!(":/{}", crate::path::Show(&at.path)) };
        Ok(Shown {
            drive,
            source: format!("bygone:{location} {id}{path}"),
            what: format!("Snapshot {id}{path} of {}, {}", snapshot.host, human::time(snapshot.time)),
            snapshot: Some(snapshot.into()),
        })
    }
}

impl MountArgs {
    /// A folder of a snapshot, or a disk image in it.
    async fn drive_of(&self, browse: &Browse, path: &[u8], options: DriveOptions) -> Result<Arc<dyn Drive>> {
        let not_a_folder = || CommandError::from(Fault::NotAFolder { path: path.to_vec() });
        match inside::find(browse, path, &options.passphrase).await? {
            Place::Node(found) if found.node().is_folder() => {
                snapshot_drive(browse.clone(), path, options).await?.ok_or_else(not_a_folder)
            }
            Place::Node(found) if found.node().kind == Kind::File => {
                let mut disk = inside::open(browse, *found, b"", &options.passphrase).await?;
                inside::look_at_roots(browse, &mut disk, &options.passphrase).await;
                check_opened(path, &disk.disk, &options.passphrase)?;
                Ok(image_drive(browse, &disk.found, &disk.disk, disk.is_raw, options))
            }
            Place::Disk(mut disk) => {
                inside::look_at_roots(browse, &mut disk, &options.passphrase).await;
                Ok(image_drive(browse, &disk.found, &disk.disk, disk.is_raw, options))
            }
            _ => Err(not_a_folder()),
        }
    }

    /// The passphrase for encrypted partitions: the first line of a file.
    fn passphrase(&self) -> Result<Vec<u8>> {
        let Some(path) = &self.passphrase_file else { return Ok(Vec::new()) };
        let mut text = std::fs::read(path).map_err(|source| Fault::Read { path: path.clone(), source })?;
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }
}

/// Fails if nothing on a disk opens, or not with this passphrase.
fn check_opened(path: &[u8], disk: &Disk, passphrase: &[u8]) -> Result<()> {
    let is_locked = |part: &&DiskPart| part.fs.is_none() && part.kind.starts_with("LUKS");
    if let Some(part) = disk.parts.iter().find(is_locked).filter(|_| !passphrase.is_empty()) {
        let why = part.notes.last().cloned().unwrap_or_else(|| "it is wrong".to_owned());
        return Err(Fault::Passphrase { part: part.folder.clone(), why }.into());
    }
    // A file that is no disk is one part of no kind.
    match &disk.parts[..] {
        [only] if only.fs.is_none() && only.number == 0 => Err(match only.kind.as_str() {
            "" => Fault::NotAFolder { path: path.to_vec() },
            kind => Fault::Sealed { path: path.to_vec(), kind: kind.to_owned() },
        }
        .into()),
        _ => Ok(()),
    }
}

/// A drive, and what to call it.
struct Shown {
    drive: Arc<dyn Drive>,
    /// For the table of mounts.
    source: String,
    /// For people.
    what: String,
    snapshot: Option<status::Shown>,
}

impl Shown {
    fn tell(&self, global: &Global, place: &str) -> std::result::Result<(), OutError> {
        if global.json {
            let body = json!({
                "mount_point": place,
                "what": self.what,
                "snapshot": self.snapshot.as_ref().map(|snapshot| &snapshot.id),
                "pid": std::process::id(),
            });
            return out::line(json::line("mounted", &body));
        }
        if global.quiet {
            return Ok(());
        }
        out::line(format_args!(
            "{} is open at {place}.\nClose it with: bygone umount {}",
            crate::path::Show(self.what.as_bytes()),
            human::shell(place)
        ))
    }
}

/// Lets others ask how the drive is doing. One that cannot be asked is a drive all the same.
fn listen(gauges: Gauges, session: &Session) -> Option<Listening> {
    let listening = gauges.listen(session.device()?);
    listening.inspect_err(|error| tracing::warn!(%error, "This drive cannot be asked for its status")).ok()
}

/// Unmounts on a signal, and tells when the drive has ended, by whatever cause. A second signal ends the program.
fn end_of(session: &Arc<Session>, opened: &Opened) -> Result<oneshot::Receiver<std::io::Result<()>>> {
    let _within = opened.runtime.enter();
    if let Some(mut signals) = Signals::new() {
        let session = session.clone();
        opened.runtime.spawn(async move {
            signals.next().await;
            let unmounting = tokio::task::spawn_blocking(move || session.unmount());
            tokio::spawn(async move {
                match unmounting.await {
                    Ok(Ok(Unmounted::Lazy)) => {
                        out::note("Out of sight, but still in use. Once more ends it at once.");
                    }
                    Ok(Err(error)) => out::warning(false, crate::monitor::chain(&error)),
                    Ok(Ok(Unmounted::Clean)) | Err(_) => {}
                }
            });
            signals.next().await;
            std::process::exit(Exit::Interrupted.number().into());
        });
    }
    let (end, ended) = oneshot::channel();
    let waiting = session.clone();
    let wait = move || {
        let result = waiting.wait();
        drop(waiting);
        // Nobody listens any more if the program ends anyway.
        let _nobody_listens = end.send(result);
    };
    std::thread::Builder::new().name("bygone-wait".to_owned()).spawn(wait).map_err(Fault::DriveFailed)?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        assert_eq!("original".parse(), Ok(Owner::Original));
        assert_eq!("1000:7".parse(), Ok(Owner::Numbers(1000, 7)));
        assert_eq!("me".parse(), Ok(Owner::me()));
        for bad in ["", "ada", "1000", "1000:", "-1:0", "1:2:3"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }
}
