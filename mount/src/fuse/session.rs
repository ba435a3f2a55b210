//! The life of one mount: from [`mount`] until it is unmounted, from here or from outside.
//!
//! A session owns its threads, not its callers': [`Session::wait`] and [`Session::unmount`] may be called from
//! different threads at once. Unmounting never touches a file system that was mounted over ours later.

use crate::drive::Drive;
use crate::fuse::SUBTYPE;
use crate::fuse::adapter::Adapter;
use crate::fuse::attach::attach;
use crate::fuse::counts::Counters;
use crate::fuse::counts::Counts;
use crate::fuse::error::MountError;
use crate::fuse::error::UnmountError;
use crate::fuse::point;
use crate::fuse::table;
use fuser::SessionACL;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::watch;

#[cfg(doc)]
use crate::fuse::MountInfo;

const DEADLINE_TYPICAL: Duration = Duration::from_secs(60);
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 4;
/// How long a busy drive is asked to go before it is taken away lazily.
const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(100);
/// How long the threads may take to notice a clean unmount.
const FAREWELL: Duration = Duration::from_secs(5);
/// Read-ahead that reaches the measured ceiling of cold sequential reading; the kernel offers 128.
const READ_AHEAD_KIB: &str = "1024";

/// How to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// What `mount` and `df` show as the source. Characters that would break the list of options become `_`.
    pub fs_name: String,
    /// Lets other users in, each with the rights that modes and ACLs give.
    pub allow_other: bool,
    /// A request not answered until then fails with "input/output error"; those that come after it much sooner, until
    /// one is answered.
    pub deadline: Duration,
    /// FUSE threads, at least 1.
    pub threads: usize,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        let cores = thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        MountOptions {
            fs_name: SUBTYPE.to_owned(),
            allow_other: false,
            deadline: DEADLINE_TYPICAL,
            threads: cores.clamp(THREADS_MIN, THREADS_MAX),
        }
    }
}

/// How a drive went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody uses it any more.
    Clean,
    /// Programs still use it: it is out of sight, and answers them as long as this process lives.
    Lazy,
}

/// Shows a drive at an empty folder.
///
/// Answers that come later run on `runtime`, which needs its timer and must live as long as the session. Blocks for
/// the moment the system needs, so call it outside of async code.
///
/// # Errors
/// Says what is wrong with the folder or missing in the system; see [`MountError`].
pub fn mount(drive: Arc<dyn Drive>, at: &Path, options: &MountOptions, runtime: Handle) -> Result<Session, MountError> {
    let (point, device) = point::prepare(at, options.allow_other)?;
    let failed = |source| MountError::Io { path: point.clone(), source };
    let is_root = rustix::process::geteuid().is_root();
    // ACLs matter where the kernel judges; root alone on its drive may read everything, so the questions are saved.
    let acl = options.allow_other || !is_root;
    let (end, ended) = watch::channel(false);
    let adapter = Adapter::new(drive, runtime, options.deadline, acl, ended);
    let (counters, gifts) = (adapter.counters.clone(), adapter.gifts.clone());
    let name = table::clean_name(&options.fs_name);
    let channel = attach(device, &point, &name, options.allow_other)?;
    let shown = table::top(&point).map_err(failed)?.filter(table::Row::is_fuse).map(|row| row.device);
    let who = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    let served = fuser::Session::from_fd(adapter, channel, who, config(options)).map_err(|error| {
        // A mount that nobody serves must not stay; why it is not served matters more than whether this works.
        let _ = table::detach(&point, true);
        failed(error)
    })?;
    gifts.to(served.notifier());
    if is_root {
        shown.inspect(|device| read_ahead(*device));
    }
    let life = Arc::new(Life::default());
    let thread_life = life.clone();
    let serve = move || {
        // Whether it ends well or not, the mount point is left alone: after an error a dead drive is better than an
        // empty folder, which a mirror would take for an order to delete everything.
        let result = served.run();
        end.send_replace(true);
        thread_life.end(result);
    };
    thread::Builder::new().name("bygone-drive".to_owned()).spawn(serve).map_err(failed)?;
    tracing::info!(mount_point = %point.display(), "Drive mounted");
    Ok(Session { point, device: shown, counters, life })
}

