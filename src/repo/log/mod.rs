//! The log of a repository: reading all chains with two requests each, and appending to one's own.

mod append;
mod chain;
mod damage;
mod said;
#[cfg(test)]
mod tests;
mod wishes;

use crate::format::record::Event;
use crate::format::record::Seen;
use crate::format::record::Snapshot;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copy_name;
use crate::repo::log::chain::ChainRead;
use crate::repo::log::chain::numbers;
use crate::repo::log::chain::read_chain;
use crate::state::Head;
use crate::state::SeenSnapshot;
use crate::state::State;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

pub use append::Author;
pub(crate) use chain::RawLog;

/// Highest number of a record: ten digits.
const SEQ_MAX: u64 = 9_999_999_999;

/// Something about the log that should not be so. The rest of the log is used all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogProblem {
    /// A record cannot be read.
    #[error("record '{name}' cannot be read")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Error,
    },
    /// A record is gone or damaged, and its second copy takes its place.
    #[error("record '{name}' cannot be read; its second copy can: 'bygone repair' puts it back")]
    Copied {
        /// Its name.
        name: String,
        /// What is wrong with the first.
        #[source]
        source: Error,
    },
    /// A chain has a gap. One is told, however wide: a stray name must not fill the memory.
    #[error(
        "the log of writer {writer} has a gap ({count} missing from {seq} on): records were removed, or the store lost them"
    )]
    Missing {
        /// Whose chain.
        writer: WriterId,
        /// The first record that is missing.
        seq: u64,
        /// How many are missing in a row.
        count: u64,
    },
    /// A record that this machine has seen is gone or another one: the repository was rolled back.
    #[error(
        "the log of writer {writer} ends before record {seq}, which this machine has seen: the repository was rolled back{}",
        named(lost)
    )]
    RolledBack {
        /// Whose chain.
        writer: WriterId,
        /// Newest record seen.
        seq: u64,
        /// The snapshots that are gone with it, as far as this machine has seen them.
        lost: Vec<SeenSnapshot>,
    },
    /// The newest record that this machine has seen is another one now.
    #[error("record {seq} of writer {writer} is not the one this machine has seen: it was replaced{}", named(lost))]
    Replaced {
        /// Whose chain.
        writer: WriterId,
        /// Which record.
        seq: u64,
        /// The snapshots that are gone with it.
        lost: Vec<SeenSnapshot>,
    },
}

/// Lost snapshots, the newest first, as far as people read them.
fn named(lost: &[SeenSnapshot]) -> String {
    const NAMED_MAX: usize = 5;
    let mut text = String::new();
    for (number, SeenSnapshot { id, secs, host, .. }) in lost.iter().rev().take(NAMED_MAX).enumerate() {
        let begin = if number == 0 { "; gone with it: snapshot" } else { "," };
        let time = jiff::Timestamp::from_second(*secs).unwrap_or_default();
        text += &format!("{begin} {:.8} of {host} at {time}", id.to_string());
    }
    if lost.len() > NAMED_MAX {
        text += &format!(" and {} more", lost.len() - NAMED_MAX);
    }
    text
}

#[derive(Debug, Clone, Default)]
struct Chain {
    /// Number of the newest record the store lists.
    last: u64,
    /// Newest record that was read, with its hash.
    head: Option<(u64, [u8; 32])>,
    events: BTreeMap<u64, Event>,
    /// What the newest record that was read has seen of others.
    seen: Vec<Seen>,
}

/// The log as it was when it was read.
#[derive(Debug, Default)]
pub struct Log {
    chains: BTreeMap<WriterId, Chain>,
    root_pages: HashMap<SnapshotId, Vec<u8>>,
    /// Snapshots that are called otherwise than their records say.
    amended: HashMap<SnapshotId, Snapshot>,
    /// What is wrong with it.
    pub problems: Vec<LogProblem>,
}

