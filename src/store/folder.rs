//! A folder: local disk, USB drive or network share.
//!
//! Always: an object appears whole or not at all (written aside in `.staging`, synced, then moved to its name without
//! replacing another), and when `put_new` returns, file, name and every folder above it are on disk. `object_store`'s
//! own folder store is not used: it calls a folder durable that another thread is still making, needs hard links
//! (exFAT has none), fails where folders cannot be synced (SMB on older kernels), takes an unplugged disk for an empty
//! one, and stops listing at the first file of somebody else.
//!
//! Holds a little space back for when the disk is full (see `reserve`).
//!
//! Never: writes to another disk than the one that was opened. A mount point whose disk went away looks like an empty
//! folder; it is noticed by its device number and reported as unreachable.

use crate::store::ErrorKind;
use crate::store::OBJECT_BYTES_MAX;
use crate::store::Result;
use crate::store::Store;
use crate::store::StoreOptions;
use crate::store::Stored;
use crate::store::Traffic;
use crate::store::checked;
use crate::store::failure::Failure;
use crate::store::is_component;
use crate::store::reserve::Reserve;
use crate::store::trivial_range;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

/// Objects being written lie here, out of the way of every listing.
const STAGING: &str = ".staging";
/// What an earlier process left half-written is removed when it is older than this.
const STAGED_SECS_MAX: u64 = 24 * 60 * 60;
/// Folders within folders a listing follows: names are never deeper, loops of links are.
const DEPTH_MAX: usize = 16;

/// A store in a folder. Each request runs on tokio's threads for blocking work.
#[derive(Debug)]
pub(crate) struct Folder {
    location: String,
    disk: Arc<Disk>,
}

/// What the blocking work needs.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    device: Option<u64>,
    /// Kept open so that an automounter does not take the disk away between two requests.
    #[cfg(unix)]
    _root: File,
    traffic: Arc<Traffic>,
    reserve: Reserve,
    /// Folders whose own name is known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    /// Opens a folder that exists; with `create`, makes it first, durably.
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Folder> {
        let location = path.display().to_string();
        let disk = Disk::open(path, options);
        let disk = disk.map_err(|error| Failure::from(error).at("open", "", &location))?;
        Ok(Folder { location: disk.root.display().to_string(), disk: Arc::new(disk) })
    }

    async fn run<T: Send + 'static>(
        &self,
        verb: &'static str,
        name: &str,
        work: impl FnOnce(&Disk, &str) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        checked(name, verb, &self.location)?;
        let (disk, owned) = (self.disk.clone(), name.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&disk, &owned)).await;
        let done = done.unwrap_or_else(|error| Err(Failure::new(ErrorKind::Other, error)));
        done.map_err(|failure| failure.at(verb, name, &self.location))
    }
}

#[async_trait]
impl Store for Folder {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.run("read", name, |disk, name| disk.read(name, None)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if let Some(answer) = trivial_range(&range, name, &self.location) {
            return answer;
        }
        self.run("read", name, |disk, name| disk.read(name, Some(range))).await
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.run("write", name, move |disk, name| disk.put(name, &bytes, place)).await
    }

    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.run("write", name, move |disk, name| disk.put(name, &bytes, |staged, path| fs::rename(staged, path))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.run("list", prefix, |disk, prefix| disk.list(prefix)).await
    }

