//! Fetching ahead of readers, in the order of the tree.
//!
//! A reader is recognised by where it reads, not by a handle: the next bytes of the same file, or the beginning of a
//! file that stands a little further in the tree (`cp -r`, `tar`, a folder of thumbnails). Packs are written in the
//! order of the tree, so what comes next in the tree is fetched by few wide requests, across files, folders and packs.
//!
//! - Nobody pays for one read: fetching ahead begins when a second read continues the first.
//! - A window grows fourfold when its reader had to wait, and halves when the windows of all readers together reach the
//!   budget; each reader has its part of the budget for certain, and none if that is too little to be of use.
//! - A reader that has stopped takes nothing from the others.
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

/// Narrowest window, in stored bytes, if there is memory for it.
const WINDOW_MIN: u64 = 1 << 20;
/// Less than that is no window.
const WINDOW_OF_USE: u64 = 512 << 10;
/// Widest window: several times what is on its way at 1 Gbit/s and 50 ms.
const WINDOW_MAX: u64 = 32 << 20;
/// A window is filled up again in so many steps: in few, all requests end together, and the line lies idle until the
/// next ones are answered.
const REFILLS: u64 = 8;
/// Readers that are told apart.
const READERS_MAX: usize = 32;
/// A reader has stopped if all others together made so many reads since its last.
const READS_MISSED_MAX: u64 = 256;
/// A jump within a file up to this length, or within the window, continues a reader: requests overtake each other.
const JUMP_MAX: u64 = 512 << 10;
/// A file so many nodes further continues a reader: folders, links and empty files lie between.
const NODES_SKIPPED: u64 = 64;
/// Nodes looked at for one window.
const NODES_PLANNED: u64 = 8192;
/// Extents looked at for one window: a file can be one chunk a million times.
const EXTENTS_PLANNED: usize = 8192;
/// A reader's progress is known in steps of so many stored bytes.
const STEP_BYTES: u64 = 128 << 10;
/// Chunks that may lie between two that were compressed together, as far as is looked.
const NEAR: usize = 8;

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
    /// The number of its last read.
    read: u64,
    /// The window has grown for waiting before this place.
    grown: Place,
    planning: bool,
    /// Nothing comes behind `until`.
    is_last: bool,
}

