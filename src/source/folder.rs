//! A folder the walk has come to: how to reach it again, however deep it lies and whatever was closed meanwhile.
//!
//! Open handles are bounded: the last [`HANDLES_MAX`] folders, or fewer where few files may be open, stay open; an older one is
//! opened again from its nearest open ancestor, through no link, and must still be the same folder. The top is always open.

use crate::source::Error;
use crate::source::files_share;
use crate::source::os;
use crate::source::os::Handle;
use crate::source::roots::Guide;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Folders kept open at a time; well below the usual limit of 1024 open files.
pub(super) const HANDLES_MAX: usize = 192;

/// A folder on the way of the walk.
#[derive(Debug)]
pub(super) struct Folder {
    /// The folder it lies in; none for the top.
    pub(super) parent: Option<Arc<Folder>>,
    /// Snapshot path.
    pub(super) path: Arc<[u8]>,
    /// How many folders lie above it.
    pub(super) depth: usize,
    /// File system and inode number: what it must be when opened again.
    pub(super) id: (u64, u64),
    /// Above the roots: the names that lead to one. None within a root.
    pub(super) above: Option<Arc<Guide>>,
    /// Within a root: its number, and where the paths that rules see begin in `path`.
    pub(super) root: (usize, usize),
    handle: Mutex<Option<Arc<Handle>>>,
    handles: Arc<Handles>,
}

/// The folders that are open now.
#[derive(Debug)]
pub(super) struct Handles {
    top: Arc<Handle>,
    ring: Vec<Mutex<Weak<Folder>>>,
    next: AtomicUsize,
}

impl Handles {
    /// Nothing open but the top.
    pub(super) fn new() -> io::Result<Arc<Handles>> {
        let count = files_share().clamp(1, HANDLES_MAX);
        let ring = (0..count).map(|_| Mutex::new(Weak::new())).collect();
        Ok(Arc::new(Handles { top: Arc::new(os::open_top()?), ring, next: AtomicUsize::new(0) }))
    }

    /// Enters a folder that was opened, and closes the one opened longest ago.
    fn opened(&self, folder: &Arc<Folder>) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.ring.len();
        let mut place = self.ring[at].lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = std::mem::replace(&mut *place, Arc::downgrade(folder));
        drop(place);
        if let Some(oldest) = oldest.upgrade() {
            oldest.close();
        }
    }
}

impl Folder {
    /// The top of everything, path "".
    pub(super) fn top(handles: Arc<Handles>, guide: Arc<Guide>) -> io::Result<Arc<Folder>> {
        let stat = os::stat_handle(&handles.top)?;
        let above = (!guide.is_root()).then_some(guide);
        Ok(Arc::new(Folder {
            parent: None,
            path: Arc::from(&b""[..]),
            depth: 0,
            id: (stat.dev, stat.inode),
            above,
            root: (0, 0),
            handle: Mutex::new(None),
            handles,
        }))
    }

    /// The child folder at this path, opened with this handle.
    pub(super) fn child(
        self: &Arc<Folder>,
        path: Vec<u8>,
        id: (u64, u64),
        handle: Handle,
    ) -> (Arc<Folder>, Arc<Handle>) {
        let guide = self.guide(&path).cloned();
        let root = guide.as_ref().and_then(|guide| guide.root()).map(|number| (number, path.len() + 1));
        let handle = Arc::new(handle);
        let child = Arc::new(Folder {
            parent: Some(Arc::clone(self)),
            depth: self.depth + 1,
            id,
            above: guide.filter(|guide| !guide.is_root()),
            root: root.unwrap_or(self.root),
            path: Arc::from(path),
            handle: Mutex::new(Some(Arc::clone(&handle))),
            handles: Arc::clone(&self.handles),
        });
        self.handles.opened(&child);
        (child, handle)
    }

    /// True if the child folder at this path is not a root yet, but leads to one.
    pub(super) fn leads_on(&self, child: &[u8]) -> bool {
        self.guide(child).is_some_and(|guide| !guide.is_root())
    }

    fn guide(&self, child: &[u8]) -> Option<&Arc<Guide>> {
        self.above.as_ref().and_then(|guide| guide.child(crate::path::split(child).1))
    }

    /// Its name in the parent.
    fn name(&self) -> &[u8] {
        crate::path::split(&self.path).1
    }

    /// An open handle, for looking up names in it.
    pub(super) fn handle(self: &Arc<Folder>) -> Result<Arc<Handle>, Error> {
        if let Some(open) = self.open_now() {
            return Ok(open);
        }
        let mut names = vec![self.name()];
        let mut above = self.parent.as_ref();
        let from = loop {
            // Only the top has no parent, and it is always open.
            let Some(folder) = above else { break Arc::clone(&self.handles.top) };
            if let Some(open) = folder.open_now() {
                break open;
            }
            names.push(folder.name());
            above = folder.parent.as_ref();
        };
        names.reverse();
        let refused = |source| Error::failed("open its folder", source);
        let handle = os::open_below(&from, &names).map_err(refused)?;
        let stat = os::stat_handle(&handle).map_err(refused)?;
        if (stat.dev, stat.inode) != self.id {
            return Err(Error::Changed);
        }
        let handle = Arc::new(handle);
        *self.slot() = Some(Arc::clone(&handle));
        self.handles.opened(self);
        Ok(handle)
    }

    fn open_now(&self) -> Option<Arc<Handle>> {
        if self.parent.is_none() {
            return Some(Arc::clone(&self.handles.top));
        }
        self.slot().clone()
    }

    pub(super) fn close(&self) {
        let closed = self.slot().take();
        drop(closed);
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Handle>>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Folder {
    /// Lets go of the ancestors one by one: a deep chain must not become a deep recursion.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut folder) = next.and_then(Arc::into_inner) {
            next = folder.parent.take();
        }
    }
}