/// The snapshots of a record, to be remembered.
fn seen_in(writer: WriterId, seq: u64, event: &Event) -> Vec<SeenSnapshot> {
    let seen = |part: &Event| match part {
        Event::Snapshot(s) => Some(SeenSnapshot { id: s.id, writer, seq, secs: s.time.secs, host: s.host.clone() }),
        _ => None,
    };
    event.parts().iter().filter_map(seen).collect()
}

fn record_name(writer: WriterId, seq: u64) -> String {
    format!("log/{writer}/{seq:010}")
}

impl Log {
    /// Reads the log: one listing, then the newest record of each chain and its checkpoint, all at once.
    pub async fn read(repo: &Repo) -> Result<Log> {
        let mut raw = RawLog::list(repo.store()).await?;
        raw.fetch_heads(repo.store()).await;
        Log::from_raw(repo, raw).await
    }

    /// The number of the newest record of each chain.
    pub fn ends(&self) -> BTreeMap<WriterId, u64> {
        self.chains.iter().map(|(writer, chain)| (*writer, chain.last)).collect()
    }

    /// Reads the log unless its chains still end there: then one request tells so.
    pub async fn read_if_moved(repo: &Repo, ends: &BTreeMap<WriterId, u64>) -> Result<Option<Log>> {
        let mut raw = RawLog::list(repo.store()).await?;
        let listed = raw.numbers.iter().filter_map(|(writer, seqs)| Some((*writer, *seqs.last()?)));
        if listed.eq(ends.iter().map(|(writer, seq)| (*writer, *seq))) {
            return Ok(None);
        }
        raw.fetch_heads(repo.store()).await;
        Log::from_raw(repo, raw).await.map(Some)
    }

    /// Reads the log again with the records of which only second copies are left, if records are gone. That they are gone is told all the
    /// same; that the repository was rolled back is not, where a second copy is the very record that this machine has seen.
    pub async fn with_copies(self, repo: &Repo, state: &State) -> Result<Log> {
        if !self.has_gaps() {
            return Ok(self);
        }
        let mut whole = Log::read_with_copies(repo).await?;
        let known = state.heads().unwrap_or_default();
        let is_there = |writer: WriterId, seq: u64| match whole.chains.get(&writer).and_then(|chain| chain.head) {
            Some((last, hash)) => last > seq || last == seq && known.contains(&Head { writer, seq, hash }),
            None => false,
        };
        let is_told = |problem: &LogProblem| match problem {
            LogProblem::RolledBack { writer, seq, .. } => !is_there(*writer, *seq),
            _ => true,
        };
        let mut problems: Vec<LogProblem> = self.problems.into_iter().filter(is_told).collect();
        let told: HashSet<String> = problems.iter().map(ToString::to_string).collect();
        problems.extend(whole.problems.drain(..).filter(|problem| !told.contains(&problem.to_string())));
        Ok(Log { problems, ..whole })
    }

    /// The number of the newest record of each chain that has a second copy. A log that is read after this has them all: first
    /// copies are stored first.
    pub async fn ends_of_copies(repo: &Repo) -> Result<BTreeMap<WriterId, u64>> {
        let copies = Log::copies(repo).await?;
        Ok(copies.into_iter().filter_map(|(writer, seqs)| Some((writer, *seqs.last()?))).collect())
    }

    async fn copies(repo: &Repo) -> Result<BTreeMap<WriterId, BTreeSet<u64>>> {
        Ok(numbers(&repo.store().list(&copy_name("log")).await?))
    }

    async fn read_with_copies(repo: &Repo) -> Result<Log> {
        let mut raw = RawLog::list(repo.store()).await?;
        for (writer, seqs) in Log::copies(repo).await? {
            raw.numbers.entry(writer).or_default().extend(seqs);
        }
        raw.fetch_heads(repo.store()).await;
        Log::from_raw(repo, raw).await
    }

    /// True if records that this machine or other records know of are not there.
    fn has_gaps(&self) -> bool {
        let is_gap = |p: &LogProblem| matches!(p, LogProblem::RolledBack { .. } | LogProblem::Missing { .. });
        self.problems.iter().any(is_gap)
    }

