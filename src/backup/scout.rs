//! The scout: walks ahead, decides what must be read, and hands out work in the order of the tree.

use crate::backup::Error;
use crate::backup::Stdin;
use crate::backup::parent::OldNodes;
use crate::backup::together::Together;
use crate::backup::work::Cutter;
use crate::backup::work::Draft;
use crate::backup::work::NodeDraft;
use crate::backup::work::Outcome;
use crate::backup::work::Run;
use crate::backup::work::Shop;
use crate::backup::work::Stopped;
use crate::backup::work::cut_file;
use crate::backup::work::has_changed;
use crate::backup::work::is_same;
use crate::extent::ChunkRef;
use crate::meta::Kind;
use crate::meta::Meta;
use crate::meta::Time;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::path;
use crate::source::Found;
use crate::source::SourceFile;
use crate::source::Step;
use crate::source::Walk;
use bytes::Bytes;
use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use std::collections::VecDeque;
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
/// Runs of it: those that are holes or known have no bytes.
const GROUP_RUNS: usize = 4096;

/// What the collector will get, in the order of the tree.
pub(super) enum Ticket {
    /// Results of a batch of nodes.
    Batch(Receiver<Result<Vec<Outcome>, Error>>),
    /// Nodes that needed no work.
    Ready(Vec<Outcome>),
    /// Runs of a large file, which follow each other until its end.
    Runs(Receiver<Result<Vec<Draft>, Error>>),
    /// Chunks that are part of no file yet.
    Ahead(Receiver<Result<Vec<Draft>, Error>>),
    /// The end of a large file: the node itself, or why there is none.
    End(Box<Outcome>),
}

/// Work for any worker.
pub(super) enum Job {
    /// Nodes to read or to cut, with others between them that need nothing.
    Batch(Vec<Task>, Sender<Result<Vec<Outcome>, Error>>),
    /// Chunks of a large file, one behind the other, with their lengths.
    Group(Group, Sender<Result<Vec<Draft>, Error>>),
}

/// A node in a batch.
pub(super) enum Task {
    /// To be read; true if the parent does not have it.
    Read(Found, bool),
    /// A file with its only chunk.
    Whole(Box<NodeDraft>, Bytes),
    /// Done already.
    Done(Outcome),
}

/// Pieces of a large file: bytes, with the lengths of their chunks, and what lies between them.
#[derive(Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    runs: Vec<Piece>,
}

/// One piece of a large file.
enum Piece {
    /// A chunk of this length.
    Data(usize),
    /// A hole.
    Hole(u64),
    /// A chunk that is stored already.
    Known(ChunkRef),
}

/// Tasks in order, each with its file if that was opened ahead.
fn with_files(tasks: Vec<Task>, shop: &Shop) -> impl Iterator<Item = (Task, Option<SourceFile>)> {
    let (mut rest, mut line) = (tasks.into_iter(), VecDeque::new());
    std::iter::from_fn(move || {
        while line.len() < shop.files_open
            && let Some(task) = rest.next()
        {
            let file = if let Task::Read(found, _) = &task { shop.open_ahead(found) } else { None };
            line.push_back((task, file));
        }
        line.pop_front()
    })
}

impl Job {
    /// Does the work and sends the result; nobody listens any more once the backup has failed elsewhere.
    pub(super) fn run(self, shop: &Shop, buffer: &mut Vec<u8>) {
        let mut together = Together::new(shop.level);
        match self {
            Job::Batch(tasks, done) => {
                let outcomes = with_files(tasks, shop).map(|(task, file)| match task {
                    Task::Read(found, is_new) => shop.read(found, file, is_new, buffer, &mut together),
                    Task::Whole(mut draft, bytes) => {
                        shop.draft_whole(&bytes, &mut together, &mut draft.runs)?;
                        Ok(Outcome::Read(draft, None))
                    }
                    Task::Done(outcome) => Ok(outcome),
                });
                let outcomes = outcomes.collect::<Result<_, _>>();
                let _nobody_listens = done.send(together.close().and(outcomes));
            }
            Job::Group(group, done) => {
                let mut rest = &group.bytes[..];
                let drafts = group.runs.iter().map(|piece| match piece {
                    Piece::Hole(len) => Ok(Draft::Hole(*len)),
                    Piece::Known(chunk) => Ok(Draft::Known(*chunk)),
                    Piece::Data(len) => {
                        let (chunk, later) = rest.split_at(*len);
                        rest = later;
                        shop.draft(chunk, &mut together)
                    }
                });
                let drafts = drafts.collect::<Result<_, _>>();
                let _nobody_listens = done.send(together.close().and(drafts));
            }
        }
    }
}

