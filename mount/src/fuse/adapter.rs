//! Each FUSE request to one call of the [`Drive`], and the answer back.
//!
//! A FUSE thread never waits: what is known now is answered on it, everything else becomes a task with a deadline
//! that takes the reply along (FUSE cannot cancel a request, so the deadline must end it). A drive that panics
//! answers "input/output error"; the mount stays.

use crate::drive::Answer;
use crate::drive::Caller;
use crate::drive::Drive;
use crate::drive::DriveError;
use crate::drive::Result;
use crate::drive::Seek;
use crate::fuse::counts::Counter;
use crate::fuse::counts::Counters;
use crate::fuse::follow;
use crate::fuse::gift::Gifts;
use crate::fuse::gift::SMALL_BYTES_MAX;
use crate::fuse::listing::Buffer;
use crate::fuse::listing::ENTRIES_TYPICAL;
use crate::fuse::listing::Filling;
use crate::fuse::patience::Patience;
use crate::fuse::reply;
use bytes::Bytes;
use fuser::AccessFlags;
use fuser::Errno;
use fuser::FileHandle;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::INodeNo;
use fuser::InitFlags;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::OpenFlags;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyLseek;
use fuser::ReplyOpen;
use fuser::ReplyStatfs;
use fuser::ReplyXattr;
use fuser::Request;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Always asked for, where the kernel has it. `READDIRPLUS_AUTO` is left out on purpose: with it the kernel asks for
/// plain names after the first buffer of a folder, and every `stat` that follows becomes a look-up of its own.
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_EXPLICIT_INVAL_DATA)
    .union(InitFlags::FUSE_NO_OPEN_SUPPORT)
    .union(InitFlags::FUSE_NO_OPENDIR_SUPPORT)
    .union(InitFlags::FUSE_NO_EXPORT_SUPPORT);
const BACKGROUND_MAX: u16 = 64;
/// The kernel derives the largest read from it.
const TRANSFER_BYTES_MAX: u32 = 1 << 20;
/// `whence` of a seek, as Linux numbers it.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// A drive in front of the kernel.
pub(crate) struct Adapter {
    pub(crate) drive: Arc<dyn Drive>,
    pub(crate) runtime: Handle,
    patience: Arc<Patience>,
    pub(crate) counters: Arc<Counters>,
    /// True if the kernel shall judge access by POSIX ACLs too.
    pub(crate) acl: bool,
    /// Entries the last full listing buffer held.
    fitting: Arc<AtomicUsize>,
    /// False: the kernel is told that there are no extended attributes at all, and never asks again.
    xattrs: bool,
    /// True: every opening of a file is asked for.
    asks_open: bool,
    no_open: bool,
    no_opendir: bool,
    pub(crate) gifts: Arc<Gifts>,
}

impl Adapter {
    pub(crate) fn new(
        drive: Arc<dyn Drive>,
        runtime: Handle,
        deadline: Duration,
        acl: bool,
        ended: watch::Receiver<bool>,
    ) -> Adapter {
        let heard = {
            let drive = drive.clone();
            move || drive.heard()
        };
        Adapter {
            xattrs: drive.has_xattrs(),
            asks_open: drive.asks_open(),
            drive,
            runtime,
            patience: Patience::new(deadline, ended, heard),
            counters: Arc::default(),
            acl,
            fitting: Arc::new(AtomicUsize::new(ENTRIES_TYPICAL)),
            gifts: Arc::default(),
            no_open: false,
            no_opendir: false,
        }
    }

    fn heard(&self, request: &Request, kind: &Counter) {
        kind.add();
        follow::heard(request.pid());
    }

    /// Answers at once or hands the reply to a task.
    fn answer<T: Send + 'static, R: Send + 'static>(
        &self,
        ino: INodeNo,
        reply: R,
        ask: impl FnOnce(&dyn Drive) -> Answer<T>,
        send: impl FnOnce(R, Result<T>) + Send + 'static,
    ) {
        match guarded(|| ask(&*self.drive)) {
            Answer::Now(result) => send(reply, result),
            later => {
                let (drive, patience) = (self.drive.clone(), self.patience.clone());
                self.runtime.spawn(async move {
                    let result = patience.wait(patience.term(), later).await;
                    if result.as_ref().is_err_and(|error| *error == DriveError::TimedOut) {
                        drive.unanswered(ino.0);
                    }
                    send(reply, result);
                });
            }
        }
    }

    /// Fills a listing, at once as long as the drive answers at once.
    fn list(&self, mut filling: Filling<impl Buffer>) {
        loop {
            let wanted = filling.wanted(self.fitting.load(Ordering::Relaxed));
            match guarded(|| self.drive.list(filling.folder, filling.cursor(), wanted)) {
                Answer::Now(Err(error)) => return filling.fail(reply::errno(error)),
                Answer::Now(Ok(listing)) => {
                    if filling.take(&listing) {
                        return finish(&self.fitting, filling);
                    }
                }
                later => {
                    let (drive, fitting, patience) = (self.drive.clone(), self.fitting.clone(), self.patience.clone());
                    self.runtime.spawn(async move {
                        let term = patience.term();
                        let mut answer = later;
                        loop {
                            match patience.wait(term, answer).await {
                                Err(error) => {
                                    if error == DriveError::TimedOut {
                                        drive.unanswered(filling.folder);
                                    }
                                    return filling.fail(reply::errno(error));
                                }
                                Ok(listing) if filling.take(&listing) => return finish(&fitting, filling),
                                Ok(_) => {}
                            }
                            let wanted = filling.wanted(fitting.load(Ordering::Relaxed));
                            answer = drive.list(filling.folder, filling.cursor(), wanted);
                        }
                    });
                    return;
                }
            }
        }
    }
}

