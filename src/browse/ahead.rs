//! Fetching ahead of readers, in the order of the tree.
//!
//! A reader is recognised by where it reads, not by a handle: the next bytes of the same file, or the beginning of a
//! file that stands a little further in the tree (`cp -r`, `tar`, a folder of thumbnails). Packs are written in the
//! order of the tree, so what comes next in the tree is fetched by few wide requests, across files, folders and packs.
//!
//! - Nobody pays for one read: fetching ahead begins when a second read continues the first.
//! - A window grows fourfold when its reader had to wait, and halves when the windows of all readers together reach the
//!   budget; the smallest one is always granted, so every reader makes progress.
//! - Only reads move a window: a reader that stops costs no more than what is on its way.

use crate::browse::Browse;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Stop;
use crate::tree::pieces;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

/// Narrowest window, in stored bytes.
const WINDOW_MIN: u64 = 1 << 20;
/// Widest window: several times what is on its way at 1 Gbit/s and 50 ms.
const WINDOW_MAX: u64 = 32 << 20;
/// Readers that are told apart.
const READERS_MAX: usize = 32;
/// A jump within a file up to this length, or within the window, continues a reader: requests overtake each other.
const JUMP_MAX: u64 = 512 << 10;
/// A file so many nodes further continues a reader: folders, links and empty files lie between.
const NODES_SKIPPED: u64 = 64;
/// Nodes looked at for one window.
const NODES_PLANNED: u64 = 8192;
/// A reader's progress is known in steps of so many stored bytes.
const STEP_BYTES: u64 = 128 << 10;

/// A position in the tree: a node and an offset in its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: u64,
    offset: u64,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    /// Where its furthest read ended.
    at: Place,
    /// Asked for up to here.
    until: Place,
    /// Stored bytes that lie between steps of the way to `until`.
    steps: VecDeque<(Place, u64)>,
    window: u64,
    /// The window has grown for waiting before this place.
    grown: Place,
    planning: bool,
}

impl Reader {
    fn new(id: u64, at: Place) -> Reader {
        Reader { id, at, until: at, steps: VecDeque::new(), window: 0, grown: at, planning: false }
    }

    /// True if a read at this place is this reader's next one (or one that was overtaken).
    fn is_continued_by(&self, place: Place) -> bool {
        let same_file = place.rank == self.at.rank
            && place.offset.saturating_add(JUMP_MAX) >= self.at.offset
            && place.offset <= self.at.offset.saturating_add(JUMP_MAX.max(self.window));
        let reach = self.until.rank.max(self.at.rank + NODES_SKIPPED);
        same_file || (place.offset == 0 && place.rank > self.at.rank && place.rank <= reach)
    }

    fn advance(&mut self, end: Place) {
        self.at = self.at.max(end);
        while self.steps.front().is_some_and(|(place, _)| *place <= self.at) {
            self.steps.pop_front();
        }
        self.until = self.until.max(self.at);
    }

