//! Reading chains: their newest records and checkpoints, all at once; and where one cannot be read, what is left of the others.

use crate::format::record::Event;
use crate::format::record::Record;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::repo::COPIES_FOLDER;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copies;
use crate::repo::log::Chain;
use crate::repo::log::LogProblem;
use crate::repo::log::SEQ_MAX;
use crate::repo::log::record_name;
use crate::store;
use crate::store::AnyStore;
use crate::store::Stored;
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Records fetched and not yet opened, by name.
type Sealed = HashMap<String, store::Result<Bytes>>;

/// The log as it lies in the store: fetched while the password is still being checked.
pub(crate) struct RawLog {
    pub(super) numbers: BTreeMap<WriterId, BTreeSet<u64>>,
    pub(super) records: Sealed,
}

/// The numbers of the records of all chains in a listing.
pub(super) fn numbers(listed: &[Stored]) -> BTreeMap<WriterId, BTreeSet<u64>> {
    let mut numbers: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
    for stored in listed {
        let name =
            stored.name.strip_prefix(COPIES_FOLDER).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&stored.name);
        let mut parts = name.split('/').skip(1);
        let writer = parts.next().and_then(|w| w.parse().ok());
        let seq = parts.next().and_then(|s| s.parse::<u64>().ok());
        if let (Some(writer), Some(seq)) = (writer, seq)
            && record_name(writer, seq) == name
            && seq <= SEQ_MAX
        {
            numbers.entry(writer).or_default().insert(seq);
        }
    }
    numbers
}

impl RawLog {
    /// Lists the records of all chains.
    pub(crate) async fn list(store: &AnyStore) -> Result<RawLog> {
        Ok(RawLog { numbers: numbers(&store.list("log").await?), records: Sealed::new() })
    }

    /// Fetches the newest record of each chain and its checkpoint, all at once.
    pub(crate) async fn fetch_heads(&mut self, store: &AnyStore) {
        let heads = self.numbers.iter().filter_map(|(writer, seqs)| Some((*writer, *seqs.last()?)));
        let wanted = heads.flat_map(|(writer, seq)| {
            let both = [Some(seq), Record::checkpoint_of(seq)];
            both.into_iter().flatten().map(move |seq| record_name(writer, seq))
        });
        let fetches = wanted.map(|name| async move { (name.clone(), store.get(&name).await) });
        self.records = join_all(fetches).await.into_iter().collect();
    }
}

#[derive(Default)]
pub(super) struct ChainRead {
    pub(super) fetched: Arc<Mutex<Sealed>>,
    pub(super) chain: Chain,
    pub(super) root_pages: HashMap<SnapshotId, Vec<u8>>,
    pub(super) problems: Vec<LogProblem>,
    pub(super) transient: Option<Error>,
}

pub(super) async fn read_chain(
    repo: &Repo,
    fetched: Arc<Mutex<Sealed>>,
    writer: WriterId,
    seqs: BTreeSet<u64>,
) -> (WriterId, ChainRead) {
    let mut read = ChainRead { fetched, ..ChainRead::default() };
    read.chain.last = seqs.last().copied().unwrap_or(0);
    let mut expected = 0;
    for &seq in &seqs {
        if seq > expected {
            read.problems.push(LogProblem::Missing { writer, seq: expected, count: seq - expected });
        }
        expected = seq.saturating_add(1);
    }
    read.go_back(repo, writer, &seqs).await;
    (writer, read)
}

impl ChainRead {
    /// Reads the newest record and its checkpoint; where one cannot be read, goes back record by record until what is
    /// known reaches down to a checkpoint.
    async fn go_back(&mut self, repo: &Repo, writer: WriterId, seqs: &BTreeSet<u64>) {
        let mut next = seqs.last().copied();
        while let Some(seq) = next {
            let checkpoint = Record::checkpoint_of(seq);
            let fetched = self.fetched.clone();
            let second = async {
                // That one is missing was told; its second copy may be there.
                let read = read_record(repo, &fetched, writer, checkpoint?).await;
                (read.is_ok() || seqs.contains(&checkpoint?)).then_some(read)
            };
            let (first, second) = futures::join!(read_record(repo, &fetched, writer, seq), second);
            let whole = self.take(writer, seq, first);
            let summed = second.zip(checkpoint).is_some_and(|(result, c)| self.take(writer, c, result));
            if whole && (summed || checkpoint.is_none()) || self.transient.is_some() {
                return;
            }
            // The record repeats all from the checkpoint to itself: only what lies below the checkpoint is open.
            let below = if whole { checkpoint.unwrap_or(0) } else { seq };
            next = seqs.range(..below).next_back().copied();
        }
    }

    /// Takes in what a record says; false if it cannot be read.
    fn take(&mut self, writer: WriterId, seq: u64, result: Result<Read>) -> bool {
        match result {
            Ok(Read { record, hash, instead_of }) => {
                if let Some(source) = instead_of {
                    self.problems.push(LogProblem::Copied { name: record_name(writer, seq), source });
                }
                if self.chain.head.is_none_or(|(head, _)| head < seq) {
                    self.chain.head = Some((seq, hash));
                    self.chain.seen = record.seen;
                }
                if let Event::Snapshot(snapshot) = &record.event {
                    self.root_pages.insert(snapshot.id, record.root_page);
                }
                self.chain.events.extend(record.history);
                self.chain.events.insert(seq, record.event);
                true
            }
            Err(e) if e.is_transient() => {
                self.transient = Some(e);
                false
            }
            Err(source) => {
                let name = record_name(writer, seq);
                let known = |p: &LogProblem| matches!(p, LogProblem::Unreadable { name: n, .. } if *n == name);
                if !self.problems.iter().any(known) {
                    self.problems.push(LogProblem::Unreadable { name, source });
                }
                false
            }
        }
    }
}

/// A record, and its hash.
struct Read {
    record: Record,
    hash: [u8; 32],
    /// What is wrong with the first, if this is the second copy.
    instead_of: Option<Error>,
}

async fn read_record(repo: &Repo, fetched: &Mutex<Sealed>, writer: WriterId, seq: u64) -> Result<Read> {
    let name = record_name(writer, seq);
    let here = fetched.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    let first = match here {
        Some(bytes) => bytes,
        None => repo.store().get(&name).await,
    };
    let fault = match first.map_err(Error::from).and_then(|bytes| open_record(repo, writer, seq, &bytes)) {
        Err(fault) => fault,
        whole => return whole,
    };
    let second = copies::get(repo.store(), &name, &fault).await;
    match second.map(|bytes| open_record(repo, writer, seq, &bytes)) {
        Some(Ok(read)) => Ok(Read { instead_of: Some(fault), ..read }),
        _ => Err(fault),
    }
}

fn open_record(repo: &Repo, writer: WriterId, seq: u64, bytes: &[u8]) -> Result<Read> {
    let record = sealed::open(repo.keys(), ObjectType::Record, None, bytes)
        .and_then(|opened| Record::decode(opened.payload(), repo.config().repository, writer, seq))
        .map_err(|source| Error::Object { object: record_name(writer, seq), source })?;
    Ok(Read { record, hash: *blake3::hash(bytes).as_bytes(), instead_of: None })
}
