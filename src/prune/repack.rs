//! Badly used packs, and many small ones: which are emptied, and emptying them.

use crate::id::ObjectId;
use crate::monitor::chain;
use crate::plan::words::Standing;
use crate::prune::Found;
use crate::prune::Result;
use crate::prune::Step;
use crate::prune::There;
use crate::prune::Unused;
use crate::prune::moving::Load;
use crate::prune::picture::Picture;
use crate::prune::picture::Usage;
use crate::prune::run::Run;
use crate::prune::run::View;
use std::collections::HashSet;

/// Encoded bytes below which a pack is a small one: half a metadata pack, an eighth of a data pack.
const SMALL_BYTES: u64 = 4 << 20;
/// So many small ones may stay. Every backup leaves two.
const SMALL_MAX: usize = 32;
/// A mark of another machine that is older than this and the grace period is not coming back.
const FORSAKEN_SECS: i64 = 30 * 24 * 3600;

impl Run<'_> {
    /// Where the space goes.
    pub(super) fn found(&self, view: &View, picture: &Picture, marked: &[ObjectId]) -> Found {
        let garbage: Vec<&There> = marked.iter().filter_map(|pack| view.listed.get(pack)).collect();
        let partly = picture.usages.iter().zip(&picture.standings);
        let partly = partly.filter(|(usage, standing)| usage.chunks > 0 && standing.is_some());
        Found {
            packs: view.listed.len() as u64,
            bytes: view.listed.values().map(|there| there.len).sum(),
            needed_bytes: picture.needed_bytes(),
            unused_bytes: partly.map(|(usage, _)| usage.unused()).sum(),
            garbage_packs: garbage.len() as u64,
            garbage_bytes: garbage.iter().map(|there| there.len).sum(),
            young_packs: view.listed.values().filter(|there| self.is_young(there)).count() as u64,
        }
    }

    /// Packs that are to be emptied: those that somebody marked who never came back; badly used ones, the worst first, until what
    /// stays unused is little enough; and small ones, if they are many.
    pub(super) async fn to_empty(&self, view: &View, picture: &Picture) -> Result<HashSet<usize>> {
        let lines = self.lines.as_ref().expect("the index was loaded");
        let forsaken = self.forsaken(view).await?;
        let allowed = match self.options.max_unused {
            Unused::Percent(percent) => (picture.needed_bytes() as f64 * percent / 100.0) as u64,
            Unused::Bytes(bytes) => bytes,
            Unused::Unlimited => u64::MAX,
        };
        let mine: HashSet<ObjectId> =
            view.words.mark_of(view.me).into_iter().flat_map(|named| &named.ids).copied().collect();
        let mut unused = 0;
        let mut candidates = Vec::new();
        for (number, usage) in picture.usages.iter().enumerate() {
            let pack = lines.packs[number].pack;
            let Some(there) = view.listed.get(&pack).filter(|_| usage.chunks > 0) else { continue };
            unused += usage.unused();
            let is_free = picture.standings[number] == Some(Standing::Free) || mine.contains(&pack);
            let is_damaged = view.words.damaged().contains(&pack);
            let is_worth_it = usage.unused() > 0 || usage.all < SMALL_BYTES;
            let is_movable = is_free && is_worth_it && !self.is_young(there);
            if !is_damaged && (forsaken.contains(&pack) || is_movable) {
                candidates.push((forsaken.contains(&pack), number, *usage));
            }
        }
        // The share that is used, lowest first.
        candidates
            .sort_by_key(|(is_forsaken, _, usage)| (!is_forsaken, usage.home.saturating_mul(1000) / usage.all.max(1)));
        let (mut emptied, mut moved) = (HashSet::new(), 0);
        let mut small = Vec::new();
        let fits =
            |moved: u64, usage: &Usage| self.options.max_repack_bytes.is_none_or(|max| moved + usage.home <= max);
        for (is_forsaken, number, usage) in candidates {
            let is_due = is_forsaken || unused > allowed && usage.unused() > 0;
            if is_due && fits(moved, &usage) {
                emptied.insert(number);
                unused -= usage.unused();
                moved += usage.home;
            } else if usage.all < SMALL_BYTES {
                small.push((number, usage));
            }
        }
        if small.len() > SMALL_MAX && self.options.max_unused != Unused::Unlimited {
            for (number, usage) in small {
                if fits(moved, &usage) {
                    emptied.insert(number);
                    moved += usage.home;
                }
            }
        }
        Ok(emptied)
    }

    /// Packs in marks of other machines that are so old that nobody will come to sweep them or to let them go.
    async fn forsaken(&self, view: &View) -> Result<HashSet<ObjectId>> {
        let mut forsaken = HashSet::new();
        for (writer, named) in view.words.marks().filter(|(writer, _)| *writer != view.me) {
            if !named.ids.iter().any(|pack| view.listed.contains_key(pack)) {
                continue;
            }
            let ripe = self.ripe_secs(writer, named.seq).await?;
            if ripe.is_some_and(|ripe| ripe.saturating_add(FORSAKEN_SECS) < self.options.now.secs) {
                forsaken.extend(&named.ids);
            }
        }
        Ok(forsaken)
    }

    /// Moves what is at home in these packs. Returns those of which something cannot be read.
    pub(super) async fn empty(&mut self, picture: &Picture, emptied: &HashSet<usize>) -> Result<Vec<ObjectId>> {
        let (lines, needed) = (self.lines.as_ref().expect("loaded"), self.needed.as_ref().expect("walked"));
        let mut load = Load::new(&self.scratch);
        if emptied.is_empty() {
            return Ok(Vec::new());
        }
        picture.empty(lines, needed, emptied, |row| load.push(row))?;
        let (packs, chunks, bytes) = (emptied.len() as u64, load.chunks, load.bytes);
        // What is wanted of a pack comes by a few requests; new packs and their index are written.
        let requests = packs + bytes.div_ceil(4 << 20) + bytes.div_ceil(32 << 20) + 1;
        (self.tell)(Step::Move { packs, chunks, bytes, requests });
        if self.options.dry_run {
            return Ok(Vec::new());
        }
        let moved = load.carry(self.repo, &self.chunks, lines, self.monitor).await?;
        self.report.stored_bytes += moved.bytes_stored;
        self.report.unread.extend(moved.bad.iter().map(|(pack, e)| (*pack, chain(e))));
        Ok(moved.bad.into_keys().collect())
    }
}
