//! Records, the links of the log: `log/<writer>/<seq>`. A record is the only commit point of the format.
//!
//! Each writer has one chain without gaps; every record names the hash of the one before it. A record also repeats
//! what its chain said since the last *checkpoint* (every [`CHECKPOINT_EVERY`]th record, which repeats all that is
//! still true), so that the newest record and one checkpoint tell everything about a chain.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk;
use crate::format::chunk::plain_len;
use crate::format::extents::LEVEL_MAX;
use crate::format::later;
use crate::format::later::Amend;
use crate::format::later::KeyNote;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::meta::Time;
use crate::path::PATH_BYTES_MAX;

/// Every how many records the whole chain is summed up.
pub const CHECKPOINT_EVERY: u64 = 32;
/// Longest text in a record (host, tag, description).
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Figures of the backup that made a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Nodes that were new or changed.
    pub nodes_changed: u64,
    /// Bytes of content read from the source.
    pub bytes_read: u64,
    /// Bytes of chunks that were new to the repository, before compression.
    pub bytes_new: u64,
    /// Bytes of packs added.
    pub bytes_stored: u64,
    /// Sources that could not be read.
    pub problems: u64,
    /// How long it took, milliseconds.
    pub millis: u64,
}

/// A snapshot: a whole file system at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// When the backup began.
    pub time: Time,
    /// Host it was taken on.
    pub host: String,
    /// User who took it.
    pub user: String,
    /// What was backed up: snapshot paths (the empty path is `/`), sorted.
    pub sources: Vec<Vec<u8>>,
    /// Words to find it by, sorted.
    pub tags: Vec<String>,
    /// What it is, in the user's words; of disks, unless the user says something, what is on them.
    pub description: String,
    /// Program that wrote it.
    pub program: String,
    /// The snapshot this one was compared with.
    pub parent: Option<SnapshotId>,
    /// Root page of its tree.
    pub root: ChunkRef,
    /// Level of the root page.
    pub level: u8,
    /// Number of nodes.
    pub nodes: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// How many of the nodes have extended attributes: none means that nobody need ask.
    pub with_xattrs: u64,
    /// About the run.
    pub figures: Figures,
}

/// Something a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A snapshot is complete.
    Snapshot(Box<Snapshot>),
    /// A snapshot so far, for a killed backup to go on from. Not shown to people.
    Partial(Box<Snapshot>),
    /// A snapshot is no longer wanted.
    Forget(SnapshotId),
    /// A forgotten snapshot is wanted after all.
    Recall(SnapshotId),
    /// All packs that this chain is going to remove, and all forgotten snapshots that go with them: writers do not build
    /// on them. Takes the place of the chain's earlier marks.
    Mark(Vec<ObjectId>),
    /// All packs that this chain removes or has removed, and all snapshots that cannot be recalled any more: nobody
    /// counts on them. Takes the place of the chain's earlier sweeps.
    Sweep(Vec<ObjectId>),
    /// How a snapshot is called now.
    Amend(Box<Amend>),
    /// Several at once, in this order: forgets, recalls and events of number 7 and above, never several again.
    Several(Vec<Event>),
    /// Who made a password slot.
    Key(Box<KeyNote>),
    /// All packs in which this chain has found damage: writers do not build on them. Takes the place of the chain's earlier
    /// findings.
    Damaged(Vec<ObjectId>),
    /// Of a later version: it says nothing to this one, and is carried along as it is.
    Later {
        /// Its number.
        kind: u8,
        /// What it says.
        body: Vec<u8>,
    },
}

/// The newest record of a chain that another writer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whose chain.
    pub writer: WriterId,
    /// Its newest record.
    pub seq: u64,
    /// Hash of that record.
    pub hash: [u8; 32],
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The repository.
    pub repository: RepositoryId,
    /// Whose chain.
    pub writer: WriterId,
    /// Place in the chain, from 0.
    pub seq: u64,
    /// Hash of the record before it; zeros for the first.
    pub previous: [u8; 32],
    /// When it was written.
    pub time: Time,
    /// What it says.
    pub event: Event,
    /// Root page of the snapshot this record tells of, hashed part and hints, so that a drive need not fetch it;
    /// empty for other events.
    pub root_page: Vec<u8>,
    /// What the chain said before: since the last checkpoint, or (at a checkpoint) everything still true.
    pub history: Vec<(u64, Event)>,
    /// Heads of the other chains when it was written.
    pub seen: Vec<Seen>,
}

