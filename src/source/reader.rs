//! Reads folders: does one small piece of work of the walk, and leaves the rest as further pieces.
//!
//! A piece yields steps in the order of the walk. What it leaves is a stack: the innermost work, next in order, on
//! top. So steps and remaining work together are always one unbroken part of the walk, whoever does it.

use crate::path::DEPTH_MAX;
use crate::path::NameError;
use crate::path::PATH_BYTES_MAX;
use crate::source::Error;
use crate::source::Found;
use crate::source::Step;
use crate::source::folder::Folder;
use crate::source::names::Fate;
use crate::source::names::Names;
use crate::source::os;
use crate::source::os::Handle;
use crate::source::rules::Rules;
use crate::source::stat::Type;
use crate::source::why;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Steps after which a piece of work ends and leaves the rest.
pub(super) const STEPS_MAX: usize = 256;
/// Folders with more names are held as names and looked at piece by piece.
const AT_ONCE_MAX: usize = 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// What all readers of a walk share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) one_file_system: bool,
    /// Set once nobody wants the steps any more.
    pub(super) stop: AtomicBool,
}

/// A piece of work.
#[derive(Debug)]
pub(super) enum Work {
    /// Yield the root node, then what lies below.
    Begin(Arc<Folder>),
    /// Look at these names of a folder.
    Look(Arc<Folder>, Arc<Names>, Range<usize>),
    /// Enter these children of a folder.
    Enter(Arc<Folder>, Arc<Children>, Range<usize>),
}

/// The child folders to be entered.
#[derive(Debug, Default)]
pub(super) struct Children {
    names: Names,
    /// File system and inode number of each; empty if not looked at yet.
    ids: Vec<(u64, u64)>,
}

/// An opened child, or why it is left shut.
enum Door {
    Open(Handle, (u64, u64)),
    Shut(&'static str),
}

/// A reader with its own buffers: one for each thread.
#[derive(Debug)]
pub(super) struct Reader {
    plan: Arc<Plan>,
    names: Names,
    buffer: Vec<u8>,
    path: Vec<u8>,
}

impl Work {
    /// Cuts a piece off the front for one reader; the rest, if any, stays for others. Folders are taken few at a
    /// time, because each may be large.
    pub(super) fn cut(self) -> (Work, Option<Work>) {
        let (range, piece) = match &self {
            Work::Begin(_) => return (self, None),
            Work::Look(_, _, range) => (range, STEPS_MAX),
            Work::Enter(_, _, range) => (range, range.len().div_ceil(2).min(16)),
        };
        let (start, middle, end) = (range.start, range.start + piece.min(range.len()), range.end);
        if middle == end {
            return (self, None);
        }
        match self {
            Work::Begin(_) => (self, None),
            Work::Look(folder, names, _) => {
                let rest = Work::Look(Arc::clone(&folder), Arc::clone(&names), middle..end);
                (Work::Look(folder, names, start..middle), Some(rest))
            }
            Work::Enter(folder, children, _) => {
                let rest = Work::Enter(Arc::clone(&folder), Arc::clone(&children), middle..end);
                (Work::Enter(folder, children, start..middle), Some(rest))
            }
        }
    }
}

impl Reader {
    pub(super) fn new(plan: Arc<Plan>) -> Reader {
        Reader { plan, names: Names::default(), buffer: Vec::with_capacity(BUFFER_BYTES), path: Vec::new() }
    }

    /// Does a piece of work: its steps, and a stack of what is left of it.
    pub(super) fn run(&mut self, work: Work) -> (Vec<Step>, Vec<Work>) {
        let mut steps = Vec::with_capacity(STEPS_MAX + 64);
        let mut stack = vec![work];
        while steps.len() < STEPS_MAX && !self.stopped() {
            match stack.pop() {
                None => break,
                Some(Work::Begin(top)) => self.begin(&top, &mut steps, &mut stack),
                Some(Work::Look(folder, names, range)) => {
                    let middle = range.end.min(range.start + STEPS_MAX);
                    if middle < range.end {
                        stack.push(Work::Look(Arc::clone(&folder), Arc::clone(&names), middle..range.end));
                    }
                    match folder.handle() {
                        Ok(handle) => self.look(&folder, &handle, &names, range.start..middle, &mut steps, None),
                        Err(error) => steps.push(Step::Problem { path: folder.path.to_vec(), error }),
                    }
                }
                Some(Work::Enter(folder, children, mut range)) => {
                    let Some(at) = range.next() else { continue };
                    if !range.is_empty() {
                        stack.push(Work::Enter(Arc::clone(&folder), Arc::clone(&children), range));
                    }
                    self.enter(&folder, &children, at, &mut steps, &mut stack);
                }
            }
        }
        (steps, stack)
    }