    /// Makes sense of what was fetched before the key was known.
    pub(crate) async fn from_raw(repo: &Repo, raw: RawLog) -> Result<Log> {
        let RawLog { numbers, records } = raw;
        let records = Arc::new(Mutex::new(records));
        let reads = numbers.into_iter().map(|(writer, seqs)| read_chain(repo, records.clone(), writer, seqs));
        let mut log = Log::default();
        for (writer, read) in join_all(reads).await {
            let ChainRead { chain, root_pages, problems, transient, .. } = read;
            if let Some(error) = transient {
                return Err(error);
            }
            log.chains.insert(writer, chain);
            log.root_pages.extend(root_pages);
            log.problems.extend(problems);
        }
        log.amended = log.amended();
        Ok(log)
    }

    /// Compares with what this machine has seen before, reports what went backwards, and remembers the rest.
    pub fn check_heads(&mut self, state: &State) -> Result<()> {
        let there: HashSet<SnapshotId> = self.snapshots_where(|_| true).iter().map(|snapshot| snapshot.id).collect();
        let lost = |writer, from_seq| -> Result<Vec<SeenSnapshot>> {
            Ok(state.seen(writer, from_seq)?.into_iter().filter(|seen| !there.contains(&seen.id)).collect())
        };
        let mut problems = Vec::new();
        for Head { writer, seq, hash } in state.heads()? {
            match self.chains.get(&writer) {
                Some(chain) if chain.last == seq => {
                    if chain.head.is_some_and(|(s, h)| s == seq && h != hash) {
                        problems.push(LogProblem::Replaced { writer, seq, lost: lost(writer, seq)? });
                    }
                }
                Some(chain) if chain.last > seq => {}
                chain => {
                    let from_seq = chain.map_or(0, |chain| chain.last + 1);
                    problems.push(LogProblem::RolledBack { writer, seq, lost: lost(writer, from_seq)? });
                }
            }
        }
        self.problems.append(&mut problems);
        for (writer, chain) in &self.chains {
            if let Some((seq, hash)) = chain.head {
                state.remember(Head { writer: *writer, seq, hash })?;
            }
            let newest = state.newest_seen(*writer)?;
            let fresh = chain.events.iter().filter(|(seq, _)| Some(**seq) > newest);
            let fresh: Vec<_> = fresh.flat_map(|(seq, event)| seen_in(*writer, *seq, event)).collect();
            state.see(&fresh)?;
        }
        Ok(())
    }

    /// Takes what is there for all there ever was, as far as this machine remembers: the storage was put back from an older copy,
    /// and people know it.
    pub fn accept_heads(&mut self, state: &State) -> Result<()> {
        let heads = self.chains.iter().filter_map(|(writer, chain)| {
            let (seq, hash) = chain.head?;
            Some(Head { writer: *writer, seq, hash })
        });
        state.accept(&heads.collect::<Vec<_>>())?;
        self.problems.retain(|p| !matches!(p, LogProblem::RolledBack { .. } | LogProblem::Replaced { .. }));
        Ok(())
    }

    /// True if there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Everything the log says, writer by writer and one by one.
    pub fn events(&self) -> impl Iterator<Item = (WriterId, u64, &Event)> {
        let records =
            self.chains.iter().flat_map(|(writer, chain)| chain.events.iter().map(move |(seq, e)| (*writer, *seq, e)));
        records.flat_map(|(writer, seq, event)| event.parts().iter().map(move |part| (writer, seq, part)))
    }

    /// Snapshots that were not forgotten, oldest first, called as they are called now.
    pub fn snapshots(&self) -> Vec<&Snapshot> {
        let words = self.words();
        self.snapshots_where(|id| !words.is_forgotten(id))
    }

    /// Snapshots that were forgotten and can still be recalled, oldest first.
    pub fn recallable(&self) -> Vec<&Snapshot> {
        let recallable: HashSet<SnapshotId> = self.words().recallable().collect();
        self.snapshots_where(|id| recallable.contains(&id))
    }