impl Record {
    /// The payload of a record object. Fails if a text, a list or the whole is too long to be read again.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.repository.0);
        out.extend_from_slice(&self.writer.0);
        out.put_varint(self.seq);
        out.extend_from_slice(&self.previous);
        write_time(self.time, &mut out);
        write_event(&self.event, &mut out);
        out.put_bytes(&self.root_page);
        out.put_varint(self.history.len() as u64);
        for (seq, event) in &self.history {
            out.put_varint(*seq);
            write_event(event, &mut out);
        }
        out.put_varint(self.seen.len() as u64);
        for Seen { writer, seq, hash } in &self.seen {
            out.extend_from_slice(&writer.0);
            out.put_varint(*seq);
            out.extend_from_slice(hash);
        }
        let mut encoded = Vec::new();
        chunk::encode(&out, 3, &mut encoded)?;
        // A record that cannot be read would hide everything its chain says: rather fail before it is written.
        Record::decode(&encoded, self.repository, self.writer, self.seq)?;
        Ok(encoded)
    }

    /// Reads the payload; the record must stand where it says it stands.
    pub fn decode(payload: &[u8], repository: RepositoryId, writer: WriterId, seq: u64) -> Result<Record> {
        let plain = chunk::decode(payload)?;
        let mut r = Reader::new(&plain);
        let found = (RepositoryId(r.array("record")?), WriterId(r.array("record")?), r.varint("record number")?);
        if found != (repository, writer, seq) {
            return Err(FormatError::Mismatch { what: "place of the record in the log" });
        }
        let previous = r.array("record")?;
        let time = read_time(&mut r)?;
        let event = read_event(&mut r)?;
        let root_page = r.bytes(chunk::CHUNK_BYTES_MAX as usize, "root page")?.to_vec();
        let count = r.count(2, "history")?;
        let mut history: Vec<(u64, Event)> = Vec::with_capacity(count);
        for _ in 0..count {
            let before = r.varint("record number")?;
            if before >= seq || history.last().is_some_and(|(last, _)| *last >= before) {
                return Err(FormatError::Order { what: "records in the history" });
            }
            history.push((before, read_event(&mut r)?));
        }
        let count = r.count(49, "seen chains")?;
        let mut seen = Vec::with_capacity(count);
        for _ in 0..count {
            seen.push(Seen {
                writer: WriterId(r.array("seen chain")?),
                seq: r.varint("seen chain")?,
                hash: r.array("seen chain")?,
            });
        }
        r.end("record")?;
        Ok(Record { repository, writer, seq, previous, time, event, root_page, history, seen })
    }

    /// The checkpoint a reader needs beside this record, if any.
    pub fn checkpoint_of(seq: u64) -> Option<u64> {
        let checkpoint = seq - seq % CHECKPOINT_EVERY;
        (checkpoint != seq).then_some(checkpoint)
    }
}

pub(super) fn write_time(time: Time, out: &mut Vec<u8>) {
    out.put_signed(time.secs);
    out.put_varint(time.nanos.into());
}

pub(super) fn read_time(r: &mut Reader<'_>) -> Result<Time> {
    Ok(Time { secs: r.signed("time")?, nanos: r.varint_max(999_999_999, "nanoseconds")? as u32 })
}

pub(super) fn write_event(event: &Event, out: &mut Vec<u8>) {
    let packs = |tag: u8, packs: &[ObjectId], out: &mut Vec<u8>| {
        out.push(tag);
        out.put_varint(packs.len() as u64);
        packs.iter().for_each(|pack| out.extend_from_slice(&pack.0));
    };
    let id = |tag: u8, id: &SnapshotId, out: &mut Vec<u8>| {
        out.push(tag);
        out.extend_from_slice(&id.0);
    };
    match event {
        Event::Snapshot(snapshot) => {
            out.push(1);
            write_snapshot(snapshot, out);
        }
        Event::Partial(snapshot) => {
            out.push(2);
            write_snapshot(snapshot, out);
        }
        Event::Forget(snapshot) => id(3, snapshot, out),
        Event::Recall(snapshot) => id(4, snapshot, out),
        Event::Mark(marked) => packs(5, marked, out),
        Event::Sweep(swept) => packs(6, swept, out),
        Event::Amend(_) | Event::Several(_) | Event::Key(_) | Event::Damaged(_) | Event::Later { .. } => {
            later::write(event, out);
        }
    }
}