    fn stopped(&self) -> bool {
        self.plan.stop.load(Ordering::Relaxed)
    }

    fn begin(&mut self, top: &Arc<Folder>, steps: &mut Vec<Step>, stack: &mut Vec<Work>) {
        let begun = top.handle().and_then(|handle| {
            let stat = os::stat_handle(&handle).map_err(|source| Error::failed("look at it", source))?;
            steps.push(Step::Found(Found { name: Vec::new(), stat, folder: Arc::clone(top) }));
            os::open_list(&handle, c".").map_err(|source| Error::failed("list it", source))
        });
        match begun {
            Ok(handle) => self.list(top, &handle, steps, stack),
            Err(error) => steps.push(Step::Problem { path: Vec::new(), error }),
        }
    }

    fn enter(
        &mut self,
        parent: &Arc<Folder>,
        children: &Children,
        at: usize,
        steps: &mut Vec<Step>,
        stack: &mut Vec<Work>,
    ) {
        let path = crate::path::join(&parent.path, children.names.get(at));
        match self.open(parent, &path, children, at) {
            Ok(Door::Open(handle, id)) => {
                let (child, handle) = parent.child(path, id, handle);
                self.list(&child, &handle, steps, stack);
            }
            Ok(Door::Shut(why)) => steps.push(Step::Skipped { path, why }),
            Err(error) => steps.push(Step::Problem { path, error }),
        }
    }

    /// Opens a child folder, if it is to be entered. One on another file system is looked at before, by a mere
    /// reference, because opening it could start an automount or hang.
    fn open(&self, parent: &Arc<Folder>, path: &[u8], children: &Children, at: usize) -> Result<Door, Error> {
        let refused = |source| Error::failed("list it", source);
        let above = parent.handle()?;
        let name = children.names.get_c(at);
        let known = children.ids.get(at).copied().filter(|id| id.0 == parent.id.0);
        if let (Some(id), None) = (known, &parent.above) {
            if self.plan.rules.skips(path, id) {
                return Ok(Door::Shut(why::SKIP));
            }
            return Ok(Door::Open(os::open_list(&above, name).map_err(refused)?, id));
        }
        let reference = os::open_folder(&above, name).map_err(refused)?;
        let stat = os::stat_handle(&reference).map_err(refused)?;
        let id = (stat.dev, stat.inode);
        if parent.leads_on(path) {
            return Ok(Door::Open(reference, id));
        }
        if let Some(why) = self.shut(parent, path, id, &reference).map_err(refused)? {
            return Ok(Door::Shut(why));
        }
        Ok(Door::Open(os::open_list(&reference, c".").map_err(refused)?, id))
    }

    /// Why a folder on the border of a file system, or a root, is not entered.
    fn shut(&self, parent: &Folder, path: &[u8], id: (u64, u64), folder: &Handle) -> io::Result<Option<&'static str>> {
        let is_root = parent.above.is_some();
        if self.plan.rules.skips(path, id) {
            return Ok(Some(why::SKIP));
        }
        if !is_root && id.0 == parent.id.0 {
            return Ok(None);
        }
        if !is_root && self.plan.one_file_system {
            return Ok(Some(why::OTHER));
        }
        // Who names a drive as a root means it.
        Ok(os::pseudo(folder)?.filter(|why| !(is_root && *why == why::DRIVE)))
    }

    /// Lists a folder: yields its nodes, or puts that on the stack if they are many; below that its child folders.
    fn list(&mut self, folder: &Arc<Folder>, handle: &Handle, steps: &mut Vec<Step>, stack: &mut Vec<Work>) {
        let mut names = std::mem::take(&mut self.names);
        names.clear();
        match &folder.above {
            Some(guide) => guide.names().for_each(|name| names.push(name, None)),
            None => {
                let listed = os::read_names(handle, &mut self.buffer, |name, kind| {
                    names.push(name, kind);
                    !self.plan.stop.load(Ordering::Relaxed)
                });
                if let Err(source) = listed {
                    let error = Error::failed("list it", source);
                    steps.push(Step::Problem { path: folder.path.to_vec(), error });
                }
                names.sort();
                if let Some(why) = self.plan.rules.marked(handle, |name| names.find(name).is_some()) {
                    steps.push(Step::Skipped { path: folder.path.to_vec(), why });
                    self.names = names;
                    return;
                }
                self.judge(folder, handle, &mut names);
            }
        }
        if names.len() <= AT_ONCE_MAX {
            let mut children = Children::default();
            self.look(folder, handle, &names, 0..names.len(), steps, Some(&mut children));
            push_enter(folder, children, stack);
            self.names = names;
        } else {
            push_enter(folder, child_folders(handle, &mut names), stack);
            let all = 0..names.len();
            stack.push(Work::Look(Arc::clone(folder), Arc::new(names), all));
        }
    }