    /// Stored bytes that were asked for and not read yet.
    fn ahead(&self) -> u64 {
        self.steps.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What a window will hold.
#[derive(Debug, Default)]
struct Plan {
    chunks: Vec<ChunkRef>,
    steps: Vec<(Place, u64)>,
    /// Stored bytes of the chunks, and those of them since the last step.
    bytes: u64,
    open: u64,
    until: Option<Place>,
}

impl Plan {
    /// Adds a chunk that ends at a place in the tree.
    fn add(&mut self, chunk: &ChunkRef, end: Place) {
        self.chunks.push(*chunk);
        self.bytes += u64::from(chunk.hint.len);
        self.open += u64::from(chunk.hint.len);
        self.until = Some(end);
        if self.open >= STEP_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(until) = self.until
            && self.open > 0
        {
            self.steps.push((until, self.open));
            self.open = 0;
        }
    }
}

/// The readers of one snapshot.
pub struct Ahead {
    browse: Browse,
    /// Stored bytes that all windows together may hold.
    budget: u64,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    /// Most recent first.
    list: VecDeque<Reader>,
    next_id: u64,
}

impl Ahead {
    /// Watches the readers of a snapshot.
    pub fn new(browse: Browse) -> Arc<Ahead> {
        let budget = browse.chunks().ahead_bytes_max();
        Arc::new(Ahead { browse, budget, readers: Mutex::default() })
    }

    /// Tells of a read: which node, which bytes, and whether the reader had to wait for them.
    pub fn note(self: &Arc<Self>, rank: u64, offset: u64, len: u64, waited: bool) {
        let (start, end) = (Place { rank, offset }, Place { rank, offset: offset.saturating_add(len) });
        let Some((id, from, bytes)) = self.step(start, end, waited) else { return };
        let this = self.clone();
        self.browse.chunks().runtime().spawn(async move {
            let plan = this.browse.ask(|tree, pages| plan(tree, pages, from, bytes)).await;
            // A page that cannot be read will be named to whoever asks for it.
            this.carry_out(id, plan.unwrap_or_default());
        });
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Moves a reader. Tells what to fetch now: for whom, from where, and how much.
    fn step(&self, start: Place, end: Place, waited: bool) -> Option<(u64, Place, u64)> {
        let mut readers = self.lock();
        let Some(at) = readers.list.iter().position(|reader| reader.is_continued_by(start)) else {
            let id = readers.next_id;
            readers.next_id += 1;
            readers.list.push_front(Reader::new(id, end));
            readers.list.truncate(READERS_MAX);
            return None;
        };
        let mut reader = readers.list.remove(at)?;
        let others: u64 = readers.list.iter().map(|reader| reader.window).sum();
        let moved = end > reader.at;
        reader.advance(end);
        if moved && waited && reader.at >= reader.grown {
            reader.window = (reader.window * 4).clamp(WINDOW_MIN, WINDOW_MAX);
            reader.grown = reader.until;
        }
        if others + reader.window > self.budget && reader.window > WINDOW_MIN {
            reader.window /= 2;
        }
        reader.window = reader.window.max(WINDOW_MIN);
        let ahead = reader.ahead();
        let due = moved && !reader.planning && ahead <= reader.window / 2;
        let work = due.then(|| (reader.id, reader.until, reader.window - ahead));
        reader.planning |= due;
        readers.list.push_front(reader);
        work
    }

    fn carry_out(&self, id: u64, plan: Plan) {
        {
            let mut readers = self.lock();
            // Forgotten meanwhile: nobody waits for this.
            let Some(reader) = readers.list.iter_mut().find(|reader| reader.id == id) else { return };
            reader.planning = false;
            reader.until = reader.until.max(plan.until.unwrap_or(reader.until));
            reader.steps.extend(plan.steps);
            let at = reader.at;
            reader.advance(at);
        }
        self.browse.chunks().fetch_ahead(&plan.chunks);
    }
}

/// The chunks from a place on, in the order of the tree, until they have so many stored bytes.
fn plan<P: Pages + ?Sized>(tree: &NodeTree, pages: &P, from: Place, bytes: u64) -> Result<Plan, Stop> {
    let mut plan = Plan::default();
    let mut next = tree.at(pages, from.rank)?;
    while let Some(found) = next {
        let rank = found.rank;
        let content = &found.node().content;
        let range = if rank == from.rank { from.offset..content.len() } else { 0..content.len() };
        pieces(pages, content, range.clone(), &mut |piece| {
            if let Extent::Data(chunk) = &piece.extent
                && piece.offset >= range.start
            {
                plan.add(chunk, Place { rank, offset: piece.end() });
            }
            plan.bytes < bytes
        })?;
        if plan.bytes >= bytes || rank - from.rank >= NODES_PLANNED {
            break;
        }
        plan.until = Some(Place { rank: rank + 1, offset: 0 });
        next = tree.next(pages, &found)?;
    }
    plan.close();
    Ok(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(rank: u64, offset: u64) -> Place {
        Place { rank, offset }
    }

    #[test]
    fn a_reader_is_known_by_where_it_reads() {
        let mut reader = Reader::new(0, place(10, 1 << 20));
        for (next, continues) in [
            (place(10, 1 << 20), true),
            (place(10, 512 << 10), true),
            (place(10, 0), false),
            (place(10, 3 << 19), true),
            (place(10, (3 << 19) + 1), false),
            (place(11, 0), true),
            (place(74, 0), true),
            (place(75, 0), false),
            (place(11, 4096), false),
            (place(9, 0), false),
        ] {
            assert_eq!(reader.is_continued_by(next), continues, "{next:?}");
        }
        reader.until = place(500, 0);
        assert!(reader.is_continued_by(place(500, 0)), "what was asked for is expected");
        reader.window = 8 << 20;
        assert!(reader.is_continued_by(place(10, 9 << 20)), "so is what the window covers");
    }

    #[test]
    fn progress_eats_what_was_asked_for() {
        let mut reader = Reader::new(0, place(1, 0));
        reader.until = place(4, 0);
        reader.steps.extend([(place(2, 0), 100), (place(3, 5), 200), (place(4, 0), 300)]);
        assert_eq!(reader.ahead(), 600);
        reader.advance(place(3, 4));
        assert_eq!(reader.ahead(), 500);
        reader.advance(place(3, 5));
        assert_eq!(reader.ahead(), 300);
        reader.advance(place(9, 0));
        assert_eq!((reader.ahead(), reader.until), (0, place(9, 0)));
    }
}
