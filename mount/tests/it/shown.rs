//! A drive shown at a scratch folder for the time of one test.

use bygone_mount::drive::Drive;
use bygone_mount::fuse;
use bygone_mount::fuse::Counts;
use bygone_mount::fuse::MountOptions;
use bygone_mount::fuse::Session;
use bygone_mount::memory::MemoryBuilder;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Fields are dropped in this order: the drive goes before its folder and runtime.
pub(crate) struct Shown {
    pub(crate) session: Session,
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
}

pub(crate) fn show(builder: MemoryBuilder) -> Shown {
    show_with(builder, &MountOptions::default())
}

pub(crate) fn show_with(builder: MemoryBuilder, options: &MountOptions) -> Shown {
    show_drive(Arc::new(builder.build()), options)
}

pub(crate) fn show_drive(drive: Arc<dyn Drive>, options: &MountOptions) -> Shown {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let session = fuse::mount(drive, dir.path(), options, runtime.handle().clone()).unwrap();
    Shown { session, dir, runtime }
}

impl Shown {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Requests made by what `act` does.
    pub(crate) fn counted<T>(&self, act: impl FnOnce() -> T) -> (T, Counts) {
        let before = self.session.counts();
        let result = act();
        (result, self.session.counts().since(&before))
    }
}

impl Shown {
    /// The cheapest of several rounds of what has been done before. A system that takes memory back makes some rounds
    /// cost something; a cache that did not keep would make all of them.
    pub(crate) fn cheapest(&self, act: impl Fn()) -> Counts {
        let rounds = (0..10).map(|_| self.counted(&act).1);
        rounds.min_by_key(Counts::total).unwrap()
    }
}

/// True if a drive of ours is in the system's table at this folder.
pub(crate) fn is_mounted(at: &Path) -> bool {
    let at = at.canonicalize().unwrap();
    fuse::mounts().unwrap().iter().any(|mount| mount.mount_point == at)
}

pub(crate) fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(error.raw_os_error().unwrap())
}
