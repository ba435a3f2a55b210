//! The folder of the cache: whose it is, what in it is ours, and how it is emptied when it is damaged.
//!
//! Only files with our names in a folder that is ours are ever written or removed; a folder that holds anything else
//! without our tag is refused. Opening and emptying happen under a lock, so that no two processes do it at once.

use crate::cache::fault::Fault;
use crate::cache::schema;
use crate::cache::slots::Inode;
use crate::cache::slots::Slots;
use crate::cache::slots::blocks_of;
use rusqlite::Connection;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

const TAG_NAME: &str = "CACHEDIR.TAG";
/// The first line is that of the cache folder convention; the rest makes it ours.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# The chunk cache of Bygone: encrypted pieces of backups. Safe to delete at any time.
";
const LOCK_NAME: &str = "lock";
const SLOTS_NAME: &str = "slots";
const DATABASE_NAMES: [&str; 4] = ["cache.sqlite", "cache.sqlite-wal", "cache.sqlite-shm", "cache.sqlite-journal"];

/// How long another process may take to open the cache.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The folder by its path.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

/// Everything that is opened in it.
pub(super) struct Opened {
    pub(super) slots: Slots,
    pub(super) writer: Connection,
    pub(super) inodes: Inodes,
}

/// The files that were opened, to notice when others have taken their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inodes {
    slots: Inode,
    database: Inode,
    log: Option<Inode>,
}

impl Inodes {
    /// Only the log is another one: what it held is lost, and the database with it.
    pub(super) fn lost_log(&self, now: &Inodes) -> bool {
        self.slots == now.slots && self.database == now.database && self.log != now.log
    }
}

impl Folder {
    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_NAMES[0])
    }

    /// The log of the database.
    fn log(&self) -> PathBuf {
        self.path.join(DATABASE_NAMES[1])
    }

    fn slots(&self) -> PathBuf {
        self.path.join(SLOTS_NAME)
    }

    /// Bytes of the database's log on disk.
    pub(super) fn log_bytes(&self) -> u64 {
        std::fs::symlink_metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    /// Bytes of the database itself on disk.
    pub(super) fn database_bytes(&self) -> u64 {
        blocks_of(&self.database())
    }

    /// Bytes that all our files take on disk, the folder included.
    pub(super) fn disk_bytes(&self) -> u64 {
        let names = DATABASE_NAMES.into_iter().chain([TAG_NAME, LOCK_NAME, SLOTS_NAME]);
        names.map(|name| blocks_of(&self.path.join(name))).sum::<u64>() + blocks_of(&self.path)
    }

    /// The files that have our names now.
    pub(super) fn inodes(&self) -> io::Result<Inodes> {
        let (slots, database) = (Inode::of(&self.slots())?, Inode::of(&self.database())?);
        Ok(Inodes { slots, database, log: Inode::of(&self.log()).ok() })
    }

    /// Opens the cache, makes it if it is not there, and empties it if it is damaged.
    pub(super) fn open(&self) -> Result<Opened, Fault> {
        self.claim()?;
        let _lock = self.lock()?;
        match self.open_files() {
            Err(fault) if fault.is_damage() => {
                tracing::warn!(folder = %self.path.display(), ?fault, "The chunk cache is damaged and starts empty");
                self.remove_files()?;
                self.open_files()
            }
            other => other,
        }
    }

    /// Removes all that is kept, to start anew. Other processes notice by themselves.
    pub(super) fn wipe(&self) -> Result<(), Fault> {
        self.claim()?;
        let _lock = self.lock()?;
        self.remove_files()
    }

    /// Makes the folder, or makes sure that it is ours.
    fn claim(&self) -> Result<(), Fault> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let metadata = std::fs::metadata(&self.path)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Fault::Foreign);
        }
        let tag = self.path.join(TAG_NAME);
        if std::fs::read(&tag).is_ok_and(|found| found == TAG.as_bytes()) {
            return self.keep_private(metadata.mode());
        }
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let mut ours = DATABASE_NAMES.into_iter().chain([TAG_NAME, LOCK_NAME, SLOTS_NAME]);
            if !ours.any(|our| name == our) {
                return Err(Fault::NotOurs);
            }
        }
        // A tag with other words is somebody's; one that was cut off says nothing and is ours to mend.
        if std::fs::read(&tag).is_ok_and(|found| !TAG.as_bytes().starts_with(&found)) && !self.database().exists() {
            return Err(Fault::NotOurs);
        }
        self.keep_private(metadata.mode())?;
        Ok(std::fs::write(&tag, TAG)?)
    }

    fn keep_private(&self, mode: u32) -> Result<(), Fault> {
        if mode & 0o077 != 0 {
            std::fs::set_permissions(&self.path, Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// Held while files are opened, made or removed.
    fn lock(&self) -> Result<File, Fault> {
        let path = self.path.join(LOCK_NAME);
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(Fault::Busy),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(_)) => return Err(Fault::Unsupported("lock files")),
            }
        }
    }

    fn open_files(&self) -> Result<Opened, Fault> {
        let database = self.database();
        // Slots say nothing without the rows that name them, and rows nothing without slots.
        let both = Inode::of(&self.slots()).is_ok() && Inode::of(&database).is_ok();
        if !both {
            self.remove_files()?;
        }
        let slots = Slots::open(&self.slots())?;
        if !both {
            // Only while nobody else can have it: others change its length.
            slots.probe()?;
        }
        let writer = schema::open(&database, &self.path)?;
        let inodes = self.inodes()?;
        Ok(Opened { slots, writer, inodes })
    }

    fn remove_files(&self) -> Result<(), Fault> {
        for name in DATABASE_NAMES.into_iter().chain([SLOTS_NAME]) {
            remove(&self.path.join(name))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