    /// Decides by path and type what is left out.
    fn judge(&mut self, folder: &Folder, handle: &Handle, names: &mut Names) {
        let rules = &self.plan.rules;
        if !rules.no_patterns() {
            let (number, from) = folder.root;
            self.path.clear();
            self.path.extend_from_slice(number.to_string().as_bytes());
            self.path.push(b'/');
            if let Some(below) = folder.path.get(from..).filter(|below| !below.is_empty()) {
                self.path.extend_from_slice(below);
                self.path.push(b'/');
            }
            let base = self.path.len();
            for at in 0..names.len() {
                let is_folder = kind_of(handle, names, at) == Some(Type::Folder);
                self.path.truncate(base);
                self.path.extend_from_slice(names.get(at));
                if rules.excludes(&self.path, is_folder) {
                    names.leave_out(at, Fate::Rule);
                }
            }
        }
        for name in rules.skipped_in(&folder.path) {
            if let Some(at) = names.find(name).filter(|at| kind_of(handle, names, *at) != Some(Type::Folder)) {
                names.leave_out(at, Fate::Skip);
            }
        }
    }

    /// Looks at nodes and yields them; notes the child folders if asked to.
    fn look(
        &self,
        folder: &Arc<Folder>,
        handle: &Handle,
        names: &Names,
        range: Range<usize>,
        steps: &mut Vec<Step>,
        mut children: Option<&mut Children>,
    ) {
        for at in range {
            let name = names.get(at);
            if self.stopped() {
                return;
            }
            if let Some(why) = names.fate(at).why() {
                steps.push(Step::Skipped { path: crate::path::join(&folder.path, name), why });
                continue;
            }
            if let Err(fault) = fits(folder, name) {
                steps.push(Step::Problem { path: crate::path::join(&folder.path, name), error: Error::Name(fault) });
                continue;
            }
            let stat = match os::stat(handle, names.get_c(at)) {
                Ok(stat) => stat,
                // Gone since it was listed: as if it had never been there.
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    let error = Error::failed("look at it", source);
                    steps.push(Step::Problem { path: crate::path::join(&folder.path, name), error });
                    continue;
                }
            };
            if stat.is_file() && self.plan.rules.too_large(stat.size) {
                steps.push(Step::Skipped { path: crate::path::join(&folder.path, name), why: why::TOO_LARGE });
                continue;
            }
            if let (true, Some(children)) = (stat.is_folder(), children.as_deref_mut()) {
                children.names.push(name, Some(Type::Folder));
                children.ids.push((stat.dev, stat.inode));
            }
            steps.push(Step::Found(Found { name: name.to_vec(), stat, folder: Arc::clone(folder) }));
        }
    }
}

fn push_enter(folder: &Arc<Folder>, children: Children, stack: &mut Vec<Work>) {
    let all = 0..children.names.len();
    if !all.is_empty() {
        stack.push(Work::Enter(Arc::clone(folder), Arc::new(children), all));
    }
}

/// The folders among many names, by what the listing told.
fn child_folders(handle: &Handle, names: &mut Names) -> Children {
    let mut children = Children::default();
    for at in 0..names.len() {
        if names.fate(at) == Fate::Keep && kind_of(handle, names, at) == Some(Type::Folder) {
            children.names.push(names.get(at), Some(Type::Folder));
        }
    }
    children
}

/// Type of a name; asked for where the listing did not tell.
fn kind_of(handle: &Handle, names: &mut Names, at: usize) -> Option<Type> {
    if names.kind(at).is_none()
        && let Ok(stat) = os::stat(handle, names.get_c(at))
    {
        names.set_kind(at, stat.kind);
    }
    names.kind(at)
}

/// Checks a node against the limits of a snapshot.
fn fits(folder: &Folder, name: &[u8]) -> Result<(), NameError> {
    crate::path::check_name(name)?;
    let too_deep = folder.depth >= DEPTH_MAX || folder.path.len() + 1 + name.len() > PATH_BYTES_MAX;
    if too_deep { Err(NameError::TooLong) } else { Ok(()) }
}
