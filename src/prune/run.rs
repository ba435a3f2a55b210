//! The steps of a prune, one after the other.

use crate::format::index::IndexedPack;
use crate::format::record::Event;
use crate::format::record::Snapshot;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::monitor::Monitor;
use crate::monitor::chain;
use crate::plan::prune::Next;
use crate::plan::prune::marked_snapshots;
use crate::plan::prune::next;
use crate::plan::prune::to_mark;
use crate::plan::prune::to_remove;
use crate::plan::prune::to_sweep;
use crate::plan::words::Words;
use crate::prune::Error;
use crate::prune::Listed;
use crate::prune::Options;
use crate::prune::Report;
use crate::prune::Result;
use crate::prune::Step;
use crate::prune::There;
use crate::prune::compact::compact;
use crate::prune::compact::directories;
use crate::prune::lines::Lines;
use crate::prune::list;
use crate::prune::moving::Load;
use crate::prune::moving::Moved;
use crate::prune::needed::Needed;
use crate::prune::needed::Walk;
use crate::prune::picture::Picture;
use crate::prune::removal::Removal;
use crate::prune::sorted::Scratch;
use crate::repo::Author;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Log;
use crate::repo::LogProblem;
use crate::repo::Repo;
use crate::repo::pack_name;
use crate::store::ErrorKind;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

/// Memory for pages and for what is moved.
const CHUNKS_MEMORY_BYTES: usize = 48 << 20;
/// A pack younger than this may belong to a backup that still runs. A shorter grace period means that nobody else is there.
const YOUNG_SECS_MAX: u64 = 24 * 3600;
/// An unfinished snapshot is kept for whoever goes on from it.
const UNFINISHED_SECS: i64 = 7 * 24 * 3600;
/// Packs of one mark: every record of this chain repeats it until the next checkpoint.
const MARKED_MAX: usize = 50_000;
/// Rounds of deciding, when others keep coming in between, and of mark and sweep without a grace period.
const ROUNDS_MAX: usize = 50;

pub(super) struct Run<'a> {
    pub(super) repo: &'a Repo,
    pub(super) author: Author<'a>,
    pub(super) options: &'a Options,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) tell: &'a (dyn Fn(Step) + Sync),
    pub(super) scratch: Scratch,
    pub(super) chunks: Arc<Chunks>,
    /// What was read last, to be used again where it is still true.
    pub(super) lines: Option<Lines>,
    pub(super) needed: Option<Needed>,
    pub(super) report: Report,
    /// Packs and snapshots that would be gone by now if this were not a dry run.
    going: HashSet<ObjectId>,
}

/// What a decision is based on: the log first, then packs.
pub(super) struct View {
    log: Log,
    pub(super) words: Words,
    pub(super) me: WriterId,
    pub(super) listed: Listed,
}

