//! Copying a snapshot out of another repository: a backup whose source is the tree of that snapshot.
//!
//! Chunks are fetched, checked, named and sealed anew for this repository. If it cuts as the other one does, their boundaries stay;
//! else contents are cut anew, so that they are shared with what is backed up here. Content that the snapshot shares with one that was copied before is taken from that copy, unread. The
//! copy keeps the id of its original, and so tells that it is there; see [`copy_id`] for one that was pruned here.

use crate::backup::Error;
use crate::backup::Options;
use crate::backup::Parent;
use crate::backup::Summary;
use crate::backup::parent::OldNodes;
use crate::backup::scout::Line;
use crate::backup::scout::Scout;
use crate::backup::scout::empty_draft;
use crate::backup::work::Cutter;
use crate::backup::work::NodeDraft;
use crate::backup::work::Outcome;
use crate::backup::work::Run;
use crate::browse::Browse;
use crate::browse::DataStream;
use crate::browse::disk_of;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::id::SnapshotId;
use crate::meta::Content;
use crate::meta::Node;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::repo;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::source;
use crate::tree::Found;
use crate::tree::Piece;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;

/// Nodes looked at ahead of the one that is stored.
const NODES_AHEAD: usize = 1024;
/// Chunks known ahead of the one that is stored: with them the next requests are made wide.
const CHUNKS_AHEAD: usize = 1024;
/// Bytes of a file looked up in its extent tree at once.
const SPAN_BYTES: u64 = 64 << 20;

/// A snapshot of another repository.
#[derive(Clone)]
pub struct Original {
    /// The snapshot.
    pub browse: Browse,
    /// An older one of the same source that was copied before: what did not change since is not read.
    pub base: Option<Browse>,
}

/// A copy under way.
pub(super) struct Copying {
    pub(super) original: Original,
    /// What an interrupted run copied of it.
    pub(super) begun: Option<OldNodes>,
}

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// zstd level.
    pub level: i32,
    /// Threads that hash and compress.
    pub threads: usize,
    /// Store nothing, only tell what would be done.
    pub dry_run: bool,
    /// How often the copy so far is written down, for a killed run to go on from.
    pub checkpoint_every: Duration,
}

/// Copies a snapshot into `repo`. Blocks the calling thread (which must not be one of the runtime's) until it is part of
/// the repository, or the monitor cancels it. A snapshot of which something cannot be read is not copied.
pub fn copy(
    repo: &Repo,
    author: Author<'_>,
    runtime: &Handle,
    original: Original,
    options: CopyOptions,
    monitor: &dyn Monitor,
) -> Result<Summary, Error> {
    let snapshot = original.browse.snapshot().clone();
    let parent = original.base.as_ref().map_or(Parent::Newest, |base| Parent::Snapshot(base.snapshot().id));
    let options = Options {
        source: source::Options::default(),
        stdin: None,
        disks: Vec::new(),
        original: Some(original),
        log: None,
        host: snapshot.host,
        user: snapshot.user,
        tags: snapshot.tags,
        description: snapshot.description,
        program: snapshot.program,
        time: snapshot.time,
        parent,
        level: options.level,
        threads: options.threads,
        dry_run: options.dry_run,
        checkpoint_every: options.checkpoint_every,
    };
    super::backup(repo, author, runtime, options, monitor)
}

/// How a copy of the snapshot `id` is called: as its original, unless that was forgotten and pruned here. Then the name is given up
/// for good, and the copy gets another that follows from it, so that it is known when it is wanted again.
pub fn copy_id(log: &Log, mut id: SnapshotId) -> SnapshotId {
    let words = log.words();
    while words.is_gone(id) {
        let mut hasher = blake3::Hasher::new_derive_key("bygone 2026 v1 copy of a pruned snapshot");
        hasher.update(&id.0).finalize_xof().fill(&mut id.0);
    }
    id
}

/// A node that was looked at and is not stored yet.
struct Planned {
    parent: Arc<[u8]>,
    node: Node,
    is_new: bool,
    /// Looked up to here; the rest of the extents is looked up when these are stored.
    looked: u64,
    pieces: VecDeque<Piece>,
}

impl Planned {
    fn is_looked_up(&self) -> bool {
        self.looked >= self.node.content.len()
    }
}

