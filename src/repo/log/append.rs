//! Appending to the chain of this machine: under the lock of its state, and only after reading the log, so that what is
//! appended fits what the log says. Never continues a chain of which it does not know all.

use crate::crypto::random;
use crate::format::FormatError;
use crate::format::record::Event;
use crate::format::record::Record;
use crate::format::record::Seen;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::id::ObjectId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::plan::chain::still_true;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copies;
use crate::repo::log::Log;
use crate::repo::log::LogProblem;
use crate::repo::log::record_name;
use crate::repo::log::said::word;
use crate::repo::log::seen_in;
use crate::state::Head;
use crate::state::State;
use crate::store::ErrorKind;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::HashSet;

/// Shortest plaintext of a record object: hides how much a record says.
const RECORD_BYTES_MIN: u64 = 4 << 10;
/// Two processes can meet at the end of a chain; after this many collisions something else is wrong.
const APPEND_TRIES_MAX: usize = 100;

/// Who appends: the state of this machine and its identity (so that a cloned disk gets a chain of its own).
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// Local state; its lock is held while appending.
    pub state: &'a State,
    /// Something that differs between machines, like the machine id.
    pub machine: &'a [u8],
}

impl Log {
    /// Appends an event to the chain of this machine. When it returns, the event is part of the repository.
    pub async fn append(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        event: Event,
        root_page: Vec<u8>,
    ) -> Result<WriterId> {
        let appended = Log::append_decided(repo, author, time, root_page, |_, _| Some(event.clone())).await?;
        Ok(appended.expect("appends whatever the chain says"))
    }

    /// Appends an event that was decided upon after reading `decided`, if the chain of this machine still ends where it
    /// did then. Otherwise appends nothing and returns `None`: read and decide again.
    pub async fn append_if_unmoved(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        event: Event,
        decided: &Log,
    ) -> Result<Option<WriterId>> {
        let is_unmoved = |log: &Log, writer| decided.head(writer) == log.head(writer);
        let decide = |log: &Log, writer| is_unmoved(log, writer).then(|| event.clone());
        Log::append_decided(repo, author, time, Vec::new(), decide).await
    }

    /// Appends what `decide` makes of the log and of the chain that will say it; nothing if it makes nothing of them.
    /// It is asked again whenever the log is read again or a new chain begins: what is counted per chain is counted for the one
    /// that is appended to.
    pub async fn append_decided(
        repo: &Repo,
        author: Author<'_>,
        time: Time,
        root_page: Vec<u8>,
        decide: impl Fn(&Log, WriterId) -> Option<Event>,
    ) -> Result<Option<WriterId>> {
        author.state.lock()?;
        let result = append_locked(repo, author, time, root_page, decide).await;
        author.state.unlock()?;
        result
    }

    /// True if all that the chain says is known, and it can be continued. A chain whose end was cut off, that has gaps, or that
    /// cannot be read is not: a second record of the same number would hide what happened, and what the next checkpoint
    /// repeats might not be all that is true.
    fn is_continued(&self, writer: WriterId, known: &[Head]) -> bool {
        let chain = self.chains.get(&writer);
        let is_read = chain.is_none_or(|chain| chain.head.is_some_and(|(seq, _)| seq == chain.last));
        let is_behind = known.iter().any(|h| h.writer == writer && chain.is_none_or(|c| c.last < h.seq));
        let of_chain = format!("log/{writer}/");
        let is_whole = !self.problems.iter().any(|problem| match problem {
            LogProblem::Unreadable { name, .. } => name.starts_with(&of_chain),
            LogProblem::Missing { writer: of, .. } => *of == writer,
            _ => false,
        });
        is_read && is_whole && !is_behind
    }
}

