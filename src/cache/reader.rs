//! The reading half of an open cache: point queries and reads at places, without locks.
//!
//! A slot may be given to another run between the query and the read. The bytes are then those of the other run,
//! which do not open; the reader forgets them and fetches anew.

use crate::cache::budget::RUN_SEGMENTS;
use crate::cache::fault::Fault;
use crate::cache::folder::Folder;
use crate::cache::lock;
use crate::cache::objects;
use crate::cache::objects::Key;
use crate::cache::runs_of;
use crate::cache::schema;
use crate::cache::slots::Lens;
use crate::cache::slots::Slots;
use crate::cache::slots::decode_lens;
use crate::id::ObjectId;
use bytes::Bytes;
use rusqlite::Connection;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;

/// Connections kept for the next reader.
const IDLE_MAX: usize = 8;

/// Shared by all threads that read.
pub(super) struct Reader {
    slots: Arc<Slots>,
    folder: Folder,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    pub(super) fn new(slots: Arc<Slots>, folder: Folder) -> Reader {
        Reader { slots, folder, idle: Mutex::default() }
    }

    /// Lends a connection.
    pub(super) fn with<T>(&self, deed: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let idle = lock(&self.idle).pop();
        let db = match idle {
            Some(db) => db,
            None => schema::open_reader(&self.folder.database())?,
        };
        let done = deed(&db)?;
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(db);
        }
        Ok(done)
    }

    /// Rows of the runs in which these segments lie: run, slot, lengths.
    fn rows(&self, pack: ObjectId, segments: &Range<u64>) -> Result<Vec<(i64, i64, Lens)>, Fault> {
        let Range { start, end } = runs_of(segments);
        let rows = self.with(|db| {
            let query = "SELECT run, slot, lens FROM slot WHERE pack = ?1 AND run >= ?2 AND run < ?3";
            let mut query = db.prepare_cached(query)?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let rows = query.query_map((pack.0, start, end), read)?;
            Ok(rows.collect::<rusqlite::Result<Vec<(i64, i64, Vec<u8>)>>>()?)
        })?;
        rows.into_iter().map(|(run, slot, lens)| Ok((run, slot, decode_lens(&lens)?))).collect()
    }

    /// The segments that are there, in order, and the runs they stand in.
    pub(super) fn read(&self, pack: ObjectId, segments: Range<u64>) -> Result<Found, Fault> {
        let mut found = Found { segments: vec![None; len(&segments)], runs: Vec::new(), lost: Vec::new() };
        for (run, slot, lens) in self.rows(pack, &segments)? {
            let Some((at, inside)) = overlap(run, &segments) else { continue };
            let mut parts = self.slots.read(slot, &lens, inside.clone())?;
            let (mut any, is_promised) = (false, lens[inside.clone()].iter().any(|len| *len != 0));
            for (found, part) in found.segments[at..].iter_mut().zip(&mut parts[inside]) {
                *found = part.take();
                any |= found.is_some();
            }
            if any {
                found.runs.push(run);
            } else if is_promised {
                found.lost.push(run);
            }
        }
        Ok(found)
    }

    /// Which of the segments are there.
    pub(super) fn holds(&self, pack: ObjectId, segments: Range<u64>) -> Result<Vec<bool>, Fault> {
        let mut found = vec![false; len(&segments)];
        for (run, _, lens) in self.rows(pack, &segments)? {
            let Some((at, inside)) = overlap(run, &segments) else { continue };
            for (found, len) in found[at..].iter_mut().zip(&lens[inside]) {
                *found = *len != 0;
            }
        }
        Ok(found)
    }

    /// A whole object.
    pub(super) fn object(&self, key: &Key) -> Result<Option<Bytes>, Fault> {
        self.with(|db| objects::read(db, key))
    }
}

/// What a read has found.
pub(super) struct Found {
    pub(super) segments: Vec<Option<Bytes>>,
    pub(super) runs: Vec<i64>,
    /// Runs that should be there, but the file ends before them.
    pub(super) lost: Vec<i64>,
}

/// Where those of the segments that lie in a run begin among all, and which of the run they are.
fn overlap(run: i64, segments: &Range<u64>) -> Option<(usize, Range<usize>)> {
    let base = run.cast_unsigned().checked_mul(RUN_SEGMENTS)?;
    let (start, end) = (segments.start.max(base), segments.end.min(base.checked_add(RUN_SEGMENTS)?));
    let within = |segment: u64, from: u64| usize::try_from(segment - from).ok();
    if start >= end {
        return None;
    }
    Some((within(start, segments.start)?, within(start, base)?..within(end, base)?))
}

/// Segments in a range.
pub(super) fn len(segments: &Range<u64>) -> usize {
    usize::try_from(segments.end.saturating_sub(segments.start)).unwrap_or(0)
}