fn read_event(r: &mut Reader<'_>) -> Result<Event> {
    let kind = r.u8("event")?;
    read_event_of(kind, r)
}

/// Reads what follows the number of an event.
pub(super) fn read_event_of(kind: u8, r: &mut Reader<'_>) -> Result<Event> {
    Ok(match kind {
        0 => return Err(FormatError::Unknown { what: "event", value: 0 }),
        1 => Event::Snapshot(Box::new(read_snapshot(r)?)),
        2 => Event::Partial(Box::new(read_snapshot(r)?)),
        3 => Event::Forget(SnapshotId(r.array("snapshot id")?)),
        4 => Event::Recall(SnapshotId(r.array("snapshot id")?)),
        5 => Event::Mark(read_packs(r)?),
        6 => Event::Sweep(read_packs(r)?),
        kind => later::read(kind, r)?,
    })
}

pub(super) fn read_packs(r: &mut Reader<'_>) -> Result<Vec<ObjectId>> {
    let count = r.count(16, "packs")?;
    (0..count).map(|_| r.array("packs").map(ObjectId)).collect()
}

fn write_snapshot(s: &Snapshot, out: &mut Vec<u8>) {
    out.extend_from_slice(&s.id.0);
    write_time(s.time, out);
    out.put_bytes(s.host.as_bytes());
    out.put_bytes(s.user.as_bytes());
    out.put_varint(s.sources.len() as u64);
    s.sources.iter().for_each(|source| out.put_bytes(source));
    out.put_varint(s.tags.len() as u64);
    s.tags.iter().for_each(|tag| out.put_bytes(tag.as_bytes()));
    out.put_bytes(s.description.as_bytes());
    out.put_bytes(s.program.as_bytes());
    out.put_bytes(s.parent.as_ref().map_or(&[], |parent| &parent.0));
    out.put_varint(s.root.len.into());
    out.extend_from_slice(&s.root.id.0);
    out.extend_from_slice(&s.root.hint.pack.0);
    out.put_varint(s.root.hint.offset.into());
    out.put_varint(s.root.hint.len.into());
    out.push(s.level);
    let f = &s.figures;
    for number in [s.nodes, s.bytes, s.with_xattrs, f.nodes_changed, f.bytes_read, f.bytes_new, f.bytes_stored] {
        out.put_varint(number);
    }
    for number in [f.problems, f.millis] {
        out.put_varint(number);
    }
}