async fn append_locked(
    repo: &Repo,
    author: Author<'_>,
    time: Time,
    root_page: Vec<u8>,
    decide: impl Fn(&Log, WriterId) -> Option<Event>,
) -> Result<Option<WriterId>> {
    let mut log = Log::read(repo).await?;
    let known = author.state.heads()?;
    let mut writer = match author.state.writer(author.machine)? {
        Some(writer) if log.is_continued(writer, &known) => writer,
        _ => new_chain(author)?,
    };
    for _ in 0..APPEND_TRIES_MAX {
        let Some(event) = decide(&log, writer) else { return Ok(None) };
        let record = next_record(repo, &log, writer, time, event, root_page.clone());
        let name = record_name(writer, record.seq);
        let payload = match record.encode() {
            Ok(payload) => payload,
            // It has become too long for what it has to repeat: a new chain has nothing to repeat, and the old one still says it.
            Err(FormatError::Limit { .. }) if !record.history.is_empty() && fits_alone(&record) => {
                writer = new_chain(author)?;
                continue;
            }
            Err(source) => return Err(Error::Object { object: name, source }),
        };
        let object = sealed::seal(repo.keys(), ObjectType::Record, ObjectId(random()), &payload, &[], RECORD_BYTES_MIN);
        let (hash, object) = (*blake3::hash(&object).as_bytes(), Bytes::from(object));
        match repo.store().put_new(&name, object.clone()).await {
            Ok(()) => {
                author.state.remember(Head { writer, seq: record.seq, hash })?;
                author.state.see(&seen_in(writer, record.seq, &record.event))?;
                copies::put(repo.store(), &name, object).await;
                return Ok(Some(writer));
            }
            Err(e) if e.kind == ErrorKind::AlreadyExists => log = Log::read(repo).await?,
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::ChainCrowded { writer, tries: APPEND_TRIES_MAX })
}

/// From now on this machine says what it has to say in another chain.
fn new_chain(author: Author<'_>) -> Result<WriterId> {
    let fresh = WriterId(random());
    author.state.set_writer(author.machine, fresh)?;
    Ok(fresh)
}

fn fits_alone(record: &Record) -> bool {
    Record { history: Vec::new(), ..record.clone() }.encode().is_ok()
}

fn next_record(repo: &Repo, log: &Log, writer: WriterId, time: Time, event: Event, root_page: Vec<u8>) -> Record {
    let chain = log.chains.get(&writer);
    let (seq, previous) = match chain.and_then(|chain| chain.head) {
        Some((seq, hash)) => (seq + 1, hash),
        None => (0, [0; 32]),
    };
    let events = chain.map(|chain| &chain.events);
    let history = match Record::checkpoint_of(seq) {
        None => events.map(|events| whole_history(log, events, &event)).unwrap_or_default(),
        Some(checkpoint) => events
            .map(|events| events.range(checkpoint + 1..).map(|(seq, e)| (*seq, e.clone())).collect())
            .unwrap_or_default(),
    };
    let others = log.chains.iter().filter(|(other, _)| **other != writer);
    let seen = others.filter_map(|(w, c)| c.head.map(|(seq, hash)| Seen { writer: *w, seq, hash })).collect();
    Record { repository: repo.config().repository, writer, seq, previous, time, event, root_page, history, seen }
}

/// What of a chain's past must stand in a checkpoint.
fn whole_history(log: &Log, events: &BTreeMap<u64, Event>, next: &Event) -> Vec<(u64, Event)> {
    let words = log.words();
    let said = events.iter().flat_map(|(seq, event)| {
        let parts = event.parts().iter().filter_map(word);
        parts.map(move |word| (*seq, word))
    });
    let stays: HashSet<u64> = still_true(said, word(next), |id| words.is_gone(id)).into_iter().collect();
    let says_more = |event: &Event| event.parts().iter().any(|part| word(part).is_none());
    let kept = events.iter().filter(|(seq, event)| stays.contains(*seq) || says_more(event));
    kept.map(|(seq, event)| (*seq, event.clone())).collect()
}
