//! A search over all snapshots: runs of the catalogue merged path by path, in the order of the tree.
//!
//! Memory: one open part for each run. What is found is told as it comes.

use crate::format::page::compare_keys;
use crate::format::record::Snapshot;
use crate::history::catalogue::Catalogue;
use crate::history::catalogue::Result;
use crate::history::run::Entry;
use crate::history::run::Info;
use crate::history::run::PartReader;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::path;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::HashMap;

/// What stood at one path in the snapshots of one host and its sources.
#[derive(Debug, Clone)]
pub struct Hit<'a> {
    /// The path.
    pub path: Vec<u8>,
    /// What stood there last.
    pub info: Info,
    /// The oldest snapshot that has it.
    pub first: &'a Snapshot,
    /// The newest snapshot that has it.
    pub last: &'a Snapshot,
    /// In how many snapshots it is.
    pub snapshots: u64,
    /// How many different contents it had in them.
    pub versions: u64,
    /// True if the newest snapshot that is of interest does not have it.
    pub is_deleted: bool,
}

/// What is asked for.
pub struct Search<'a> {
    /// Snapshots of interest, oldest first.
    pub snapshots: &'a [&'a Snapshot],
    /// Which paths, by folder and name.
    pub names: &'a dyn Fn(&[u8], &[u8]) -> bool,
    /// Which of what stands there.
    pub infos: &'a dyn Fn(&Info) -> bool,
}

/// Tells everything that is found to `tell`, in the order of the tree, until that fails. Snapshots that are not in the
/// catalogue are not searched.
pub fn find<'a, E: From<crate::history::CatalogueError>>(
    catalogue: &Catalogue,
    search: &Search<'a>,
    tell: &mut dyn FnMut(Hit<'a>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut chains = Vec::new();
    let mut heap = BinaryHeap::new();
    for (name, members) in catalogue.chains(search.snapshots) {
        let rows = catalogue.rows(&name)?;
        let runs: Vec<ObjectId> = rows.iter().map(|row| row.run).collect();
        let chain = Chain::new(rows.iter().map(|row| row.id), &members);
        // Behind the last snapshot of interest nothing matters.
        let end = chain.before.iter().position(|count| *count == chain.total()).unwrap_or(0);
        for (position, run) in runs.into_iter().enumerate().take(end) {
            let mut reader = RunReader { run, next_part: 0, part: None };
            if let Some(entry) = reader.next(catalogue, search)? {
                heap.push(Head { entry, chain: chains.len(), position, reader });
            }
        }
        chains.push(chain);
    }
    let mut open: Vec<(usize, usize, Option<Info>)> = Vec::new();
    while let Some(mut head) = heap.pop() {
        let (parent, name) = (head.entry.parent.clone(), head.entry.name.clone());
        open.push((head.chain, head.position, head.entry.info));
        if let Some(entry) = head.reader.next(catalogue, search)? {
            heap.push(Head { entry, ..head });
        }
        let goes_on = heap.peek().is_some_and(|next| next.entry.name == name && next.entry.parent == parent);
        if goes_on {
            continue;
        }
        let full_path = path::join(&parent, &name);
        for group in open.chunk_by(|a, b| a.0 == b.0) {
            if let Some(hit) = chains[group[0].0].resolve(&full_path, group, search.infos) {
                tell(hit)?;
            }
        }
        open.clear();
    }
    Ok(())
}

/// The snapshots of one chain, by position.
struct Chain<'a> {
    /// Which snapshot of interest stands there.
    at: Vec<Option<&'a Snapshot>>,
    /// How many snapshots of interest stand before each position, and before the end.
    before: Vec<usize>,
    /// The positions of the snapshots of interest.
    positions: Vec<usize>,
}

impl<'a> Chain<'a> {
    fn new(rows: impl Iterator<Item = SnapshotId>, members: &[&'a Snapshot]) -> Chain<'a> {
        let by_id: HashMap<SnapshotId, &Snapshot> = members.iter().map(|snapshot| (snapshot.id, *snapshot)).collect();
        let at: Vec<Option<&Snapshot>> = rows.map(|id| by_id.get(&id).copied()).collect();
        let mut before = vec![0];
        let mut positions = Vec::new();
        for (position, snapshot) in at.iter().enumerate() {
            if snapshot.is_some() {
                positions.push(position);
            }
            before.push(positions.len());
        }
        Chain { at, before, positions }
    }

    fn total(&self) -> usize {
        self.positions.len()
    }

    /// What the records of a path mean, given in the order of their positions.
    fn resolve(
        &self,
        full_path: &[u8],
        records: &[(usize, usize, Option<Info>)],
        wanted: &dyn Fn(&Info) -> bool,
    ) -> Option<Hit<'a>> {
        let mut hit: Option<Hit<'a>> = None;
        let mut contents = Vec::new();
        let mut is_last_there = false;
        for (i, (_, position, info)) in records.iter().enumerate() {
            let end = records.get(i + 1).map_or(self.at.len(), |next| next.1);
            let within = &self.positions[self.before[*position]..self.before[end]];
            let (Some(first), Some(last)) = (within.first(), within.last()) else { continue };
            let (Some(first), Some(last)) = (self.at[*first], self.at[*last]) else { continue };
            is_last_there = self.before[end] == self.total() && info.is_some();
            let Some(info) = info.filter(|info| wanted(info)) else { continue };
            contents.push((info.kind as u8, info.size, info.content));
            let path = || full_path.to_vec();
            let hit = hit.get_or_insert_with(|| Hit {
                path: path(),
                info,
                first,
                last,
                snapshots: 0,
                versions: 0,
                is_deleted: false,
            });
            // Snapshots are added in the order of time, unless a late one came from elsewhere.
            let time = |snapshot: &Snapshot| (snapshot.time, snapshot.id);
            if time(first) < time(hit.first) {
                hit.first = first;
            }
            if time(last) >= time(hit.last) {
                (hit.last, hit.info) = (last, info);
            }
            hit.snapshots += within.len() as u64;
        }
        if let Some(hit) = &mut hit {
            contents.sort_unstable();
            contents.dedup();
            hit.versions = contents.len() as u64;
            hit.is_deleted = !is_last_there;
        }
        hit
    }
}

/// Reads the records of one run that are wanted.
struct RunReader {
    run: ObjectId,
    next_part: u32,
    part: Option<PartReader>,
}

impl RunReader {
    fn next(&mut self, catalogue: &Catalogue, search: &Search<'_>) -> Result<Option<Entry>> {
        loop {
            if let Some(part) = &mut self.part
                && let Some(entry) = part.next(search.names)?
            {
                return Ok(Some(entry));
            }
            self.part = catalogue.part(self.run, self.next_part)?;
            if self.part.is_none() {
                return Ok(None);
            }
            self.next_part += 1;
        }
    }
}

/// The next record of a run. The greatest comes first: smallest path, then chain and position.
struct Head {
    entry: Entry,
    chain: usize,
    position: usize,
    reader: RunReader,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        let (a, b) = (&self.entry, &other.entry);
        compare_keys(&b.parent, &b.name, &a.parent, &a.name)
            .then_with(|| (other.chain, other.position).cmp(&(self.chain, self.position)))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
