//! The scout: walks ahead, decides what must be read, and hands out work in the order of the tree.

use crate::backup::Error;
use crate::backup::Stdin;
use crate::backup::parent::OldNodes;
use crate::backup::work::Cutter;
use crate::backup::work::Draft;
use crate::backup::work::NodeDraft;
use crate::backup::work::Outcome;
use crate::backup::work::Piece;
use crate::backup::work::Shop;
use crate::backup::work::Stopped;
use crate::backup::work::cut_file;
use crate::backup::work::has_changed;
use crate::backup::work::is_same;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Time;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::path;
use crate::source::Found;
use crate::source::Step;
use crate::source::Walk;
use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Larger files are cut by the scout and compressed by all workers; smaller ones are one worker's business.
const LARGE_BYTES: u64 = 4 << 20;
/// Bytes and nodes of one batch.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_NODES: usize = 256;
/// Bytes of a large file that go to one worker at once.
const GROUP_BYTES: usize = 1 << 20;

/// What the collector will get, in the order of the tree.
pub(super) enum Ticket {
    /// Results of a batch of nodes.
    Batch(Receiver<Result<Vec<Outcome>, Error>>),
    /// Nodes that needed no work.
    Ready(Vec<Outcome>),
    /// Runs of a large file, which follow each other until its end.
    Runs(Receiver<Result<Vec<Draft>, Error>>),
    /// The end of a large file: the node itself, or why there is none.
    End(Box<Outcome>),
}

/// Work for any worker.
pub(super) enum Job {
    /// Nodes to read, with others between them that need nothing.
    Batch(Vec<Task>, Sender<Result<Vec<Outcome>, Error>>),
    /// Chunks of a large file, one behind the other, with their lengths.
    Group(Group, Sender<Result<Vec<Draft>, Error>>),
}

/// A node in a batch.
pub(super) enum Task {
    /// To be read; true if the parent does not have it.
    Read(Found, bool),
    /// Done already.
    Done(Outcome),
}

/// Pieces of a large file: bytes with the lengths of their chunks, and holes.
#[derive(Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    /// Length, and true for a hole.
    runs: Vec<(u64, bool)>,
}

impl Job {
    /// Does the work and sends the result; nobody listens any more once the backup has failed elsewhere.
    pub(super) fn run(self, shop: &Shop, buffer: &mut Vec<u8>) {
        match self {
            Job::Batch(tasks, done) => {
                let outcome = tasks.into_iter().map(|task| match task {
                    Task::Read(found, is_new) => shop.read(&found, is_new, buffer),
                    Task::Done(outcome) => Ok(outcome),
                });
                let _nobody_listens = done.send(outcome.collect());
            }
            Job::Group(group, done) => {
                let mut rest = &group.bytes[..];
                let drafts = group.runs.iter().map(|(len, is_hole)| {
                    if *is_hole {
                        return Ok(Draft::Hole(*len));
                    }
                    let (chunk, later) = rest.split_at(*len as usize);
                    rest = later;
                    shop.draft(chunk)
                });
                let _nobody_listens = done.send(drafts.collect());
            }
        }
    }
}

/// Walks, compares, and hands out work.
pub(super) struct Scout<'a> {
    shop: &'a Shop,
    old: OldNodes,
    monitor: &'a dyn Monitor,
    time: Time,
}

/// The queues, and the batch that is being filled.
struct Line<'a> {
    work: Sender<Job>,
    tickets: Sender<Ticket>,
    stop: &'a AtomicBool,
    batch: Vec<Task>,
    batch_bytes: u64,
    must_read: bool,
}

impl Line<'_> {
    /// The collector has stopped listening, or the user wants to stop.
    fn ended<T>(_: T) -> Error {
        Error::Cancelled
    }

    fn push(&mut self, task: Task, bytes: u64) -> Result<(), Error> {
        self.must_read |= matches!(task, Task::Read(..));
        self.batch.push(task);
        self.batch_bytes += bytes;
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_NODES { self.send() } else { Ok(()) }
    }

    /// Sends the open batch.
    fn send(&mut self) -> Result<(), Error> {
        let tasks = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if tasks.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.must_read) {
            let (done, ticket) = crossbeam_channel::bounded(1);
            self.tickets.send(Ticket::Batch(ticket)).map_err(Self::ended)?;
            return self.work.send(Job::Batch(tasks, done)).map_err(Self::ended);
        }
        let ready = tasks.into_iter().filter_map(|task| if let Task::Done(o) = task { Some(o) } else { None });
        self.tickets.send(Ticket::Ready(ready.collect())).map_err(Self::ended)
    }

    fn send_group(&mut self, group: &mut Group) -> Result<(), Error> {
        let (done, ticket) = crossbeam_channel::bounded(1);
        self.tickets.send(Ticket::Runs(ticket)).map_err(Self::ended)?;
        self.work.send(Job::Group(std::mem::take(group), done)).map_err(Self::ended)?;
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Takes in one piece of a large file.
    fn piece(&mut self, group: &mut Group, piece: &Piece<'_>) -> Result<(), Error> {
        match piece {
            Piece::Hole(len) => group.runs.push((*len, true)),
            Piece::Data(chunk) => {
                group.bytes.extend_from_slice(chunk);
                group.runs.push((chunk.len() as u64, false));
            }
        }
        if group.bytes.len() >= GROUP_BYTES { self.send_group(group) } else { Ok(()) }
    }
}

