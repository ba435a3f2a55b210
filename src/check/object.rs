//! One object by itself: is it what its name says, and is every byte of it as it was written?

use crate::check::pack;
use crate::format::FORMAT_VERSION;
use crate::format::FormatError;
use crate::format::MAGIC;
use crate::format::config::Config;
use crate::format::index::Index;
use crate::format::parity;
use crate::format::record::Record;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::format::sealed::check_sum;
use crate::format::slot::SLOT_BYTES;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use crate::id::WriterId;
use crate::repo::CONFIG_NAME;
use crate::repo::COPIES_FOLDER;
use crate::repo::Repo;
use crate::repo::index_name;
use crate::repo::pack_of;
use crate::repo::parity_of;
use crate::repo::slot_name;
use bytes::Bytes;

/// What an object is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Config,
    Slot(ObjectId),
    Pack(ObjectId),
    Index(ObjectId),
    Record(WriterId, u64),
    Strange,
}

impl Named {
    pub(super) fn of(name: &str) -> Named {
        if name == CONFIG_NAME {
            return Named::Config;
        }
        if let Some(pack) = pack_of(name) {
            return Named::Pack(pack);
        }
        let (folder, rest) = name.split_once('/').unwrap_or((name, ""));
        match (folder, rest.parse()) {
            ("keys", Ok(id)) if slot_name(id) == name => Named::Slot(id),
            ("index", Ok(id)) if index_name(id) == name => Named::Index(id),
            _ => record_of(name).map_or(Named::Strange, |(writer, seq)| Named::Record(writer, seq)),
        }
    }
}

/// The first of which an object is the second copy by its name: its name, and what it is.
pub(super) fn first_of(name: &str) -> Option<(&str, Named)> {
    let first = name.strip_prefix(COPIES_FOLDER)?.strip_prefix('/')?;
    let named = Named::of(first);
    matches!(named, Named::Config | Named::Slot(_) | Named::Record(..)).then_some((first, named))
}

/// The place in the log that a name speaks of.
pub fn record_of(name: &str) -> Option<(WriterId, u64)> {
    const DIGITS: usize = 10;
    let (writer, seq) = name.strip_prefix("log/")?.split_once('/')?;
    let is_number = seq.len() == DIGITS && seq.bytes().all(|byte| byte.is_ascii_digit());
    Some((writer.parse().ok()?, is_number.then(|| seq.parse().ok())??))
}

/// Checks one object by its name and all of its bytes, with the keys. Each fault is a line for people. An object of a
/// name that is not Bygone's has none.
pub fn object(repo: &Repo, name: &str, bytes: &Bytes) -> Vec<String> {
    // A second copy is what its first is.
    let name = first_of(name).map_or(name, |(first, _)| first);
    if let Some(pack) = parity_of(name) {
        let checked = parity::check(Some(repo.config().repository), pack, bytes);
        return checked.err().iter().map(ToString::to_string).collect();
    }
    let checked = match Named::of(name) {
        Named::Config | Named::Slot(_) => clear(repo, name, bytes),
        Named::Index(id) => index(repo, id, bytes),
        Named::Record(writer, seq) => record(repo, writer, seq, bytes).map(drop),
        Named::Strange => Ok(()),
        Named::Pack(id) => {
            let found = pack::examine(repo.keys(), id, bytes.len() as u64, &mut |range| {
                Ok(bytes.slice(range.start as usize..range.end as usize))
            });
            let faults = found.map(|found| found.faults).unwrap_or_default();
            return faults.iter().map(ToString::to_string).collect();
        }
    };
    checked.err().iter().map(ToString::to_string).collect()
}

fn index(repo: &Repo, id: ObjectId, bytes: &[u8]) -> Result<(), FormatError> {
    let opened = sealed::open(repo.keys(), ObjectType::Index, Some(id), bytes)?;
    Index::decode(opened.payload())?;
    check_sum(bytes)
}

/// What a record says, if every byte of it is right.
pub(super) fn record(repo: &Repo, writer: WriterId, seq: u64, bytes: &[u8]) -> Result<Record, FormatError> {
    let opened = sealed::open(repo.keys(), ObjectType::Record, None, bytes)?;
    let record = Record::decode(opened.payload(), repo.config().repository, writer, seq)?;
    check_sum(bytes)?;
    Ok(record)
}

/// Config or a password slot of this repository.
pub(super) fn clear(repo: &Repo, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
    match Named::of(name) {
        Named::Config if Config::decode(bytes)? != *repo.config() => {
            Err(FormatError::Mismatch { what: "config of the repository" })
        }
        Named::Slot(id) => slot(bytes, id, Some(repo.config().repository)),
        _ => Ok(()),
    }
}

/// A password slot, as far as it can be looked at without the password.
pub(super) fn slot(bytes: &[u8], id: ObjectId, repository: Option<RepositoryId>) -> Result<(), FormatError> {
    const REPOSITORY_AT: usize = 16;
    const ID_AT: usize = 32;
    if !bytes.starts_with(MAGIC) {
        return Err(FormatError::Magic);
    }
    let version = bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_le_bytes(*bytes));
    if let Some(found) = version.filter(|version| *version != FORMAT_VERSION) {
        return Err(FormatError::Newer { found, known: FORMAT_VERSION });
    }
    if bytes.len() != SLOT_BYTES {
        return Err(FormatError::Length { expected: SLOT_BYTES as u64, found: bytes.len() as u64 });
    }
    check_sum(bytes)?;
    if repository.is_some_and(|repository| bytes.get(REPOSITORY_AT..ID_AT) != Some(&repository.0)) {
        return Err(FormatError::Mismatch { what: "repository of the password slot" });
    }
    if bytes.get(ID_AT..ID_AT + id.0.len()) != Some(&id.0) {
        return Err(FormatError::Mismatch { what: "id of the password slot" });
    }
    Ok(())
}