impl View {
    fn is_there(&self) -> impl Fn(ObjectId) -> bool + '_ {
        |pack| self.listed.contains_key(&pack)
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        repo: &'a Repo,
        author: Author<'a>,
        options: &'a Options,
        monitor: &'a dyn Monitor,
        tell: &'a (dyn Fn(Step) + Sync),
    ) -> Result<Run<'a>> {
        let scratch = Scratch { folder: options.scratch.clone(), memory_bytes: options.memory_bytes };
        let chunks = Chunks::new(repo, &ChunksOptions { memory_bytes: CHUNKS_MEMORY_BYTES });
        let needed = Some(Needed::nothing(&scratch)?);
        let (report, going) = (Report::default(), HashSet::new());
        Ok(Run { repo, author, options, monitor, tell, scratch, chunks, lines: None, needed, report, going })
    }

    pub(super) async fn go(mut self) -> Result<Report> {
        for _ in 0..ROUNDS_MAX {
            let view = self.look().await?;
            self.report.before_bytes.get_or_insert_with(|| view.listed.values().map(|there| there.len).sum());
            let goes_on = match next(&view.words, view.me, view.is_there()) {
                Next::Finish(_) if self.options.dry_run => self.mark().await?,
                Next::Finish(_) => {
                    self.finish().await?;
                    self.tidy_and_mark().await?
                }
                Next::Ripen { seq } => match self.ripe_secs(view.me, seq).await? {
                    Some(ripe) if ripe > self.options.now.secs => {
                        self.report_mark(&view, ripe);
                        false
                    }
                    Some(_) => self.sweep(view).await?,
                    // Nobody knows how old it is: it is said again.
                    None => self.tidy_and_mark().await?,
                },
                Next::Mark => self.tidy_and_mark().await?,
            };
            if !goes_on {
                return Ok(self.report);
            }
        }
        Err(Error::Busy)
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.monitor.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Reads the log, of which no record that has a second copy may be missing, then lists the packs.
    async fn look(&self) -> Result<View> {
        self.check_cancelled()?;
        let copied = Log::ends_of_copies(self.repo).await?;
        let mut log = Log::read(self.repo).await?;
        log.check_heads(self.author.state)?;
        if log.has_unknown_events() {
            return Err(Error::UnknownEvents);
        }
        if let (Some((writer, seq)), false) = (log.unseen(), self.options.despite_log) {
            let problem = format!("others have seen record {seq} of writer {writer}, and it is not there");
            return Err(Error::LogDamaged { problem });
        }
        // What is read from a second copy is known.
        let is_gap = |problem: &LogProblem| !matches!(problem, LogProblem::Copied { .. });
        if !self.options.despite_log && log.problems.iter().any(is_gap) {
            // Nor is what only a second copy tells of: whoever appends does not see it.
            let told = log.with_copies(self.repo, self.author.state).await?.problems;
            let problem = told.iter().find(|problem| is_gap(problem)).or(told.first()).map(|problem| chain(problem));
            return Err(Error::LogDamaged { problem: problem.unwrap_or_default() });
        }
        if let (Some((writer, seq)), false) = (log.behind(&copied), self.options.despite_log) {
            let problem = format!("record {seq} of writer {writer} is gone, and only its second copy is left");
            return Err(Error::LogDamaged { problem });
        }
        let words = log.words();
        let me = self.author.state.writer(self.author.machine).map_err(crate::repo::Error::from)?;
        // A chain that does not exist has said nothing.
        let me = me.unwrap_or(WriterId([0; 16]));
        Ok(View { log, words, me, listed: list(self.repo).await? })
    }

    /// When this mark is ripe; nothing if its record is gone.
    pub(super) async fn ripe_secs(&self, writer: WriterId, seq: u64) -> Result<Option<i64>> {
        match self.options.grace_secs {
            0 => Ok(Some(i64::MIN)),
            grace => self.ripe_secs_after(writer, seq, grace).await,
        }
    }

    /// So many seconds after the store took a record; nothing if it is gone.
    async fn ripe_secs_after(&self, writer: WriterId, seq: u64, secs: u64) -> Result<Option<i64>> {
        match Log::stored_secs(self.repo, writer, seq).await {
            Ok(stored) => Ok(Some(stored.saturating_add_unsigned(secs))),
            Err(crate::repo::Error::Store(e)) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn is_young(&self, there: &There) -> bool {
        let young = self.options.grace_secs.min(YOUNG_SECS_MAX);
        young > 0 && there.modified_secs.saturating_add_unsigned(young) > self.options.now.secs
    }

    /// Takes the place of what was read of the index before, if that is not true any more.
    async fn load(&mut self) -> Result<()> {
        self.lines = Some(match self.lines.take() {
            Some(lines) => lines.reload(self.repo, &self.scratch).await?,
            None => Lines::load(self.repo, &self.scratch).await?,
        });
        Ok(())
    }

    /// What these snapshots need, and unfinished ones that somebody may go on with; and where it lies.
    async fn picture(&mut self, view: &View, held: BTreeSet<SnapshotId>) -> Result<Picture> {
        let lines = self.lines.as_ref().expect("the index was loaded");
        let mut unfinished = Vec::new();
        for (writer, seq, snapshot) in view.log.resumable() {
            let age = UNFINISHED_SECS.unsigned_abs();
            if self.ripe_secs_after(writer, seq, age).await?.is_some_and(|end| end > self.options.now.secs) {
                unfinished.push((snapshot, false));
            }
        }
        let whole = view.log.known_snapshots().into_iter().filter(|snapshot| held.contains(&snapshot.id));
        let mut snapshots: Vec<(&Snapshot, bool)> = whole.map(|snapshot| (snapshot, true)).chain(unfinished).collect();
        // A snapshot and the unfinished one of the same copy share an id.
        snapshots.sort_by_key(|(snapshot, is_whole)| (snapshot.id, !is_whole));
        snapshots.dedup_by_key(|(snapshot, _)| snapshot.id);
        let walk =
            Walk { chunks: &self.chunks, lines, packs: &view.listed, scratch: &self.scratch, monitor: self.monitor };
        let needed = self.needed.take();
        let needed = needed.map_or_else(|| Needed::nothing(&self.scratch), Ok)?.of(&snapshots, &walk).await?;
        let picture = Picture::take(lines, &needed, &view.listed, &view.words)?;
        self.needed = Some(needed);
        Ok(picture)
    }

    /// Sweeps what is ripe; true if there is more to do.
    async fn sweep(&mut self, view: View) -> Result<bool> {
        self.load().await?;
        let marked = marked_snapshots(&view.words, view.me);
        let held = view.words.held(|id| marked.contains(&id)).collect();
        let picture = self.picture(&view, held).await?;
        let homes = picture.homes(self.lines.as_ref().expect("the index was loaded"));
        let Some(swept) = to_sweep(&view.words, view.me, &homes, view.is_there()) else {
            return self.mark().await;
        };
        if self.options.dry_run {
            let going: Vec<&There> = swept.iter().filter_map(|id| view.listed.get(id)).collect();
            self.report.removed_packs = going.len() as u64;
            self.report.removed_bytes = going.iter().map(|there| there.len).sum();
            self.going = swept.into_iter().collect();
            return self.mark().await;
        }
        let event = Event::Sweep(swept);
        let appended = Log::append_if_unmoved(self.repo, self.author, self.options.now, event, &view.log).await?;
        if appended.is_some() {
            self.finish().await?;
            return self.tidy_and_mark().await;
        }
        Ok(true)
    }

    /// Checks again what is needed of swept packs, copies it out, and removes them.
    async fn finish(&mut self) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let view = self.look().await?;
            let going = to_remove(&view.words, view.me, view.is_there());
            self.load().await?;
            let lines = self.lines.take().expect("the index was loaded");
            let untold = going.iter().filter(|pack| lines.number(**pack).is_none());
            let untold: Vec<IndexedPack> =
                untold.map(|pack| IndexedPack { pack: *pack, len: view.listed[pack].len }).collect();
            let said = directories(self.repo, &untold).await?;
            let silent = untold.iter().find(|pack| !said.packs.contains(pack)).copied();
            self.lines = Some(lines.with(&self.scratch, &[said])?);
            let held = view.words.held(|_| false).collect();
            let picture = self.picture(&view, held).await?;
            if let Some(pack) = silent.filter(|_| picture.lost_count > 0) {
                // What nobody finds may be in it.
                return Err(Error::Silent { pack: pack.pack });
            }
            if self.rescue(&picture).await? {
                return self.remove(&view, &going).await;
            }
        }
        Err(Error::Busy)
    }

    /// False if somebody else has rescued it and removed the packs meanwhile.
    async fn rescue(&mut self, picture: &Picture) -> Result<bool> {
        let (lines, needed) = (self.lines.as_ref().expect("loaded"), self.needed.as_ref().expect("walked"));
        let mut load = Load::new(&self.scratch);
        picture.rescue(lines, needed, |row| load.push(row))?;
        if load.chunks == 0 {
            return Ok(true);
        }
        (self.tell)(Step::Rescue { chunks: load.chunks, bytes: load.bytes });
        let moved = load.carry(self.repo, &self.chunks, lines, self.monitor).await?;
        self.report.stored_bytes += moved.bytes_stored;
        let Moved { mut bad, stuck, .. } = moved;
        let Some((pack, source)) = stuck.into_iter().find_map(|pack| bad.remove_entry(&pack)) else { return Ok(true) };
        match self.repo.store().head(&pack_name(pack)).await {
            Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
            _ => Err(Error::NotRescued { pack, source }),
        }
    }

    async fn remove(&mut self, view: &View, going: &[ObjectId]) -> Result<()> {
        let bytes = going.iter().map(|pack| view.listed[pack].len).sum();
        if !going.is_empty() {
            let removal = Removal::of(self.repo, &view.listed, going).await?;
            (self.tell)(Step::Remove { packs: going.len() as u64, bytes, requests: removal.requests() });
            self.check_cancelled()?;
            removal.run(self.repo, self.monitor).await?;
        }
        self.report.removed_packs += going.len() as u64;
        self.report.removed_bytes += bytes;
        Ok(())
    }

    /// Tidies the index, then marks what is garbage now; true if there is more to do.
    async fn tidy_and_mark(&mut self) -> Result<bool> {
        if self.options.dry_run {
            return self.mark().await;
        }
        self.load().await?;
        // The index was listed before the packs are: what it names and is not there was removed.
        let listed = list(self.repo).await?;
        let lines = self.lines.as_ref().expect("the index was loaded");
        let left = |pack: ObjectId| listed.get(&pack).is_some_and(|there| self.is_young(there));
        match compact(self.repo, lines, &listed, left).await {
            Ok(done) => {
                self.report.index_removed += done.removed;
                self.report.index_stored += done.stored;
            }
            // What is marked first makes room for it.
            Err(error) if error.is_full() => tracing::warn!("No room to tidy the index: that waits for another prune"),
            Err(error) => return Err(error),
        }
        self.mark().await
    }

    /// Marks what nothing needs, and what was emptied; true if it can be swept at once, or others came in between.
    async fn mark(&mut self) -> Result<bool> {
        let view = self.look().await?;
        if let Next::Ripen { seq } = next(&view.words, view.me, view.is_there())
            && let Some(ripe) = self.ripe_secs(view.me, seq).await?.filter(|ripe| *ripe > self.options.now.secs)
        {
            // Another prune of this machine was faster.
            self.report_mark(&view, ripe);
            return Ok(false);
        }
        self.load().await?;
        let picture = self.picture(&view, view.words.wanted().collect()).await?;
        let lines = self.lines.as_ref().expect("the index was loaded");
        let homes = picture.homes(lines);
        let named = view.listed.iter().filter(|(pack, _)| lines.number(**pack).is_some());
        let marked = to_mark(&view.words, &homes, named.map(|(pack, there)| (*pack, self.is_young(there))));
        let found = self.found(&view, &picture, &marked);
        let is_news = self.report.found.replace(found) != Some(found);
        (self.report.lost_count, self.report.lost) = (picture.lost_count, picture.lost.clone());
        if is_news {
            (self.tell)(Step::Found(found));
        }
        let mut emptied = self.to_empty(&view, &picture).await?;
        let bad = match self.empty(&picture, &emptied).await {
            // What needs not be moved can go all the same.
            Err(error) if error.is_full() && !marked.is_empty() => {
                tracing::warn!("No room to move what is needed of badly used packs: that waits for another prune");
                emptied.clear();
                Vec::new()
            }
            moved => moved?,
        };
        if !bad.is_empty() {
            // They are no home any more, so all has to be looked at again.
            Log::note_damage(self.repo, self.author, self.options.now, &bad, &[]).await?;
            return Ok(true);
        }
        let lines = self.lines.as_ref().expect("the index was loaded");
        let is_snapshot = |id: &ObjectId| view.words.knows(SnapshotId(id.0));
        let is_left = |id: &ObjectId| !self.going.contains(id);
        let (snapshots, garbage): (Vec<_>, Vec<_>) = marked.into_iter().filter(is_left).partition(is_snapshot);
        let mut packs: Vec<ObjectId> = emptied.iter().map(|number| lines.packs[*number].pack).chain(garbage).collect();
        packs.truncate(MARKED_MAX);
        self.report.marked_snapshots = snapshots.len() as u64;
        self.report.marked_packs = packs.len() as u64;
        self.report.marked_bytes = packs.iter().filter_map(|pack| view.listed.get(pack)).map(|there| there.len).sum();
        let marked = [packs, snapshots].concat();
        let was_empty = view.words.mark_of(view.me).is_none_or(|named| named.ids.is_empty());
        if marked.is_empty() && was_empty || self.options.dry_run {
            self.report.ripe_secs = None;
            return Ok(false);
        }
        let (is_empty, event) = (marked.is_empty(), Event::Mark(marked));
        let appended = Log::append_if_unmoved(self.repo, self.author, self.options.now, event, &view.log).await?;
        let ripe = self.options.now.secs.saturating_add_unsigned(self.options.grace_secs);
        self.report.ripe_secs = (!is_empty).then_some(ripe);
        Ok(appended.is_none() || !is_empty && self.options.grace_secs == 0)
    }

    /// Tells of a mark that is not ripe yet.
    fn report_mark(&mut self, view: &View, ripe: i64) {
        let ids = view.words.mark_of(view.me).map(|named| named.ids.as_slice()).unwrap_or_default();
        let packs: Vec<&There> = ids.iter().filter_map(|id| view.listed.get(id)).collect();
        self.report.marked_packs = packs.len() as u64;
        self.report.marked_bytes = packs.iter().map(|there| there.len).sum();
        self.report.marked_snapshots = marked_snapshots(&view.words, view.me).len() as u64;
        self.report.ripe_secs = Some(ripe);
    }
}