impl<'a> Scout<'a> {
    pub(super) fn new(shop: &'a Shop, old: OldNodes, monitor: &'a dyn Monitor, time: Time) -> Scout<'a> {
        Scout { shop, old, monitor, time }
    }

    /// Walks the whole source; returns how many nodes of the parent are gone.
    pub(super) fn explore(
        mut self,
        walk: Option<Walk>,
        work: Sender<Job>,
        tickets: Sender<Ticket>,
        stop: &AtomicBool,
    ) -> Result<u64, Error> {
        let mut line = Line { work, tickets, stop, batch: Vec::new(), batch_bytes: 0, must_read: false };
        let mut buffer = Vec::new();
        for step in walk.into_iter().flatten() {
            if stop.load(Ordering::Relaxed) || self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match step {
                Step::Skipped { path, why } => line.push(Task::Done(Outcome::Skipped(path, why)), 0)?,
                Step::Problem { path, error } => line.push(Task::Done(Outcome::Problem(path, error)), 0)?,
                Step::Found(found) => self.found(found, &mut line, &mut buffer)?,
            }
        }
        line.send()?;
        Ok(self.old.finish())
    }

    fn found(&mut self, found: Found, line: &mut Line<'_>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let old = self.old.take(found.parent(), &found.name)?;
        if self.old.is_damaged {
            self.shop.known.note_loss();
        }
        let is_new = old.is_none();
        if let Some(old) = old
            && is_same(&found, old.node())
            && self.old.is_whole(old.node(), &self.shop.known)?
        {
            let node = old.node().clone();
            return line.push(Task::Done(Outcome::Same(found.parent().clone(), Box::new(node))), 0);
        }
        if found.stat.is_file() && found.stat.size > LARGE_BYTES {
            line.send()?;
            return self.large(&found, is_new, line, buffer);
        }
        // A folder or link costs about as much as a few KiB of reading.
        let bytes = if found.stat.is_file() { found.stat.size + 4096 } else { 4096 };
        line.push(Task::Read(found, is_new), bytes)
    }

    /// Cuts a large file and spreads its chunks over all workers.
    fn large(&self, found: &Found, is_new: bool, line: &mut Line<'_>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.monitor.event(Event::Path(&found.path()));
        let end = |line: &Line<'_>, outcome| line.tickets.send(Ticket::End(Box::new(outcome))).map_err(Line::ended);
        let opened = found.complete(&self.shop.owners).and_then(|both| Ok((both, found.open()?)));
        let ((kind, meta), file) = match opened {
            Ok(opened) => opened,
            Err(error) => return end(line, Outcome::Problem(found.path(), error)),
        };
        let mut draft = NodeDraft { is_new, ..empty_draft(found.parent().clone(), found.name.clone(), kind, meta) };
        let mut group = Group::default();
        let mut bytes_read = 0;
        let cut = cut_file(&self.shop.chunker, &file, buffer, &mut |piece| {
            if let Piece::Data(chunk) = &piece {
                bytes_read += chunk.len() as u64;
            }
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            line.piece(&mut group, &piece)
        });
        if !group.runs.is_empty() {
            line.send_group(&mut group)?;
        }
        draft.bytes_read = bytes_read;
        match cut {
            Ok(()) => end(line, Outcome::Read(Box::new(draft), has_changed(found, &file))),
            Err(Stopped::Source(error)) => end(line, Outcome::Problem(found.path(), error)),
            Err(Stopped::Backup(fault)) => Err(fault),
        }
    }

    /// Backs up a stream as one file below the folders its path names.
    pub(super) fn stream(
        self,
        mut stdin: Stdin,
        work: Sender<Job>,
        tickets: Sender<Ticket>,
        stop: &AtomicBool,
    ) -> Result<u64, Error> {
        let mut line = Line { work, tickets, stop, batch: Vec::new(), batch_bytes: 0, must_read: false };
        let meta = |mode| Meta { mode, mtime: self.time, ctime: self.time, links: 1, ..Meta::default() };
        let mut folder: Vec<u8> = Vec::new();
        let folder_draft = |parent: &[u8], name: &[u8]| {
            let draft = empty_draft(parent.into(), name.to_vec(), Kind::Folder, meta(0o755));
            Task::Done(Outcome::Read(Box::new(draft), None))
        };
        line.push(folder_draft(b"", b""), 0)?;
        let (parents, name) = path::split(&stdin.path);
        for part in parents.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
            line.push(folder_draft(&folder, part), 0)?;
            folder = path::join(&folder, part);
        }
        line.send()?;
        let mut draft = empty_draft(parents.into(), name.to_vec(), Kind::File, meta(0o600));
        let mut group = Group::default();
        let mut buffer = Vec::new();
        let mut cutter = Cutter::new(&self.shop.chunker, &mut buffer);
        loop {
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let count = match stdin.stream.read(cutter.room()) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Stdin(e)),
            };
            draft.bytes_read += count as u64;
            cutter.add(count, &mut |piece| line.piece(&mut group, &piece))?;
        }
        cutter.finish(&mut |piece| line.piece(&mut group, &piece))?;
        if !group.runs.is_empty() {
            line.send_group(&mut group)?;
        }
        line.tickets.send(Ticket::End(Box::new(Outcome::Read(Box::new(draft), None)))).map_err(Line::ended)?;
        Ok(0)
    }
}

fn empty_draft(parent: Arc<[u8]>, name: Vec<u8>, kind: Kind, meta: Meta) -> NodeDraft {
    NodeDraft { parent, name, kind, meta, inline: None, is_new: true, runs: Vec::new(), bytes_read: 0 }
}
