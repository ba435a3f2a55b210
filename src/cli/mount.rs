//! `bygone mount`: a snapshot, or all of them, as a drive.

use crate::browse::Selector;
use crate::browse::SnapshotPath;
use crate::cli::background;
use crate::cli::drives;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::interrupt::Signals;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::password;
use crate::cli::point;
use crate::cli::select;
use crate::cli::shown::ShowArgs;
use crate::cli::socket::Listening;
use crate::cli::status::Gauges;
use crate::cli::telling;
use crate::repo::Freshness;
use crate::store::Location;
use bygone_mount::fuse;
use bygone_mount::fuse::MountOptions;
use bygone_mount::fuse::Session;
use bygone_mount::fuse::Unmounted;
use clap::error::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

const EXAMPLES: &str = "Examples:
  bygone mount ~/Backups                        all snapshots, by time, host and tag
  bygone mount latest ~/Yesterday               the newest one
  bygone mount latest:/home/ada/Pictures ~/Old --host laptop
  bygone mount latest:/vm/disk.qcow2 ~/Disk     the partitions of a disk image
  bygone mount --status ~/Old                   how it is doing
  bygone umount ~/Old

The drive is read-only and private to you. It stays until 'bygone umount', eject in the file manager, or shutdown.";

const USAGE: &str = "bygone mount [OPTIONS] [SNAPSHOT[:/PATH]] <DIR>";

/// Open a snapshot as a drive, or all of them
///
/// Nothing is copied: what you open in the drive is fetched when you read it. A missing mount point is made, and taken
/// away again with the drive.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(super) struct MountArgs {
    #[command(flatten)]
    places: Places,

    /// Serve the drive from this process until it is unmounted or interrupted
    #[arg(short, long)]
    foreground: bool,

    /// Make missing parents of the mount point, too
    #[arg(long)]
    create: bool,

    /// Let other users in, each with the rights that owners and modes give
    #[arg(long)]
    allow_other: bool,

    /// How long a program that reads may have to wait before it is told of an error
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = human::parse_duration)]
    deadline: Duration,

    /// Tell how the drive that is mounted at DIR is doing, like 'bygone drives DIR'
    #[arg(long, conflicts_with = "foreground")]
    status: bool,

    #[command(flatten)]
    show: ShowArgs,

    #[command(flatten)]
    filter: FilterArgs,
}

/// What is shown, and where.
#[derive(Debug)]
struct Places {
    at: Option<SnapshotPath>,
    point: PathBuf,
}

/// The same as it is given. Which of the two was left out is not for clap to say: it believes that whatever stands before
/// an option is the first, and refused `mount latest --create DIR`.
#[derive(Debug, clap::Args)]
struct GivenPlaces {
    /// Which snapshot, and which folder in it; all snapshots if left out
    #[arg(value_name = "SNAPSHOT[:/PATH]")]
    first: Option<PathBuf>,

    /// The mount point: an empty folder, or one to be made
    #[arg(value_name = "DIR")]
    second: Option<PathBuf>,
}

impl clap::Args for Places {
    fn augment_args(command: clap::Command) -> clap::Command {
        GivenPlaces::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        GivenPlaces::augment_args_for_update(command)
    }
}

impl clap::FromArgMatches for Places {
    fn from_arg_matches(matches: &clap::ArgMatches) -> std::result::Result<Places, clap::Error> {
        match GivenPlaces::from_arg_matches(matches)? {
            GivenPlaces { first: Some(at), second: Some(point) } => {
                let at = select::parse(at.into_os_string());
                let at = at.map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, error))?;
                Ok(Places { at: Some(at), point })
            }
            GivenPlaces { first: Some(point), second: None } => Ok(Places { at: None, point }),
            _ => Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "where is it to be shown? Name a folder: <DIR>",
            )),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Places::from_arg_matches(matches)?;
        Ok(())
    }
}

/// True for the name of a snapshot where no folder of that name is: somebody forgot the mount point.
fn is_snapshot(point: &Path) -> bool {
    let Some(text) = point.to_str() else { return false };
    // Short words of these letters are words.
    let is_meant = text.starts_with("latest") || text.split(':').next().is_some_and(|id| id.len() >= 8);
    is_meant && text.parse::<SnapshotPath>().is_ok() && point.symlink_metadata().is_err()
}

impl MountArgs {
    /// `serves` in the process that `mount` started to serve a drive in the background.
    pub(super) fn run(self, global: &Global, serves: bool) -> Result<Exit> {
        if self.status {
            if self.places.at.is_some() {
                return Err(usage("--status tells of the drive at one folder: 'bygone mount --status DIR'"));
            }
            return drives::show_one(global, &self.places.point);
        }
        if self.places.at.is_none() && !self.filter.is_empty() {
            return Err(usage("--host, --tag and --path choose a snapshot: name one, as in 'mount latest DIR'"));
        }
        if self.places.at.is_none() && !self.create && is_snapshot(&self.places.point) {
            let name = self.places.point.display();
            return Err(usage(format!("where is '{name}' to be shown? 'bygone mount {name} DIR'"))
                .hint(format!("./{name} is a folder of that name, for a drive of all snapshots")));
        }
        if let Location::Folder(repository) = global.location()? {
            point::check_outside(&self.places.point, &repository)?;
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
        let watch = self.show.watch(&opened.location);
        let shown = self.show.drive(&opened, self.places.at.as_ref(), &self.filter, watch.clone())?;
        // Before the session, so that the folder is taken away after the drive.
        let _made = point::make(&self.places.point, self.create)?;
        let options = MountOptions {
            fs_name: shown.source.clone(),
            allow_other: self.allow_other,
            deadline: self.deadline,
            ..MountOptions::default()
        };
        let session =
            Arc::new(fuse::mount(shown.drive.clone(), &self.places.point, &options, opened.runtime.handle().clone())?);
        let ended = end_of(&session, &opened)?;
        let gauges = Gauges {
            watch,
            counted: opened.counted.clone(),
            cache: opened.repo.cache().cloned(),
            snapshot: shown.snapshot.clone(),
            since: human::now(),
            offline: global.offline,
            log: if in_background { telling::file() } else { None },
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
        let named = self.places.at.as_ref().filter(|at| matches!(at.snapshot, Selector::Id(_)));
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