impl Reader {
    fn new(id: u64, at: Place, read: u64) -> Reader {
        Reader {
            id,
            at,
            until: at,
            steps: VecDeque::new(),
            window: 0,
            read,
            grown: at,
            planning: false,
            is_last: false,
        }
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

    /// Fits the window to what this reader had to wait for and what the others leave of the budget.
    fn fit_window(&mut self, has_waited: bool, others: &Others, budget: u64) {
        let part = budget / (others.readers + 1);
        if part < WINDOW_OF_USE {
            self.window = 0;
            return;
        }
        if has_waited && self.at >= self.grown {
            self.window = (self.window * 4).clamp(WINDOW_MIN, WINDOW_MAX);
            self.grown = self.until;
        }
        if others.windows + self.window > budget {
            self.window /= 2;
        }
        self.window = self.window.clamp(WINDOW_MIN.min(part), budget);
    }

    /// Stored bytes that were asked for and not read yet.
    fn ahead(&self) -> u64 {
        self.steps.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// The other readers that have not stopped.
#[derive(Debug, Clone, Copy, Default)]
struct Others {
    readers: u64,
    windows: u64,
}

/// What a window will hold.
#[derive(Debug, Default)]
struct Plan {
    chunks: Vec<ChunkRef>,
    steps: Vec<(Place, u64)>,
    /// What fetching the chunks moves, bytes, and the part of it since the last step.
    bytes: u64,
    open: u64,
    until: Option<Place>,
    /// The tree ends there.
    is_last: bool,
}

impl Plan {
    /// Adds a chunk that ends at a place in the tree.
    fn add(&mut self, chunk: &ChunkRef, cost: u64, end: Place) {
        self.chunks.push(*chunk);
        self.bytes += cost;
        self.open += cost;
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

/// What a read is to the readers.
#[derive(Debug, Default)]
struct Step {
    /// It continues another.
    is_continued: bool,
    due: Option<Due>,
}

/// What to fetch now: for whom, from where, and how much.
#[derive(Debug)]
struct Due {
    id: u64,
    from: Place,
    bytes: u64,
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
    /// Reads so far.
    reads: u64,
}

impl Readers {
    /// Moves a reader.
    fn step(&mut self, start: Place, end: Place, has_waited: bool, budget: u64) -> Step {
        self.reads += 1;
        let Some(at) = self.list.iter().position(|reader| reader.is_continued_by(start)) else {
            self.list.push_front(Reader::new(self.next_id, end, self.reads));
            self.next_id += 1;
            self.list.truncate(READERS_MAX);
            return Step::default();
        };
        let Some(mut reader) = self.list.remove(at) else { return Step::default() };
        let has_moved = end > reader.at;
        reader.advance(end);
        reader.read = self.reads;
        let mut others = Others::default();
        for other in self.list.iter().filter(|other| self.reads - other.read <= READS_MISSED_MAX && other.window > 0) {
            others.readers += 1;
            others.windows += other.window;
        }
        reader.fit_window(has_moved && has_waited, &others, budget);
        let ahead = reader.ahead();
        let room = reader.window.saturating_sub(ahead);
        let due = has_moved && !reader.planning && !reader.is_last && room > 0 && room >= reader.window / REFILLS;
        let due = due.then(|| Due { id: reader.id, from: reader.until, bytes: reader.window - ahead });
        reader.planning |= due.is_some();
        self.list.push_front(reader);
        Step { is_continued: true, due }
    }
}

impl Ahead {
    /// Watches the readers of a snapshot.
    pub fn new(browse: Browse) -> Arc<Ahead> {
        let budget = browse.chunks().ahead_bytes_max();
        Arc::new(Ahead { browse, budget, readers: Mutex::default() })
    }

    /// Tells of a read: which node, which bytes, and whether the reader had to wait for them. True if it continues another.
    pub fn note(self: &Arc<Self>, rank: u64, offset: u64, len: u64, waited: bool) -> bool {
        let (start, end) = (Place { rank, offset }, Place { rank, offset: offset.saturating_add(len) });
        let step = self.lock().step(start, end, waited, self.budget);
        if let Some(due) = step.due {
            self.fetch(due);
        }
        step.is_continued
    }

    fn fetch(self: &Arc<Self>, due: Due) {
        let Due { id, from, bytes } = due;
        let this = self.clone();
        self.browse.chunks().runtime().spawn(async move {
            let cost = |chunk: &ChunkRef, after: Option<&ChunkRef>| this.browse.chunks().ahead_cost(chunk, after);
            let plan = this.browse.ask(|tree, pages| plan(tree, pages, from, bytes, &cost)).await;
            // A page that cannot be read will be named to whoever asks for it.
            this.carry_out(id, plan.unwrap_or_default());
        });
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many readers have not stopped.
    pub fn active(&self) -> u64 {
        let readers = self.lock();
        let is_active = |reader: &&Reader| readers.reads - reader.read <= READS_MISSED_MAX;
        readers.list.iter().filter(is_active).count() as u64
    }

    fn carry_out(&self, id: u64, plan: Plan) {
        {
            let mut readers = self.lock();
            // Forgotten meanwhile: nobody waits for this.
            let Some(reader) = readers.list.iter_mut().find(|reader| reader.id == id) else { return };
            reader.planning = false;
            reader.is_last = plan.is_last;
            reader.until = reader.until.max(plan.until.unwrap_or(reader.until));
            reader.steps.extend(plan.steps);
            let at = reader.at;
            reader.advance(at);
        }
        self.browse.chunks().fetch_ahead(&plan.chunks);
    }
}

/// The chunks from a place on, in the order of the tree, until they cost so many bytes.
fn plan<P: Pages + ?Sized>(
    tree: &NodeTree,
    pages: &P,
    from: Place,
    bytes: u64,
    cost: &impl Fn(&ChunkRef, Option<&ChunkRef>) -> u64,
) -> Result<Plan, Stop> {
    let mut plan = Plan::default();
    let mut looked = 0;
    let mut next = tree.at(pages, from.rank)?;
    while let Some(found) = next {
        let rank = found.rank;
        let content = &found.node().content;
        let range = if rank == from.rank { from.offset..content.len() } else { 0..content.len() };
        pieces(pages, content, range.clone(), &mut |piece| {
            if let Extent::Data(chunk) = &piece.extent
                && piece.offset >= range.start
            {
                // Small chunks are compressed together, also around a large one.
                let is_planned = plan.chunks.iter().rev().take(NEAR).any(|near| near.hint == chunk.hint);
                let cost = if is_planned { 0 } else { cost(chunk, plan.chunks.last()) };
                plan.add(chunk, cost, Place { rank, offset: piece.end() });
            }
            looked += 1;
            plan.bytes < bytes && looked < EXTENTS_PLANNED
        })?;
        if plan.bytes >= bytes || looked >= EXTENTS_PLANNED || rank - from.rank >= NODES_PLANNED {
            plan.close();
            return Ok(plan);
        }
        plan.until = Some(Place { rank: rank + 1, offset: 0 });
        next = tree.next(pages, &found)?;
    }
    plan.is_last = true;
    plan.close();
    Ok(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::extent::Locator;
    use crate::id::ChunkId;
    use crate::id::ObjectId;
    use crate::meta::Content;
    use crate::meta::Kind;
    use crate::meta::Node;
    use crate::tree::ExtentTreeBuilder;
    use crate::tree::tests::Memory;
    use crate::tree::tests::build;
    use crate::tree::tests::node;

    fn place(rank: u64, offset: u64) -> Place {
        Place { rank, offset }
    }

    #[test]
    fn a_reader_is_known_by_where_it_reads() {
        let mut reader = Reader::new(0, place(10, 1 << 20), 1);
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

    const READ: u64 = 128 << 10;

    /// The next read of a reader, and that what it then asks for was fetched, in steps.
    fn read(readers: &mut Readers, rank: u64, at: &mut u64, has_waited: bool, budget: u64) -> Option<u64> {
        let (start, end) = (place(rank, *at), place(rank, *at + READ));
        *at += READ;
        let Due { id, from, bytes } = readers.step(start, end, has_waited, budget).due?;
        let reader = readers.list.iter_mut().find(|reader| reader.id == id).unwrap();
        let until = place(rank, from.offset + bytes);
        reader
            .steps
            .extend((from.offset..until.offset).step_by(READ as usize).map(|at| (place(rank, at + READ), READ)));
        (reader.until, reader.planning) = (until, false);
        Some(bytes)
    }

    fn ahead(readers: &Readers) -> u64 {
        readers.list.iter().map(Reader::ahead).sum()
    }

    #[test]
    fn a_window_grows_for_who_waits_and_stays_for_who_does_not() {
        let (mut readers, mut at) = (Readers::default(), 0);
        for _ in 0..2000 {
            read(&mut readers, 1, &mut at, true, 1 << 30);
        }
        assert_eq!(readers.list[0].window, WINDOW_MAX);
        let (mut readers, mut at) = (Readers::default(), 0);
        for i in 0..2000 {
            read(&mut readers, 1, &mut at, i < 2, 1 << 30);
        }
        assert_eq!(readers.list[0].window, WINDOW_MIN);
        assert!(readers.list[0].ahead() <= WINDOW_MIN);
    }

    #[test]
    fn all_windows_together_keep_to_the_budget() {
        for budget in [1 << 20, 3 << 20, 8 << 20, 42 << 20, 200 << 20] {
            let mut readers = Readers::default();
            let mut at = [0; READERS_MAX];
            for round in 0..1000 {
                for (rank, at) in at.iter_mut().enumerate() {
                    // Far apart, so that none continues another.
                    read(&mut readers, rank as u64 * 1000, at, true, budget);
                }
                let windows: u64 = readers.list.iter().map(|reader| reader.window).sum();
                assert!(round < 100 || windows <= 2 * budget, "{windows} of {budget}");
                assert!(ahead(&readers) <= 4 * budget, "{} of {budget}", ahead(&readers));
            }
        }
    }

    #[test]
    fn windows_halve_when_others_come() {
        let budget = 40 << 20;
        let (mut readers, mut one, mut two) = (Readers::default(), 0, 0);
        for _ in 0..1000 {
            read(&mut readers, 1, &mut one, true, budget);
        }
        assert_eq!(readers.list[0].window, WINDOW_MAX);
        for _ in 0..1000 {
            read(&mut readers, 1, &mut one, false, budget);
            read(&mut readers, 9000, &mut two, true, budget);
        }
        let windows: Vec<u64> = readers.list.iter().map(|reader| reader.window).collect();
        assert!(
            windows.iter().sum::<u64>() <= budget && windows.iter().all(|window| *window >= 4 << 20),
            "{windows:?}"
        );
    }

    #[test]
    fn who_has_stopped_takes_nothing_from_the_others() {
        let (budget, mut readers) = (40 << 20, Readers::default());
        for rank in 1..20 {
            let mut at = 0;
            for _ in 0..1000 {
                read(&mut readers, rank * 1000, &mut at, true, budget);
            }
            assert_eq!(readers.list[0].window, WINDOW_MAX, "reader {rank}");
        }
    }

    #[test]
    fn who_stops_leaves_a_window_at_most() {
        let (mut readers, mut at) = (Readers::default(), 0);
        for reads in 0..500 {
            read(&mut readers, 1, &mut at, reads % 3 == 0, 64 << 20);
            let reader = &readers.list[0];
            assert!(reader.ahead() <= reader.window.max(WINDOW_MIN) && reader.until.offset - at <= WINDOW_MAX);
        }
    }

    /// A tree of ten files of one chunk each, which lie at these offsets.
    fn ten_files(offset: impl Fn(u32) -> u32) -> (NodeTree, Memory) {
        let chunk = |n: u32| {
            let hint = Locator { pack: ObjectId([1; 16]), offset: offset(n), len: 100 };
            ChunkRef { id: ChunkId([n as u8; 32]), len: 100, hint }
        };
        let file = |n: u32| Node { content: Content::Chunk(chunk(n)), ..node(&format!("file {n:02}"), Kind::File, 0) };
        let mut all = vec![(Vec::new(), node("", Kind::Folder, 0))];
        all.extend((0..10).map(|n| (Vec::new(), file(n))));
        let mut memory = Memory::default();
        let (tree, _) = build(&all, &mut memory);
        (tree, memory)
    }

    #[test]
    fn what_was_compressed_together_is_paid_once() {
        for (offset, chunks) in [((|n| n * 100) as fn(u32) -> u32, 3), (|n| n / 3 * 100, 7), (|n| n % 2 * 100, 10)] {
            let (tree, memory) = ten_files(offset);
            let plan = plan(&tree, &memory, place(0, 0), 300, &|_, _| 100).unwrap();
            assert_eq!(plan.chunks.len(), chunks);
        }
    }

    #[test]
    fn a_file_of_one_chunk_over_and_over_is_planned_piece_by_piece() {
        let hint = Locator { pack: ObjectId([1; 16]), offset: 0, len: 100 };
        let chunk = ChunkRef { id: ChunkId([1; 32]), len: 100, hint };
        let mut memory = Memory::default();
        let mut extents = ExtentTreeBuilder::default();
        (0..100_000).for_each(|_| extents.push(Extent::Data(chunk), &mut memory).unwrap());
        let content = extents.finish(&mut memory).unwrap();
        let file = |name| Node { content: content.clone(), ..node(name, Kind::File, 0) };
        let all = [node("", Kind::Folder, 0), file("one"), file("two")].map(|node| (Vec::new(), node));
        let (tree, _) = build(&all, &mut memory);
        let mut from = place(1, 0);
        for _ in 0..3 {
            let plan = plan(&tree, &memory, from, 1000, &|_, _| 100).unwrap();
            assert_eq!((plan.chunks.len(), plan.bytes, plan.is_last), (EXTENTS_PLANNED, 100, false));
            let until = plan.until.unwrap();
            assert_eq!(until, place(1, from.offset + EXTENTS_PLANNED as u64 * 100));
            from = until;
        }
    }

    #[test]
    fn a_plan_knows_whether_the_tree_ends_with_it() {
        let (tree, memory) = ten_files(|n| n * 100);
        let plan = |rank, bytes| plan(&tree, &memory, place(rank, 0), bytes, &|_, _| 100).unwrap();
        for (rank, bytes, chunks, is_last) in
            [(0, 300, 3, false), (0, 1000, 10, false), (0, 1001, 10, true), (8, 500, 3, true), (11, 500, 0, true)]
        {
            let plan = plan(rank, bytes);
            assert_eq!((plan.chunks.len(), plan.is_last), (chunks, is_last), "{bytes} bytes from {rank}");
        }
    }

    #[test]
    fn nothing_is_asked_for_behind_the_end() {
        let (mut readers, mut at) = (Readers::default(), 0);
        while readers.list.front().is_none_or(|reader| reader.until.offset < 1 << 20) {
            read(&mut readers, 1, &mut at, true, 1 << 30);
        }
        readers.list[0].is_last = true;
        for _ in 0..1000 {
            assert_eq!(read(&mut readers, 1, &mut at, true, 1 << 30), None);
        }
    }

    #[test]
    fn progress_eats_what_was_asked_for() {
        let mut reader = Reader::new(0, place(1, 0), 1);
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
