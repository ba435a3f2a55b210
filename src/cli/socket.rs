//! Where a drive can be asked for its status: a Unix socket for each, in a folder of the user's own.
//!
//! Who connects gets one JSON document, and nothing is read from them. Folder and socket are the user's alone, and the
//! other end must be the same user or root. Asking never waits longer than it was told to. A socket is named after the
//! numbers of its file system and process; one that nobody listens at is taken away by whoever finds it.

use crate::cli::place;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const SUFFIX: &str = ".drive";
/// The system knows no longer names of sockets.
const PATH_BYTES_MAX: usize = 100;
/// A longer answer is none of ours.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long somebody who asked may take to read the answer.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// Major and minor number of a file system.
pub(super) type Device = (u32, u32);

/// A socket that is listened at; taken away when dropped.
#[derive(Debug)]
pub(super) struct Listening(PathBuf);

impl Drop for Listening {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.0);
    }
}

/// Begins to answer for the drive with this number.
pub(super) fn listen(device: Device, answer: impl Fn() -> String + Send + 'static) -> io::Result<Listening> {
    let mut why = io::Error::other("no folder to put it in");
    for folder in place::drive_folders() {
        match bind(&folder, device) {
            Ok((listener, path)) => {
                thread::Builder::new().name("bygone-status".to_owned()).spawn(move || serve(&listener, answer))?;
                return Ok(Listening(path));
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn bind(folder: &Path, (major, minor): Device) -> io::Result<(UnixListener, PathBuf)> {
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let meta = fs::symlink_metadata(folder)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("'{}' is not a folder of ours", folder.display())));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    let name = format!("{major}.{minor}.{}{SUFFIX}", std::process::id());
    // Under its name only when it is listened at, or somebody could take it for a dead one.
    let (early, path) = (folder.join(format!(".{name}")), folder.join(&name));
    let _there_is_none = fs::remove_file(&early);
    let listener = with_short(&early, |short| UnixListener::bind(short))?;
    fs::set_permissions(&early, Permissions::from_mode(0o600))?;
    fs::rename(&early, &path)?;
    Ok((listener, path))
}

/// A path the system can use for a socket.
fn with_short<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.as_os_str().len() > PATH_BYTES_MAX => {
            let folder = File::open(folder)?;
            act(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
        }
        _ => act(path),
    }
}

fn serve(listener: &UnixListener, answer: impl Fn() -> String) {
    /// The system is out of something; until it has it again there is no hurry.
    const PAUSE: Duration = Duration::from_millis(100);
    for stream in listener.incoming() {
        match stream {
            Ok(stream) if may_ask(&stream) => {
                let _reader_went_away = tell(stream, &answer());
            }
            Ok(_) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn may_ask(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

fn tell(mut stream: UnixStream, answer: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(READER_PATIENCE))?;
    stream.write_all(answer.as_bytes())
}

/// Asks the drive with this number. `None` if nobody answers within `patience`.
pub(super) fn ask(device: Device, patience: Duration) -> Option<String> {
    let until = Instant::now() + patience;
    let prefix = format!("{}.{}.", device.0, device.1);
    sockets().filter(|(_, name)| name.starts_with(&prefix)).find_map(|(path, _)| ask_at(&path, until).ok())
}

/// Takes away the sockets of drives that are gone, other than these.
pub(super) fn sweep(devices: &[Device]) {
    let prefixes: Vec<String> = devices.iter().map(|(major, minor)| format!("{major}.{minor}.")).collect();
    for (path, name) in sockets() {
        if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            let _still_there = connect(&path);
        }
    }
}

fn sockets() -> impl Iterator<Item = (PathBuf, String)> {
    let entries = place::drive_folders().into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let named = |entry: fs::DirEntry| Some((entry.path(), entry.file_name().into_string().ok()?));
    entries.flatten().filter_map(named).filter(|(_, name)| name.ends_with(SUFFIX) && !name.starts_with('.'))
}

/// Connects without waiting. A socket nobody listens at is taken away.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let connected = with_short(path, |short| Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?));
    if connected.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::CONNREFUSED.raw_os_error())) {
        let _somebody_was_faster = fs::remove_file(path);
    }
    connected?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn ask_at(path: &Path, until: Instant) -> io::Result<String> {
    let mut stream = connect(path)?;
    let (mut answer, mut part) = (Vec::new(), [0; 8192]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn serving(folder: &Path, answer: &'static str) -> PathBuf {
        let (listener, path) = bind(folder, (0, 45)).unwrap();
        thread::spawn(move || serve(&listener, || answer.to_owned()));
        path
    }

    fn ask_now(path: &Path, patience: Duration) -> io::Result<String> {
        ask_at(path, Instant::now() + patience)
    }

    #[test]
    fn one_answer_for_each_who_asks_however_long_the_path() {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["drives".to_owned(), "deep/".repeat(40)] {
            let folder = scratch.path().join(folder);
            let path = serving(&folder, "all is well");
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            for _ in 0..3 {
                assert_eq!(ask_now(&path, LONG).unwrap(), "all is well");
            }
            assert!(path.exists());
        }
    }

    #[test]
    fn a_folder_open_to_others_is_closed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("drives");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        serving(&folder, "");
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(bind(&link, (0, 46)).is_err());
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_and_who_is_gone_is_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        // It listens, and that is all.
        let (listener, path) = bind(scratch.path(), (0, 45)).unwrap();
        let mut waiting = Vec::new();
        let patience = Duration::from_millis(20);
        let mut asked = ask_now(&path, patience);
        // Until not even a connection is to be had.
        while !matches!(&asked, Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()))
            && waiting.len() < 10_000
        {
            waiting.extend(connect(&path));
            asked = if waiting.len() % 100 == 0 { ask_now(&path, patience) } else { asked };
        }
        assert!(asked.is_err() && path.exists());
        drop((listener, waiting));
        assert!(ask_now(&path, LONG).is_err());
        assert!(!path.exists());
    }
}
