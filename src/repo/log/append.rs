//! Appending to the chain of this machine.

use crate::crypto::random;
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
use crate::repo::log::record_name;
use crate::repo::log::said::word;
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
        author.state.lock()?;
        let result = append_locked(repo, author, time, event, root_page, None).await;
        author.state.unlock()?;
        Ok(result?.expect("appends whatever the chain says"))
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
        author.state.lock()?;
        let result = append_locked(repo, author, time, event, Vec::new(), Some(decided)).await;
        author.state.unlock()?;
        result
    }
}

/// `None` if the chain does not end any more where it ended in `decided`.
async fn append_locked(
    repo: &Repo,
    author: Author<'_>,
    time: Time,
    event: Event,
    root_page: Vec<u8>,
    decided: Option<&Log>,
) -> Result<Option<WriterId>> {
    let mut log = Log::read(repo).await?;
    let known = author.state.heads()?;
    let mut writer = author.state.writer(author.machine)?;
    // A chain whose end was cut off or cannot be read is not continued: a second record of the same number would
    // hide what happened. A new chain is.
    if let Some(mine) = writer {
        let chain = log.chains.get(&mine);
        let whole = chain.is_none_or(|chain| chain.head.is_some_and(|(seq, _)| seq == chain.last));
        let behind = known.iter().any(|h| h.writer == mine && chain.is_none_or(|c| c.last < h.seq));
        if !whole || behind {
            writer = None;
        }
    }
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let fresh = WriterId(random());
            author.state.set_writer(author.machine, fresh)?;
            fresh
        }
    };
    for _ in 0..APPEND_TRIES_MAX {
        if decided.is_some_and(|decided| decided.head(writer) != log.head(writer)) {
            return Ok(None);
        }
        let record = next_record(repo, &log, writer, time, event.clone(), root_page.clone());
        let name = record_name(writer, record.seq);
        let fault = |source| Error::Object { object: name.clone(), source };
        let payload = record.encode().map_err(fault)?;
        let object = sealed::seal(repo.keys(), ObjectType::Record, ObjectId(random()), &payload, &[], RECORD_BYTES_MIN);
        let (hash, object) = (*blake3::hash(&object).as_bytes(), Bytes::from(object));
        match repo.store().put_new(&name, object.clone()).await {
            Ok(()) => {
                author.state.remember(Head { writer, seq: record.seq, hash })?;
                copies::put(repo.store(), &name, object).await;
                return Ok(Some(writer));
            }
            Err(e) if e.kind == ErrorKind::AlreadyExists => log = Log::read(repo).await?,
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::Exists { location: format!("{}/{}", repo.store().location(), record_name(writer, 0)) })
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
