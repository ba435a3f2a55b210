//! A check that needs no password: every object is read; magic, version, length, name and clear checksum must fit, and
//! all must belong to one repository. It notices what decays, and most of what is gone; it cannot tell what somebody
//! changed who knows the format: that takes the key.

use crate::check::Error;
use crate::check::Figures;
use crate::check::Kind;
use crate::check::Note;
use crate::check::Report;
use crate::check::Result;
use crate::check::object;
use crate::check::object::Named;
use crate::check::object::first_of;
use crate::check::problem::Findings;
use crate::format::FormatError;
use crate::format::config::Config;
use crate::format::parity;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::Header;
use crate::format::sealed::ObjectType;
use crate::id::RepositoryId;
use crate::id::WriterId;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::monitor::chain;
use crate::repo;
use crate::repo::CONFIG_NAME;
use crate::repo::parity_of;
use crate::store;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use crate::store::Stored;
use futures::StreamExt;
use std::collections::BTreeMap;

/// Objects read at once.
const OBJECTS_AT_ONCE: usize = 4;
/// Bytes of one request: large objects come in pieces.
const PIECE_BYTES: u64 = 8 << 20;

/// Reads every object of a repository and checks what can be checked without a key.
pub async fn scrub(store: &AnyStore, monitor: &dyn Monitor) -> Result<Report> {
    let config = match store.get(CONFIG_NAME).await {
        Ok(bytes) => Some(Config::decode(&bytes)),
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let all = store.list("").await?;
    let mut findings = Findings::default();
    let mut figures = Figures { bytes: all.iter().map(|stored| stored.len).sum(), ..Figures::default() };
    let is_ours = |stored: &&Stored| {
        let name = &stored.name;
        Named::of(name) != Named::Strange || first_of(name).is_some() || parity_of(name).is_some()
    };
    let strange = all.len() - all.iter().filter(is_ours).count();
    let repository = match &config {
        None if strange == all.len() => {
            return Err(repo::Error::NoRepository { location: store.location() }.into());
        }
        None => {
            findings.add(CONFIG_NAME, Kind::Missing, CONFIG_NAME, "is missing".to_owned());
            None
        }
        Some(config) => config.as_ref().ok().map(|config| config.repository),
    };
    monitor.event(Event::Total { nodes: (all.len() - strange) as u64, bytes: figures.bytes });
    gaps(&all, &mut findings);
    if !all.iter().any(|stored| matches!(Named::of(&stored.name), Named::Slot(_))) {
        findings.add("keys", Kind::Missing, "keys", "no password slot is there".to_owned());
    }
    let reads = all.iter().filter(is_ours).map(|stored| async move { (stored, read(store, stored, repository).await) });
    let reads = reads.collect::<Vec<_>>();
    let mut reads = futures::stream::iter(reads).buffer_unordered(OBJECTS_AT_ONCE);
    while let Some((stored, read)) = reads.next().await {
        if monitor.is_cancelled() {
            return Err(Error::Cancelled);
        }
        monitor.event(Event::Done { nodes: 1, bytes: stored.len });
        figures.objects_read += 1;
        figures.bytes_read += stored.len;
        let name = &stored.name;
        match read {
            Ok(Ok(())) => {}
            Ok(Err(source)) => {
                findings.add(name, Kind::Damaged, name, source.to_string());
            }
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                findings.add(name, Kind::Unreadable, name, chain(&error));
            }
        }
    }
    let mut notes = Vec::new();
    if strange > 0 {
        let message = format!("{strange} objects have names that are not Bygone's: they are left alone");
        notes.push(Note { what: "strange", message });
    }
    let (problems, problems_more) = (findings.problems, findings.more);
    Ok(Report { problems, problems_more, notes, figures, damaged_packs: Vec::new() })
}

/// Records whose neighbours are there.
fn gaps(all: &[Stored], findings: &mut Findings) {
    let mut expected: BTreeMap<WriterId, u64> = BTreeMap::new();
    for stored in all {
        let Named::Record(writer, seq) = Named::of(&stored.name) else { continue };
        let next = expected.entry(writer).or_default();
        if seq > *next {
            let name = format!("log/{writer}/{next:010}");
            let message = format!("{} records are missing from here on", seq - *next);
            findings.add(&name, Kind::Missing, &name, message);
        }
        *next = seq + 1;
    }
}

type Checked = std::result::Result<(), FormatError>;

/// Reads one object, piece by piece.
async fn read(store: &AnyStore, stored: &Stored, repository: Option<RepositoryId>) -> store::Result<Checked> {
    let (name, len) = (&stored.name, stored.len);
    if let Some(pack) = parity_of(name) {
        return Ok(parity::check(repository, pack, &store.get(name).await?));
    }
    let named = first_of(name).map_or_else(|| Named::of(name), |(_, named)| named);
    match named {
        Named::Config => return Ok(Config::decode(&store.get(name).await?).map(drop)),
        Named::Slot(id) => return Ok(object::slot(&store.get(name).await?, id, repository)),
        _ => {}
    }
    let mut hasher = blake3::Hasher::new();
    let mut checksum = Vec::new();
    let body_end = len.saturating_sub(CHECKSUM_BYTES as u64);
    let mut at = 0;
    while at < len {
        let piece = store.get_range(name, at..len.min(at + PIECE_BYTES)).await?;
        if piece.is_empty() {
            return Ok(Err(FormatError::Short { what: "object" }));
        }
        if at == 0
            && let Err(source) = front(&piece, named, len, repository)
        {
            return Ok(Err(source));
        }
        let body = body_end.saturating_sub(at).min(piece.len() as u64) as usize;
        hasher.update(&piece[..body]);
        checksum.extend_from_slice(&piece[body..]);
        at += piece.len() as u64;
    }
    let is_whole = len > 0 && hasher.finalize().as_bytes()[..] == checksum[..];
    Ok(if is_whole { Ok(()) } else { Err(FormatError::Checksum) })
}

/// The clear header of a sealed object.
fn front(piece: &[u8], named: Named, len: u64, repository: Option<RepositoryId>) -> Checked {
    let clear = piece.get(..HEADER_BYTES).ok_or(FormatError::Short { what: "header" })?;
    let header = Header::decode(clear)?;
    let (fits, id) = match named {
        Named::Pack(id) => (matches!(header.object_type, ObjectType::DataPack | ObjectType::MetaPack), Some(id)),
        Named::Index(id) => (header.object_type == ObjectType::Index, Some(id)),
        _ => (header.object_type == ObjectType::Record, None),
    };
    if !fits {
        return Err(FormatError::Mismatch { what: "object type" });
    }
    if id.is_some_and(|id| id != header.object) {
        return Err(FormatError::Mismatch { what: "object id" });
    }
    if repository.is_some_and(|repository| repository != header.repository) {
        return Err(FormatError::Mismatch { what: "repository" });
    }
    if header.object_len() != len {
        return Err(FormatError::Length { expected: header.object_len(), found: len });
    }
    Ok(())
}