/// What of a large snapshot is known ahead.
struct Ahead {
    original: Browse,
    data: DataStream,
    planned: VecDeque<Outlook>,
}

/// What was copied before.
struct Earlier {
    /// The older original, of which `old` is the copy.
    base: OldNodes,
    /// What an interrupted run copied of this one.
    begun: Option<OldNodes>,
}

/// A node in its turn.
enum Outlook {
    /// Its content is stored already.
    Same(Box<Outcome>),
    /// Its content is on its way.
    Read(Box<Planned>),
}

impl Ahead {
    /// Looks up the next extents of the last planned file, if there are more.
    fn look_up(&mut self) -> Result<bool, Error> {
        let Some(Outlook::Read(planned)) = self.planned.back_mut() else { return Ok(false) };
        if planned.is_looked_up() {
            return Ok(false);
        }
        let len = planned.node.content.len();
        let range: Range<u64> = planned.looked..len.min(planned.looked + SPAN_BYTES);
        let runtime = self.original.chunks().runtime();
        let pieces = runtime.block_on(self.original.pieces(&planned.node.content, range.clone()))?;
        for piece in pieces.into_iter().filter(|piece| piece.offset >= range.start) {
            planned.looked = piece.end();
            if let Extent::Data(chunk) = piece.extent {
                self.data.add(piece.offset, chunk);
            }
            planned.pieces.push_back(piece);
        }
        if planned.looked < range.end {
            return Err(Error::Repo(repo::Error::ChunkLost { id: self.original.snapshot().root.id }));
        }
        Ok(true)
    }

    fn has_enough(&self) -> bool {
        self.planned.len() >= NODES_AHEAD || self.data.waiting() >= CHUNKS_AHEAD
    }
}

impl Scout<'_> {
    /// Copies the tree of a snapshot; returns how many nodes of the parent are gone.
    pub(super) fn copy(mut self, copying: Copying, mut line: Line<'_>) -> Result<u64, Error> {
        let Copying { original: Original { browse, base }, begun } = copying;
        let runtime = browse.chunks().runtime().clone();
        let base_chunks = browse.chunks().clone();
        let base = OldNodes::new(runtime.clone(), base_chunks, base.into_iter().collect())?;
        let mut earlier = Earlier { base, begun };
        let mut walk = browse.walk(0..browse.tree().nodes);
        self.monitor.event(Event::Total { nodes: browse.snapshot().nodes, bytes: browse.snapshot().bytes });
        let data = DataStream::of_chunks(browse.chunks());
        let mut ahead = Ahead { original: browse, data, planned: VecDeque::new() };
        let (shop, mut buffer) = (self.shop, Vec::new());
        let mut cutter = shop.recuts.then(|| Cutter::new(&shop.chunker, &mut buffer));
        loop {
            while !ahead.has_enough() {
                if ahead.look_up()? {
                    continue;
                }
                let Some(found) = runtime.block_on(walk.next())? else { break };
                let outlook = self.plan(&found, &mut earlier)?;
                ahead.planned.push_back(outlook);
            }
            match ahead.planned.front_mut() {
                None => break,
                Some(Outlook::Same(_)) => {}
                Some(Outlook::Read(planned)) => {
                    // Disks are cut at fixed places everywhere.
                    let cutter = cutter.as_mut().filter(|_| disk_of(&planned.node).is_none());
                    send_pieces(planned, &mut ahead.data, &runtime, &mut line, cutter)?;
                    // Of a very large file only a part is known.
                    if !planned.is_looked_up() {
                        ahead.look_up()?;
                        continue;
                    }
                }
            }
            match ahead.planned.pop_front() {
                Some(Outlook::Same(outcome)) => line.outcome(*outcome)?,
                Some(Outlook::Read(planned)) => {
                    if let Some(cutter) = &mut cutter {
                        cutter.finish(&mut |run| line.run(run))?;
                    }
                    end(*planned, &mut ahead.data, &runtime, &mut line)?;
                }
                None => {}
            }
            if self.monitor.is_cancelled() || line.stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
        }
        line.send()?;
        Ok(self.old.finish())
    }

    /// What is to be done for a node.
    fn plan(&mut self, found: &Found, earlier: &mut Earlier) -> Result<Outlook, Error> {
        let (parent, node) = (found.parent(), found.node());
        let begun = match &mut earlier.begun {
            Some(begun) => begun.take(parent, &node.name)?,
            None => None,
        };
        let before = earlier.base.take(parent, &node.name)?;
        let old = self.old.take(parent, &node.name)?;
        let is_new = old.is_none();
        let is_same = before.is_some_and(|before| is_same_content(&before.node().content, &node.content));
        for copied in begun.into_iter().chain(old.filter(|_| is_same)) {
            let has_bytes = copied.node().content.len() == node.content.len();
            if has_bytes && self.old.is_whole(copied.node(), &self.shop.known)? {
                let node = Node { content: copied.node().content.clone(), ..node.clone() };
                return Ok(Outlook::Same(Box::new(Outcome::Same(parent.into(), Box::new(node)))));
            }
        }
        let looked = match &node.content {
            Content::Empty | Content::Inline(_) => node.content.len(),
            Content::Chunk(_) | Content::Extents { .. } => 0,
        };
        let node = node.clone();
        Ok(Outlook::Read(Box::new(Planned { parent: parent.into(), node, is_new, looked, pieces: VecDeque::new() })))
    }
}