    async fn head(&self, name: &str) -> Result<Stored> {
        self.run("read", name, |disk, name| disk.head(name)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.run("delete", name, |disk, name| match fs::remove_file(disk.root.join(name)) {
            Err(error) if !is_gone(&error) => Err(error.into()),
            Err(_) => disk.is_there(),
            Ok(()) => Ok(()),
        })
        .await
    }

    async fn extend_lock(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Disk {
    fn open(path: &Path, options: &StoreOptions) -> io::Result<Disk> {
        let path = std::path::absolute(path)?;
        if options.create {
            make_folders(&path)?;
        }
        let root = fs::canonicalize(&path)?;
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let disk = Disk {
            device: device(&root)?,
            #[cfg(unix)]
            _root: File::open(&root)?,
            traffic: options.traffic.clone(),
            reserve: Reserve::new(&root, options.frees_space),
            durable: Mutex::new(HashSet::from([root.clone()])),
            root,
        };
        disk.sweep_staging();
        Ok(disk)
    }

    /// Fails if the disk that was opened is no longer there.
    fn is_there(&self) -> std::result::Result<(), Failure> {
        match device(&self.root) {
            Ok(device) if device == self.device => Ok(()),
            Ok(_) => Err(Failure::new(ErrorKind::Unreachable, "another disk is mounted there now")),
            Err(error) => Err(Failure::new(ErrorKind::Unreachable, error)),
        }
    }

    /// A missing object, unless it is the disk that is missing.
    fn missing(&self, error: io::Error) -> Failure {
        self.is_there().err().unwrap_or_else(|| Failure::from(error))
    }

    fn open_object(&self, name: &str) -> std::result::Result<(File, u64), Failure> {
        let file = File::open(self.root.join(name)).map_err(|error| self.missing(error))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        Ok((file, metadata.len()))
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> std::result::Result<Bytes, Failure> {
        let (mut file, file_len) = self.open_object(name)?;
        let range = range.unwrap_or(0..file_len);
        let len = range.end.min(file_len).saturating_sub(range.start);
        if range.start >= file_len && range.end > file_len {
            return Err(Failure::new(ErrorKind::Truncated, format!("it has {file_len} bytes")));
        }
        if len > OBJECT_BYTES_MAX {
            return Err(Failure::new(ErrorKind::Other, format!("it has {len} bytes, more than any object")));
        }
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let got = self.traffic.down.read_to_end(file.take(len), &mut bytes)? as u64;
        self.traffic.bytes_down.add(got);
        if got != len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes.into())
    }

    fn head(&self, name: &str) -> std::result::Result<Stored, Failure> {
        let metadata = fs::metadata(self.root.join(name)).map_err(|error| self.missing(error))?;
        if !metadata.is_file() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        Ok(stored(name.to_owned(), &metadata))
    }

    fn put(
        &self,
        name: &str,
        bytes: &[u8],
        place: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> std::result::Result<(), Failure> {
        let mut put = self.put_once(name, bytes, &place);
        let is_full = |put: &std::result::Result<(), Failure>| matches!(put, Err(e) if e.kind == ErrorKind::Full);
        while is_full(&put) && self.reserve.give(name, bytes.len() as u64) {
            put = self.put_once(name, bytes, &place);
        }
        if put.is_ok() {
            self.reserve.hold(&self.root.join(STAGING));
        }
        put
    }

    fn put_once(
        &self,
        name: &str,
        bytes: &[u8],
        place: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> std::result::Result<(), Failure> {
        self.is_there()?;
        let path = self.root.join(name);
        let folder = path.parent().expect("a name below the root has a parent").to_owned();
        let staged = self.stage(bytes)?;
        let mut placed = self.make_durable(&folder).and_then(|()| place(&staged, &path));
        if matches!(&placed, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Somebody tidied an empty folder away.
            self.durable().retain(|known| *known == self.root);
            placed = self.make_durable(&folder).and_then(|()| place(&staged, &path));
        }
        let done = placed.and_then(|()| sync_folder(&folder));
        match done {
            Ok(()) => Ok(()),
            Err(error) => {
                // Best effort: what stays behind is swept a day later.
                let _ = fs::remove_file(&staged);
                let is_ours = error.kind() == io::ErrorKind::AlreadyExists && self.holds(name, bytes);
                if is_ours { Ok(sync_folder(&folder)?) } else { Err(error.into()) }
            }
        }
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> bool {
        self.head(name).is_ok_and(|stored| stored.len == bytes.len() as u64)
            && self.read(name, None).is_ok_and(|there| there == bytes)
    }

    /// Writes the bytes aside, synced.
    fn stage(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = self.root.join(STAGING).join(format!("{random:016x}"));
        let create = || File::options().write(true).create_new(true).open(&path);
        let mut file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(self.root.join(STAGING)).or_else(ignore_exists)?;
                create()?
            }
            opened => opened?,
        };
        self.traffic.bytes_up.add(bytes.len() as u64);
        let written = self.traffic.up.write_all(&mut file, bytes).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// Removes what a process that was killed left half-written. Nothing depends on it, so failures are ignored.
    fn sweep_staging(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(STAGING)) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > Duration::from_secs(STAGED_SECS_MAX)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().expect("no panic while holding the lock")
    }

    /// Makes a folder below the root and those above it. Synced even if it exists: whoever made it may not have
    /// come so far, and then our object would go with the folder.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        if self.durable().contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().expect("the root is always durable");
        self.make_durable(parent)?;
        fs::create_dir(folder).or_else(ignore_exists)?;
        sync_folder(parent)?;
        self.durable().insert(folder.to_owned());
        Ok(())
    }

    fn list(&self, prefix: &str) -> std::result::Result<Vec<Stored>, Failure> {
        self.is_there()?;
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Err(error) if is_gone(&error) => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let Some(component) = entry.file_name().into_string().ok().filter(|name| is_component(name)) else {
                    continue;
                };
                let name = if folder.is_empty() { component } else { format!("{folder}/{component}") };
                match fs::metadata(entry.path()) {
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error.into()),
                    Ok(metadata) if metadata.is_file() => found.push(stored(name, &metadata)),
                    Ok(_) if name.split('/').count() < DEPTH_MAX => folders.push(name),
                    Ok(_) => {}
                }
            }
        }
        // A disk that went away meanwhile must not pass for one with fewer objects.
        self.is_there()?;
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn stored(name: String, metadata: &fs::Metadata) -> Stored {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let secs = match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |secs| -secs),
    };
    Stored { name, len: metadata.len(), modified_secs: secs }
}

fn ignore_exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Makes a folder and those above it, each synced into its parent; the last one even if it was there: whoever made it
/// may not have come so far.
fn make_folders(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    let sync_parent = |folder: &Path| folder.parent().map_or(Ok(()), sync_folder);
    for folder in missing.into_iter().rev() {
        fs::create_dir(folder).or_else(ignore_exists)?;
        sync_parent(folder)?;
    }
    sync_parent(path)
}

/// Moves a staged file to its name without replacing another file.
fn place(staged: &Path, path: &Path) -> io::Result<()> {
    match rename_new(staged, path) {
        Err(error) if is_unsupported(&error) => {}
        done => return done,
    }
    match fs::hard_link(staged, path) {
        // The name may come back in a power cut; it is swept.
        Ok(()) => return fs::remove_file(staged),
        Err(error) if is_unsupported(&error) => {}
        Err(error) => return Err(error),
    }
    // This file system can do neither: then we cannot tell, and `probe` finds that out.
    fs::rename(staged, path)
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::CWD;
    use rustix::fs::RenameFlags;
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_new(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// File systems tell in several ways that they do not know an operation.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied)
}

/// Syncs the names in a folder. Where folders cannot be synced (Windows, some network shares) they need no sync or
/// offer none; the files themselves always are.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if is_unsupported(&error) => Ok(()),
        done => done,
    }
}

#[cfg(unix)]
fn device(path: &Path) -> io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt;
    Ok(Some(fs::metadata(path)?.dev()))
}

#[cfg(not(unix))]
fn device(path: &Path) -> io::Result<Option<u64>> {
    fs::metadata(path).map(|_| None)
}