fn config(options: &MountOptions) -> fuser::Config {
    let mut config = fuser::Config::default();
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    config
}

/// Only root may, and only through the file system's own entry in sysfs. Slower reading is no reason to fail.
fn read_ahead((major, minor): (u32, u32)) {
    let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(file, READ_AHEAD_KIB) {
        tracing::debug!(%error, "Read-ahead stays as it is");
    }
}

/// A mounted drive. Dropping it unmounts, lazily if it is in use.
#[derive(Debug)]
pub struct Session {
    point: PathBuf,
    device: Option<(u32, u32)>,
    counters: Arc<Counters>,
    life: Arc<Life>,
}

impl Session {
    /// The folder the drive is shown at, as the system spells it.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.point
    }

    /// Major and minor number of the file system, as in [`MountInfo::device`]; `None` if it was gone at once.
    #[must_use]
    pub fn device(&self) -> Option<(u32, u32)> {
        self.device
    }

    /// Requests served so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Blocks until the drive is unmounted and nobody uses it any more.
    ///
    /// # Errors
    /// If serving ended for another reason.
    pub fn wait(&self) -> io::Result<()> {
        self.life.wait(None).unwrap_or(Ok(()))
    }

    /// Unmounts. While programs use the drive it is asked again for a few seconds, then taken out of sight.
    /// Blocks meanwhile. Without effect if it is unmounted already.
    ///
    /// # Errors
    /// If the system refuses even to take it out of sight.
    pub fn unmount(&self) -> Result<Unmounted, UnmountError> {
        self.leave(PATIENCE)
    }

    fn leave(&self, patience: Duration) -> Result<Unmounted, UnmountError> {
        let until = Instant::now() + patience;
        while self.is_shown() {
            match table::detach(&self.point, false) {
                Err(UnmountError::Busy { .. }) if Instant::now() < until => {
                    self.life.wait(Some(RETRY));
                }
                Err(UnmountError::Busy { .. }) => {
                    table::detach(&self.point, true)?;
                    return Ok(Unmounted::Lazy);
                }
                // Someone else may have been faster.
                Err(error) if self.is_shown() => return Err(error),
                Ok(()) | Err(_) => break,
            }
        }
        match self.life.wait(Some(FAREWELL)) {
            Some(_) => Ok(Unmounted::Clean),
            None => Ok(Unmounted::Lazy),
        }
    }

    /// True if what is seen at the mount point is this drive.
    fn is_shown(&self) -> bool {
        // After a good end the number may belong to another drive; after a bad one it is still taken.
        if matches!(self.life.wait(Some(Duration::ZERO)), Some(Ok(()))) {
            return false;
        }
        let seen = table::top(&self.point).ok().flatten();
        seen.is_some_and(|row| Some(row.device) == self.device)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.leave(Duration::ZERO) {
            tracing::warn!(%error, mount_point = %self.point.display(), "Drive not unmounted");
        }
    }
}

/// Whether a session has ended, and how.
#[derive(Debug, Default)]
struct Life {
    ended: Mutex<Option<Result<(), Arc<io::Error>>>>,
    changed: Condvar,
}

impl Life {
    fn end(&self, result: io::Result<()>) {
        *self.lock() = Some(result.map_err(Arc::new));
        self.changed.notify_all();
    }

    /// Waits for the end; `None` if it has not come in time.
    fn wait(&self, limit: Option<Duration>) -> Option<io::Result<()>> {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut ended = self.lock();
        loop {
            if let Some(result) = &*ended {
                return Some(result.clone().map_err(|error| io::Error::new(error.kind(), error)));
            }
            ended = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => self.changed.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(), Arc<io::Error>>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