/// The next data of all files.
fn next(data: &mut DataStream, runtime: &Handle, chunk: &ChunkRef) -> Result<Bytes, Error> {
    let (_, bytes) = runtime.block_on(data.next())?.ok_or(repo::Error::ChunkLost { id: chunk.id })?;
    Ok(bytes)
}

/// Sends the pieces that are known of a file of several, in order. What the cutter has not cut yet stays in it.
fn send_pieces(
    planned: &mut Planned,
    data: &mut DataStream,
    runtime: &Handle,
    line: &mut Line<'_>,
    mut cutter: Option<&mut Cutter<'_>>,
) -> Result<(), Error> {
    if matches!(planned.node.content, Content::Chunk(_)) || planned.pieces.is_empty() {
        return Ok(());
    }
    line.send()?;
    while let Some(piece) = planned.pieces.pop_front() {
        match piece.extent {
            Extent::Hole(len) => {
                if let Some(cutter) = &mut cutter {
                    cutter.finish(&mut |run| line.run(run))?;
                }
                line.run(Run::Hole(len))?;
            }
            Extent::Data(chunk) => {
                let bytes = next(data, runtime, &chunk)?;
                match &mut cutter {
                    Some(cutter) => cutter.add_bytes(&bytes, &mut |run| line.run(run))?,
                    None => line.run(Run::Data(&bytes))?,
                }
            }
        }
    }
    Ok(())
}

/// The node itself: behind its runs, or with its only chunk.
fn end(planned: Planned, data: &mut DataStream, runtime: &Handle, line: &mut Line<'_>) -> Result<(), Error> {
    let Planned { parent, node: Node { name, kind, meta, content }, is_new, .. } = planned;
    let bytes_read = match content {
        Content::Extents { data, .. } => data,
        _ => content.len(),
    };
    let draft = NodeDraft { is_new, bytes_read, ..empty_draft(parent, name, kind, meta) };
    match content {
        Content::Inline(bytes) => line.node(NodeDraft { inline: Some(bytes), ..draft }),
        Content::Empty => line.node(draft),
        // Of no length, it has no data either.
        Content::Chunk(chunk) if chunk.len == 0 => line.node(draft),
        Content::Chunk(chunk) => line.whole(draft, next(data, runtime, &chunk)?),
        Content::Extents { .. } => {
            line.end_runs()?;
            line.end(Outcome::Read(Box::new(draft), None))
        }
    }
}

/// True if two contents of one repository are the same bytes in the same chunks.
fn is_same_content(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Empty, Content::Empty) => true,
        (Content::Inline(a), Content::Inline(b)) => a == b,
        (Content::Chunk(a), Content::Chunk(b)) => (a.id, a.len) == (b.id, b.len),
        (Content::Extents { root: a, len: a_len, .. }, Content::Extents { root: b, len: b_len, .. }) => {
            (a.id, a_len) == (b.id, b_len)
        }
        _ => false,
    }
}