/// Walks, compares, and hands out work.
pub(super) struct Scout<'a> {
    pub(super) shop: &'a Shop,
    pub(super) old: OldNodes,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) time: Time,
}

/// The queues, the batch that is being filled, and the group of the large file that is being cut.
pub(super) struct Line<'a> {
    work: Sender<Job>,
    tickets: Sender<Ticket>,
    pub(super) stop: &'a AtomicBool,
    batch: Vec<Task>,
    batch_bytes: u64,
    must_read: bool,
    group: Group,
}

impl<'a> Line<'a> {
    pub(super) fn new(work: Sender<Job>, tickets: Sender<Ticket>, stop: &'a AtomicBool) -> Line<'a> {
        let group = Group::default();
        Line { work, tickets, stop, batch: Vec::new(), batch_bytes: 0, must_read: false, group }
    }

    /// The collector has stopped listening, or the user wants to stop.
    fn ended<T>(_: T) -> Error {
        Error::Cancelled
    }

    /// A node that needs no reading.
    pub(super) fn node(&mut self, draft: NodeDraft) -> Result<(), Error> {
        self.push(Task::Done(Outcome::Read(Box::new(draft), None)), 0)
    }

    /// A file that is to be stored in one chunk.
    pub(super) fn whole(&mut self, draft: NodeDraft, bytes: Bytes) -> Result<(), Error> {
        let len = bytes.len() as u64;
        self.push(Task::Whole(Box::new(draft), bytes), len)
    }

    /// What became of a node that needed no reading.
    pub(super) fn outcome(&mut self, outcome: Outcome) -> Result<(), Error> {
        self.push(Task::Done(outcome), 0)
    }

    fn push(&mut self, task: Task, bytes: u64) -> Result<(), Error> {
        self.must_read |= !matches!(task, Task::Done(_));
        self.batch.push(task);
        self.batch_bytes += bytes;
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_NODES { self.send() } else { Ok(()) }
    }

    /// Sends the open batch.
    pub(super) fn send(&mut self) -> Result<(), Error> {
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

    fn send_group(&mut self, ticket: fn(Receiver<Result<Vec<Draft>, Error>>) -> Ticket) -> Result<(), Error> {
        if self.group.runs.is_empty() {
            return Ok(());
        }
        let (done, receiver) = crossbeam_channel::bounded(1);
        self.tickets.send(ticket(receiver)).map_err(Self::ended)?;
        self.work.send(Job::Group(std::mem::take(&mut self.group), done)).map_err(Self::ended)?;
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn take(&mut self, run: &Run<'_>) {
        let piece = match run {
            Run::Hole(len) => Piece::Hole(*len),
            Run::Known(chunk) => Piece::Known(*chunk),
            Run::Data(chunk) => {
                self.group.bytes.extend_from_slice(chunk);
                Piece::Data(chunk.len())
            }
        };
        match (self.group.runs.last_mut(), piece) {
            (Some(Piece::Hole(len)), Piece::Hole(more)) => *len += more,
            (_, piece) => self.group.runs.push(piece),
        }
    }

    fn is_full(&self) -> bool {
        self.group.bytes.len() >= GROUP_BYTES || self.group.runs.len() >= GROUP_RUNS
    }

    /// Takes in one run of a large file.
    pub(super) fn run(&mut self, run: Run<'_>) -> Result<(), Error> {
        self.take(&run);
        if self.is_full() { self.send_group(Ticket::Runs) } else { Ok(()) }
    }

    /// Sends the runs that are left of a large file.
    pub(super) fn end_runs(&mut self) -> Result<(), Error> {
        self.send_group(Ticket::Runs)
    }

    /// Takes in a chunk that is to be stored before the file it is part of.
    pub(super) fn run_ahead(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.take(&Run::Data(chunk));
        if self.is_full() { self.send_group(Ticket::Ahead) } else { Ok(()) }
    }

    /// Sends what is left of them.
    pub(super) fn end_ahead(&mut self) -> Result<(), Error> {
        self.send_group(Ticket::Ahead)
    }

    /// The end of a large file.
    pub(super) fn end(&mut self, outcome: Outcome) -> Result<(), Error> {
        self.tickets.send(Ticket::End(Box::new(outcome))).map_err(Self::ended)
    }
}

impl<'a> Scout<'a> {
    pub(super) fn new(shop: &'a Shop, old: OldNodes, monitor: &'a dyn Monitor, time: Time) -> Scout<'a> {
        Scout { shop, old, monitor, time }
    }

    /// Walks the whole source; returns how many nodes of the parent are gone.
    pub(super) fn explore(mut self, walk: Walk, mut line: Line<'_>) -> Result<u64, Error> {
        let mut buffer = Vec::new();
        for step in walk {
            if line.stop.load(Ordering::Relaxed) || self.monitor.is_cancelled() {
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
            return self.large(found, is_new, line, buffer);
        }
        // A folder or link costs about as much as a few KiB of reading.
        let bytes = if found.stat.is_file() { found.stat.size + 4096 } else { 4096 };
        line.push(Task::Read(found, is_new), bytes)
    }

    /// Cuts a large file and spreads its chunks over all workers.
    fn large(&self, mut found: Found, is_new: bool, line: &mut Line<'_>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.monitor.event(Event::Path(&found.path()));
        let (kind, meta, file) = match self.shop.complete(&mut found, None) {
            Ok(whole) => whole,
            Err(error) => return line.end(Outcome::Problem(found.path(), error)),
        };
        let mut draft = NodeDraft { is_new, ..empty_draft(found.parent().clone(), found.name.clone(), kind, meta) };
        let Some(file) = file else { return line.end(Outcome::Read(Box::new(draft), None)) };
        let cut = cut_file(&self.shop.chunker, &file, buffer, &mut |run| {
            if let Run::Data(chunk) = &run {
                draft.bytes_read += chunk.len() as u64;
            }
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            line.run(run)
        });
        line.end_runs()?;
        match cut {
            Ok(()) => line.end(Outcome::Read(Box::new(draft), has_changed(&found, &file))),
            Err(Stopped::Source(error)) => line.end(Outcome::Problem(found.path(), error)),
            Err(Stopped::Backup(fault)) => Err(fault),
        }
    }

    /// Backs up a stream as one file below the folders its path names.
    pub(super) fn stream(self, mut stdin: Stdin, mut line: Line<'_>) -> Result<u64, Error> {
        let meta = |mode| Meta { mode, mtime: self.time, ctime: self.time, links: 1, ..Meta::default() };
        let mut folder: Vec<u8> = Vec::new();
        let folder_draft =
            |parent: &[u8], name: &[u8]| empty_draft(parent.into(), name.to_vec(), Kind::Folder, meta(0o755));
        line.node(folder_draft(b"", b""))?;
        let (parents, name) = path::split(&stdin.path);
        for part in parents.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
            line.node(folder_draft(&folder, part))?;
            folder = path::join(&folder, part);
        }
        line.send()?;
        let mut draft = empty_draft(parents.into(), name.to_vec(), Kind::File, meta(0o600));
        let mut buffer = Vec::new();
        let mut cutter = Cutter::new(&self.shop.chunker, &mut buffer);
        loop {
            let count = stdin.stream.read(cutter.room());
            // Whoever ends this program may have ended the one that writes too: then neither an end nor an error is its own.
            if self.monitor.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let count = match count {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Stdin(e)),
            };
            draft.bytes_read += count as u64;
            cutter.add(count, &mut |run| line.run(run))?;
        }
        cutter.finish(&mut |run| line.run(run))?;
        line.end_runs()?;
        line.end(Outcome::Read(Box::new(draft), None))?;
        Ok(0)
    }
}

/// A node without content.
pub(super) fn empty_draft(parent: Arc<[u8]>, name: Vec<u8>, kind: Kind, meta: Meta) -> NodeDraft {
    NodeDraft { parent, name, kind, meta, inline: None, is_new: true, runs: Vec::new(), bytes_read: 0 }
}