fn read_snapshot(r: &mut Reader<'_>) -> Result<Snapshot> {
    let id = SnapshotId(r.array("snapshot id")?);
    let time = read_time(r)?;
    let host = r.text(TEXT_BYTES_MAX, "host")?;
    let user = r.text(TEXT_BYTES_MAX, "user")?;
    let mut sources = Vec::new();
    for _ in 0..r.count(1, "sources")? {
        sources.push(r.bytes(PATH_BYTES_MAX, "source")?.to_vec());
    }
    let mut tags = Vec::new();
    for _ in 0..r.count(1, "tags")? {
        tags.push(r.text(TEXT_BYTES_MAX, "tag")?);
    }
    let description = r.text(TEXT_BYTES_MAX, "description")?;
    let program = r.text(TEXT_BYTES_MAX, "program")?;
    let parent = match r.bytes(16, "parent")? {
        [] => None,
        bytes => Some(SnapshotId(bytes.try_into().map_err(|_| FormatError::Short { what: "parent" })?)),
    };
    let len = plain_len(r.varint("page length")?)?;
    let root_id = ChunkId(r.array("page id")?);
    let pack = ObjectId(r.array("hint")?);
    let hint = Locator { pack, offset: r.varint32("hint")?, len: chunk::encoded_len(r.varint("hint")?)? };
    let level = r.u8("page level")?;
    if level > LEVEL_MAX {
        return Err(FormatError::Limit { what: "page level", value: level.into(), max: LEVEL_MAX.into() });
    }
    Ok(Snapshot {
        id,
        time,
        host,
        user,
        sources,
        tags,
        description,
        program,
        parent,
        root: ChunkRef { id: root_id, len, hint },
        level,
        nodes: r.varint("node count")?,
        bytes: r.varint("byte sum")?,
        with_xattrs: r.varint("attribute count")?,
        figures: Figures {
            nodes_changed: r.varint("figure")?,
            bytes_read: r.varint("figure")?,
            bytes_new: r.varint("figure")?,
            bytes_stored: r.varint("figure")?,
            problems: r.varint("figure")?,
            millis: r.varint("figure")?,
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn snapshot() -> Box<Snapshot> {
        let hint = Locator { pack: ObjectId([9; 16]), offset: 77, len: 1000 };
        Box::new(Snapshot {
            id: SnapshotId([1; 16]),
            time: Time { secs: 1_800_000_000, nanos: 5 },
            host: "tower".into(),
            user: "ada".into(),
            sources: vec![b"home/ada".to_vec()],
            tags: vec!["daily".into()],
            description: "before the upgrade".into(),
            program: "bygone 0.1.0".into(),
            parent: Some(SnapshotId([2; 16])),
            root: ChunkRef { id: ChunkId([4; 32]), len: 5000, hint },
            level: 2,
            nodes: 1_000_000,
            bytes: 1 << 40,
            with_xattrs: 12,
            figures: Figures { nodes_changed: 3, bytes_read: 4, bytes_new: 5, bytes_stored: 6, problems: 7, millis: 8 },
        })
    }

    #[test]
    fn every_event_round_trips_in_its_place_only() {
        let events = [
            Event::Snapshot(snapshot()),
            Event::Partial(snapshot()),
            Event::Forget(SnapshotId([3; 16])),
            Event::Recall(SnapshotId([3; 16])),
            Event::Mark(vec![ObjectId([1; 16]), ObjectId([2; 16])]),
            Event::Sweep(vec![]),
            Event::Several(vec![Event::Forget(SnapshotId([3; 16])), Event::Later { kind: 200, body: vec![0, 1] }]),
        ];
        for event in events {
            let record = Record {
                repository: RepositoryId([1; 16]),
                writer: WriterId([2; 16]),
                seq: 40,
                previous: [3; 32],
                time: Time { secs: -1, nanos: 0 },
                event: event.clone(),
                root_page: vec![1, 2, 3],
                history: vec![(32, Event::Snapshot(snapshot())), (39, event)],
                seen: vec![Seen { writer: WriterId([5; 16]), seq: 7, hash: [8; 32] }],
            };
            let payload = record.encode().unwrap();
            assert_eq!(Record::decode(&payload, record.repository, record.writer, 40).unwrap(), record);
            assert!(Record::decode(&payload, record.repository, record.writer, 41).is_err());
            assert!(Record::decode(&payload, record.repository, WriterId([9; 16]), 40).is_err());
            for len in 0..payload.len() {
                assert!(Record::decode(&payload[..len], record.repository, record.writer, 40).is_err());
            }
        }
        let long = Snapshot { description: "x".repeat(TEXT_BYTES_MAX + 1), ..*snapshot() };
        let record = Record {
            repository: RepositoryId([1; 16]),
            writer: WriterId([2; 16]),
            seq: 0,
            previous: [0; 32],
            time: Time::default(),
            event: Event::Snapshot(Box::new(long)),
            root_page: vec![],
            history: vec![],
            seen: vec![],
        };
        assert!(matches!(record.encode(), Err(FormatError::Limit { what: "description", .. })));
        // The history comes before the record, and each of it once and in order.
        let with = |numbers: &[u64]| {
            let history = numbers.iter().map(|seq| (*seq, Event::Forget(SnapshotId([3; 16])))).collect();
            Record { seq: 9, event: Event::Sweep(Vec::new()), history, ..record.clone() }.encode()
        };
        assert!(with(&[0, 1, 8]).is_ok());
        for wrong in [&[9][..], &[10], &[8, 9], &[3, 3], &[3, 2], &[0, 5, 4]] {
            let refused = FormatError::Order { what: "records in the history" };
            assert_eq!(with(wrong), Err(refused), "{wrong:?}");
        }
        let at_level =
            |level| Record { event: Event::Snapshot(Box::new(Snapshot { level, ..*snapshot() })), ..record.clone() };
        assert!(at_level(LEVEL_MAX).encode().is_ok());
        for level in [LEVEL_MAX + 1, u8::MAX] {
            assert!(matches!(at_level(level).encode(), Err(FormatError::Limit { what: "page level", .. })));
        }
        assert_eq!(Record::checkpoint_of(0), None);
        assert_eq!(Record::checkpoint_of(31), Some(0));
        assert_eq!(Record::checkpoint_of(32), None);
    }
}