/// Sends a listing and remembers how many entries fitted, so that the next request asks the drive for no more.
fn finish(fitting: &AtomicUsize, filling: Filling<impl Buffer>) {
    if let Some(fitted) = filling.send() {
        fitting.store(fitted + 1, Ordering::Relaxed);
    }
}

/// A panic of the drive must not take the FUSE thread with it.
fn guarded<T>(ask: impl FnOnce() -> Answer<T>) -> Answer<T> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        tracing::error!("Drive panicked");
        Answer::Now(Err(DriveError::Io))
    })
}

fn caller(request: &Request) -> Caller {
    Caller { pid: request.pid(), uid: request.uid() }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        let mut wanted = WANTED;
        wanted.set(InitFlags::FUSE_POSIX_ACL, self.acl);
        wanted.set(InitFlags::FUSE_NO_OPEN_SUPPORT, !self.asks_open);
        let refused = |what| io::Error::other(format!("kernel refused {what}"));
        config.add_capabilities(wanted & offered).map_err(|_| refused("its own capabilities"))?;
        config.set_max_background(BACKGROUND_MAX).map_err(|_| refused("background requests"))?;
        config.set_max_write(TRANSFER_BYTES_MAX).map_err(|_| refused("the transfer size"))?;
        self.no_open = !self.asks_open && offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.no_opendir = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        tracing::debug!(?offered, "FUSE connected");
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.heard(request, &self.counters.lookup);
        self.answer(parent, reply, |drive| drive.lookup(parent.0, name.as_bytes()), reply::entry);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.heard(request, &self.counters.getattr);
        self.answer(ino, reply, |drive| drive.attr(ino.0), reply::attr);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.heard(request, &self.counters.readlink);
        self.answer(ino, reply, |drive| drive.read_link(ino.0), reply::data);
    }

    fn open(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.heard(request, &self.counters.open);
        if self.asks_open {
            let caller = caller(request);
            let open = |drive: &dyn Drive| {
                let is_first = self.gifts.is_first(ino.0);
                let allowed = drive.open(ino.0, caller);
                if is_first
                    && matches!(allowed, Answer::Now(Ok(())))
                    && let Some(content) = drive.small(ino.0, SMALL_BYTES_MAX, caller)
                {
                    self.gifts.hand_over(ino.0, &content);
                }
                allowed
            };
            self.answer(ino, reply, open, reply::opened);
        } else if self.no_open {
            // "Not implemented": the kernel opens by itself from now on and keeps the page cache.
            reply.error(Errno::ENOSYS);
        } else {
            reply::opened(reply, Ok(()));
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.counters.opendir.add();
        if self.no_opendir {
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
        }
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.counters.read.add();
        let caller = caller(request);
        follow::heard_read(caller.pid, size);
        // More bytes than asked for would end the connection.
        let send = move |reply, data: Result<Bytes>| {
            reply::data(reply, data.map(|data| data.slice(..data.len().min(size as usize))));
        };
        self.answer(ino, reply, |drive| drive.read(ino.0, offset, size, caller), send);
    }

    fn readdir(&self, request: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.heard(request, &self.counters.readdir);
        self.list(Filling::new(ino.0, offset, reply));
    }

    fn readdirplus(&self, request: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.heard(request, &self.counters.readdirplus);
        self.list(Filling::new(ino.0, offset, reply));
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.counters.statfs.add();
        let volume = |drive: &dyn Drive| Answer::Now(Ok(drive.volume()));
        self.answer(ino, reply, volume, |reply, volume| match volume {
            Ok(volume) => reply::volume(reply, &volume),
            Err(error) => reply.error(reply::errno(error)),
        });
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.heard(request, &self.counters.getxattr);
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let send = move |reply, value| reply::xattr(reply, size, value);
        self.answer(ino, reply, |drive| drive.xattr(ino.0, name.as_bytes()), send);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.heard(request, &self.counters.listxattr);
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let send = move |reply, names: Result<Vec<Vec<u8>>>| {
            let list = names.map(|names| names.iter().flat_map(|name| name.iter().copied().chain([0])).collect());
            reply::xattr(reply, size, list);
        };
        self.answer(ino, reply, |drive| drive.xattr_names(ino.0), send);
    }

    fn lseek(&self, request: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.heard(request, &self.counters.lseek);
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        self.answer(ino, reply, |drive| drive.seek(ino.0, offset, what), reply::offset);
    }

    // Nothing to write back and nothing to check beyond what the kernel checks: "not implemented" ends the asking.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.counters.other.add();
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        self.counters.other.add();
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.counters.other.add();
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.counters.other.add();
        reply.ok();
    }
}