    fn snapshots_where(&self, is_meant: impl Fn(SnapshotId) -> bool) -> Vec<&Snapshot> {
        let mut found: Vec<&Snapshot> = self
            .events()
            .filter_map(|(_, _, event)| match event {
                Event::Snapshot(snapshot) if is_meant(snapshot.id) => Some(&**snapshot),
                _ => None,
            })
            .map(|snapshot| self.amended.get(&snapshot.id).unwrap_or(snapshot))
            .collect();
        found.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
        // Two that copy at once say the same in two chains.
        let mut seen = HashSet::new();
        found.retain(|snapshot| seen.insert(snapshot.id));
        found
    }

    /// In whose chain each snapshot stands; the first of several that have copied the same one.
    pub fn writers(&self) -> HashMap<SnapshotId, WriterId> {
        let mut writers = HashMap::new();
        for (writer, _, event) in self.events() {
            if let Event::Snapshot(snapshot) = event {
                writers.entry(snapshot.id).or_insert(writer);
            }
        }
        writers
    }

    /// Unfinished snapshots of runs that were cut short, oldest first.
    pub fn partials(&self) -> Vec<&Snapshot> {
        let mut found: Vec<&Snapshot> = self
            .events()
            .filter_map(|(_, _, event)| if let Event::Partial(snapshot) = event { Some(&**snapshot) } else { None })
            .collect();
        found.sort_by_key(|snapshot| snapshot.time);
        found
    }

    /// All snapshots the log tells of, forgotten or not, oldest first.
    pub fn known_snapshots(&self) -> Vec<&Snapshot> {
        self.snapshots_where(|_| true)
    }

    /// Unfinished snapshots that nothing newer of their chains follows: somebody may go on from them.
    /// With the record that tells of each.
    pub fn resumable(&self) -> Vec<(WriterId, u64, &Snapshot)> {
        let last = self.chains.iter().filter_map(|(writer, chain)| {
            let is_snapshot = |(_, event): &(&u64, &Event)| matches!(event, Event::Snapshot(_) | Event::Partial(_));
            chain.events.iter().rev().find(is_snapshot).map(|(seq, event)| (*writer, *seq, event))
        });
        let mut found = Vec::new();
        last.for_each(|(writer, seq, event)| {
            if let Event::Partial(snapshot) = event {
                found.push((writer, seq, &**snapshot));
            }
        });
        found
    }

    /// A record that another writer has seen, and that is not there: the end of a chain, or all of it, was lost.
    pub fn unseen(&self) -> Option<(WriterId, u64)> {
        let last = |writer: &WriterId| self.chains.get(writer).map(|chain| chain.last);
        let seen = self.chains.values().flat_map(|chain| &chain.seen);
        seen.map(|seen| (seen.writer, seen.seq)).find(|(writer, seq)| last(writer).is_none_or(|last| last < *seq))
    }

    /// The first chain that ends before the number that is given for it.
    pub fn behind(&self, ends: &BTreeMap<WriterId, u64>) -> Option<(WriterId, u64)> {
        let is_short = |writer: &WriterId, seq| self.chains.get(writer).is_none_or(|chain| chain.last < seq);
        ends.iter().map(|(writer, seq)| (*writer, *seq)).find(|(writer, seq)| is_short(writer, *seq))
    }

    /// When the store took a record, by its clock, seconds since 1970.
    pub async fn stored_secs(repo: &Repo, writer: WriterId, seq: u64) -> Result<i64> {
        Ok(repo.store().head(&record_name(writer, seq)).await?.modified_secs)
    }

    /// Packs that are about to be removed or gone: a writer must not build on them.
    pub fn marked_packs(&self) -> HashSet<ObjectId> {
        self.words().avoided()
    }

    /// The root page that came with the record of a snapshot, if it is the newest of its chain.
    pub fn root_page(&self, snapshot: SnapshotId) -> Option<&[u8]> {
        self.root_pages.get(&snapshot).map(Vec::as_slice)
    }
}
