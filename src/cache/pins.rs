//! What stays whatever happens: ranges of runs under a label.
//!
//! A pinned run need not be there yet; it becomes pinned when it comes. Slots of pinned runs are never victims and do
//! not count against the limit.

use crate::cache::PinInfo;
use crate::cache::budget::STRIDE;
use crate::cache::fault::Fault;
use crate::cache::ledger::Ledger;
use crate::cache::schema::DATA;
use crate::cache::schema::METADATA;
use crate::cache::schema::PINNED;
use crate::id::ObjectId;
use rusqlite::Connection;
use rusqlite::Row;
use std::ops::Range;

/// Begins the name of the setting that stands as long as a pin is not whole; its label follows. An older version of the
/// program overlooks it.
const UNFINISHED: &str = "unfinished pin ";

/// Ranges of runs that one transaction changes; a range seldom leaves its pack.
pub(super) const RANGES_AT_ONCE: usize = 2;

impl Ledger<'_> {
    /// Whether any label keeps this run.
    pub(super) fn is_pinned(&self, pack: ObjectId, run: i64) -> Result<bool, Fault> {
        let query = "SELECT 1 FROM pinned WHERE pack = ?1 AND first <= ?2 AND past > ?2 LIMIT 1";
        Ok(self.one(query, (pack.0, run), |_| Ok(()))?.is_some())
    }

    /// The number of a label, which is made if it is new.
    pub(super) fn make_pin(&self, label: &str, place: &str, now_secs: i64) -> Result<i64, Fault> {
        let place = self.make_place(place)?;
        let statement = "INSERT OR IGNORE INTO pin (label, place, created) VALUES (?1, ?2, ?3)";
        self.run(statement, (label, place, now_secs))?;
        self.pin_number(label)
    }

    /// The number of a label that is there.
    pub(super) fn pin_number(&self, label: &str) -> Result<i64, Fault> {
        let id = self.one("SELECT id FROM pin WHERE label = ?1", [label], |row| row.get(0))?;
        id.ok_or_else(|| Fault::NoPin(label.to_owned()))
    }

    /// Takes note of whether all is there that a label is to keep.
    pub(super) fn note_whole(&self, label: &str, is_whole: bool) -> Result<(), Fault> {
        let statement = match is_whole {
            true => "DELETE FROM setting WHERE name = ?1 || ?2",
            false => "INSERT OR REPLACE INTO setting (name, number) VALUES (?1 || ?2, 1)",
        };
        self.run(statement, (UNFINISHED, label))?;
        Ok(())
    }

    /// Keeps these runs under the label from now on.
    pub(super) fn pin_runs(&self, pin: i64, pack: ObjectId, runs: &Range<i64>) -> Result<(), Fault> {
        let covered = "SELECT 1 FROM pinned WHERE pack = ?1 AND first <= ?2 AND past >= ?3 AND pin = ?4 LIMIT 1";
        if runs.is_empty() || self.one(covered, (pack.0, runs.start, runs.end, pin), |_| Ok(()))?.is_some() {
            return Ok(());
        }
        let longer = "UPDATE OR REPLACE pinned SET past = ?3 WHERE pack = ?1 AND past = ?2 AND pin = ?4";
        if self.run(longer, (pack.0, runs.start, runs.end, pin))? == 0 {
            let statement = "INSERT OR IGNORE INTO pinned (pack, first, past, pin) VALUES (?1, ?2, ?3, ?4)";
            self.run(statement, (pack.0, runs.start, runs.end, pin))?;
        }
        let here = "UPDATE slot SET state = state + ?4
                    WHERE pack = ?1 AND run >= ?2 AND run < ?3 AND state IN (?5, ?6)";
        self.run(here, (pack.0, runs.start, runs.end, PINNED, DATA, METADATA))?;
        Ok(())
    }

    /// Drops some ranges of a label, and the label with the last one; false if there is more to do. Runs stay until
    /// they are the oldest, unless another label keeps them.
    pub(super) fn unpin_some(&self, pin: i64) -> Result<bool, Fault> {
        let ranges = {
            let mut query = self.db.prepare_cached("SELECT pack, first, past FROM pinned WHERE pin = ?1 LIMIT ?2")?;
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            query.query_map((pin, RANGES_AT_ONCE as i64), read)?.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let statement = "UPDATE slot SET state = state - ?4
                         WHERE pack = ?1 AND run >= ?2 AND run < ?3 AND state IN (?4 + ?5, ?4 + ?6) AND NOT EXISTS (
                             SELECT 1 FROM pinned AS p
                             WHERE p.pack = slot.pack AND p.first <= slot.run AND p.past > slot.run)";
        for (pack, first, past) in &ranges {
            let (pack, first, past): (&[u8; 16], &i64, &i64) = (pack, first, past);
            let range = "DELETE FROM pinned WHERE pack = ?1 AND first = ?2 AND past = ?3 AND pin = ?4";
            self.run(range, (pack, first, past, pin))?;
            self.run(statement, (pack, first, past, PINNED, DATA, METADATA))?;
        }
        if ranges.len() < RANGES_AT_ONCE {
            self.run("DELETE FROM pin WHERE id = ?1", [pin])?;
        }
        Ok(ranges.len() < RANGES_AT_ONCE)
    }

    /// Bytes of objects that pins keep.
    pub(super) fn pinned_object_bytes(&self) -> Result<u64, Fault> {
        if self.one("SELECT 1 FROM pin LIMIT 1", [], |_| Ok(()))?.is_none() {
            return Ok(0);
        }
        let query = "SELECT total(len) FROM object WHERE place IN (SELECT place FROM pin)";
        let bytes: f64 = self.one(query, [], |row| row.get(0))?.unwrap_or(0.0);
        Ok(bytes as u64)
    }

    /// Drops some of what is not pinned; false if there is more to do.
    pub(super) fn clear_some(&self) -> Result<bool, Fault> {
        let at_once = i64::try_from(self.budget.batch_rows()).unwrap_or(1) * 2;
        let some = "slot IN (SELECT slot FROM slot WHERE state IN (?1, ?2) LIMIT ?3)";
        let slots = self.release(some, (DATA, METADATA, at_once))?;
        let objects = self.run(
            "DELETE FROM object WHERE id IN (
                 SELECT id FROM object WHERE place NOT IN (SELECT place FROM pin) LIMIT ?1)",
            [at_once],
        )?;
        Ok(slots == 0 && objects == 0)
    }
}

/// All labels, oldest first.
pub(super) fn pins(db: &Connection) -> Result<Vec<PinInfo>, Fault> {
    let mut query = db.prepare(
        "SELECT label, name, created,
             (SELECT count(DISTINCT slot) FROM pinned AS p
              JOIN slot ON slot.pack = p.pack AND slot.run >= p.first AND slot.run < p.past WHERE p.pin = pin.id),
             NOT EXISTS (SELECT 1 FROM setting WHERE setting.name = ?1 || label)
         FROM pin JOIN place ON place.id = pin.place ORDER BY created, label",
    )?;
    let rows = query.query_map([UNFINISHED], |row| {
        let slots: i64 = row.get(3)?;
        let bytes = u64::try_from(slots).unwrap_or(0).saturating_mul(STRIDE);
        let (label, place, created_secs) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(PinInfo { label, place, created_secs, bytes, is_whole: row.get(4)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
