//! The rows of the slots, within one transaction: who gets a slot, who loses one, what is given back to the disk.
//!
//! Slots are written while the transaction is open. If it fails, rows may point at bytes of others, which do not open
//! and are forgotten then; what is counted as allocated is never less than what the disk has given.

use crate::cache::Class;
use crate::cache::budget::Budget;
use crate::cache::budget::PINNED_ROW_BYTES;
use crate::cache::budget::slots;
use crate::cache::fault::Fault;
use crate::cache::folder::Folder;
use crate::cache::schema::DATA;
use crate::cache::schema::FREE;
use crate::cache::schema::HOLE;
use crate::cache::schema::METADATA;
use crate::cache::schema::PINNED;
use crate::cache::schema::number;
use crate::cache::slots::Lens;
use crate::cache::slots::Parts;
use crate::cache::slots::Slots;
use crate::cache::slots::decode_lens;
use crate::cache::slots::encode_lens;
use crate::id::ObjectId;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Params;
use rusqlite::Row;

/// Slots taken from the disk at once.
const GROW_SLOTS: i64 = 16;
/// Most slots given back by one transaction for want of free disk space.
const SHORTAGE_SLOTS_MAX: i64 = 4096;

/// Segments of one run, to be kept.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pack: ObjectId,
    pub(super) run: i64,
    pub(super) class: Class,
    pub(super) parts: Parts,
}

/// An open transaction and what it has to know.
pub(super) struct Ledger<'a> {
    pub(super) db: &'a Connection,
    pub(super) slots: &'a Slots,
    folder: &'a Folder,
    pub(super) budget: Budget,
    /// Slots that may still be allocated within the limit.
    spare: i64,
    /// Slots that the disk can still take.
    disk_spare: i64,
    clock: i64,
}

/// Slots by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) free: i64,
    pub(super) data: i64,
    pub(super) metadata: i64,
    pub(super) pinned: i64,
    pub(super) object_bytes: u64,
}

/// Reads the sums.
pub(super) fn tally(db: &Connection) -> Result<Tally, Fault> {
    let mut tally = Tally::default();
    let mut query = db.prepare_cached("SELECT what, sum FROM tally")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let sum: i64 = row.get(1)?;
        let bytes = u64::try_from(sum).map_err(|_| Fault::Damaged("a sum is negative"))?;
        match row.get::<_, i64>(0)? {
            FREE => tally.free = sum,
            DATA => tally.data = sum,
            METADATA => tally.metadata = sum,
            HOLE => {}
            crate::cache::schema::OBJECT_BYTES => tally.object_bytes = bytes,
            _ => tally.pinned = tally.pinned.saturating_add(sum),
        }
    }
    Ok(tally)
}

impl<'a> Ledger<'a> {
    /// Begins; nothing is changed yet.
    pub(super) fn new(
        db: &'a Connection,
        slots: &'a Slots,
        folder: &'a Folder,
        budget: Budget,
    ) -> Result<Ledger<'a>, Fault> {
        let clock = db.query_row("SELECT number FROM setting WHERE name = 'clock'", [], |row| row.get(0))?;
        Ok(Ledger { db, slots, folder, budget, spare: 0, disk_spare: 0, clock })
    }

    /// Keeps the clock for the next transaction.
    pub(super) fn finish(self) -> Result<(), Fault> {
        self.run("UPDATE setting SET number = ?1 WHERE name = 'clock'", [self.clock])?;
        Ok(())
    }

    pub(super) fn run(&self, statement: &str, params: impl Params) -> Result<usize, Fault> {
        Ok(self.db.prepare_cached(statement)?.execute(params)?)
    }

    pub(super) fn one<T>(
        &self,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.db.prepare_cached(query)?.query_row(params, read).optional()?)
    }

    /// A moment later than all before.
    pub(super) fn tick(&mut self) -> i64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// Bytes that count apart from the limit.
    pub(super) fn pinned_row_bytes(&self, tally: &Tally) -> Result<u64, Fault> {
        let objects = self.pinned_object_bytes()?;
        Ok(u64::try_from(tally.pinned).unwrap_or(0).saturating_mul(PINNED_ROW_BYTES).saturating_add(objects))
    }

    /// Brings everything within the limit, with room for so many bytes of objects to come, and the disk above its
    /// twentieth. Does a bounded part of the work; false if there is more. Nothing may be kept before it is done.
    pub(super) fn trim(&mut self, incoming: u64) -> Result<bool, Fault> {
        self.reconcile()?;
        let is_pages_done = self.trim_objects(incoming)? && self.vacuum()?;
        self.measure(incoming)?;
        let shortage = (-self.disk_spare).clamp(0, SHORTAGE_SLOTS_MAX);
        let surplus = (-self.spare).max(shortage);
        if surplus <= 0 {
            return Ok(is_pages_done);
        }
        let given =
            self.give_back(surplus, |ledger| ledger.free_slot()?.map_or_else(|| ledger.victim(), |s| Ok(Some(s))))?;
        self.measure(incoming)?;
        // If there is nothing left to give, it is done as well as it can be.
        Ok(is_pages_done && (given == 0 || given >= surplus))
    }

    /// Gives some of the slots that nothing is in back to the disk; false if there is more to do. Those at the end are
    /// cut off, because a hole is made only after what was there has been written out.
    pub(super) fn give_back_free(&self) -> Result<bool, Fault> {
        let at_once = i64::try_from(self.budget.batch_rows()).unwrap_or(1) * 4;
        let statement = "DELETE FROM slot WHERE slot IN (
             SELECT slot FROM slot
             WHERE slot > coalesce((SELECT max(slot) FROM slot WHERE state > ?1), -1) ORDER BY slot DESC LIMIT ?2)";
        if self.run(statement, (FREE, at_once))? > 0 {
            self.cut_tail()?;
            return Ok(false);
        }
        Ok(self.give_back(i64::MAX, Ledger::free_slot)? == 0)
    }

    /// Makes holes of slots, as many as one transaction may; returns how many.
    fn give_back(&self, wanted: i64, choose: impl Fn(&Ledger<'a>) -> Result<Option<i64>, Fault>) -> Result<i64, Fault> {
        let at_once = i64::try_from(self.budget.batch_rows()).unwrap_or(1) * 2;
        let mut given = 0;
        while given < wanted.min(at_once) {
            let Some(slot) = choose(self)? else { break };
            self.slots.give_back(slot)?;
            let statement = "UPDATE slot SET state = ?2, pack = NULL, run = NULL, lens = NULL WHERE slot = ?1";
            self.run(statement, (slot, HOLE))?;
            given += 1;
        }
        self.cut_tail()?;
        Ok(given)
    }

    /// Finds out how many slots may still be taken.
    pub(super) fn measure(&mut self, incoming: u64) -> Result<(), Fault> {
        let tally = tally(self.db)?;
        let pages = u64::try_from(number(self.db, "page_count")?).unwrap_or(0);
        let page = u64::try_from(number(self.db, "page_size")?).unwrap_or(4096);
        let database = pages.saturating_mul(page).max(self.folder.database_bytes());
        let database = database.saturating_sub(self.pinned_row_bytes(&tally)?).saturating_add(incoming);
        let taken = tally.free.saturating_add(tally.data).saturating_add(tally.metadata);
        self.spare = self.budget.slots_max(database).saturating_sub(taken);
        // The log may grow meanwhile, and the database by a few pages.
        let log = self.budget.log_bytes().saturating_sub(self.folder.log_bytes());
        self.disk_spare = self.slots.disk_spare(log + incoming + (64 << 10))?;
        Ok(())
    }

    /// Shortens the database if much of it is empty; false if there is more to do.
    fn vacuum(&self) -> Result<bool, Fault> {
        let is_little = || -> Result<bool, Fault> {
            Ok(number(self.db, "freelist_count")? <= 64 + number(self.db, "page_count")? / 8)
        };
        if is_little()? {
            return Ok(true);
        }
        let mut vacuum = self.db.prepare(&format!("PRAGMA incremental_vacuum({})", self.budget.batch_rows() * 4))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        is_little()
    }

    /// What a killed process has taken and not written down goes back to the disk.
    fn reconcile(&mut self) -> Result<(), Fault> {
        let tally = tally(self.db)?;
        let counted = tally.free.saturating_add(tally.data).saturating_add(tally.metadata).saturating_add(tally.pinned);
        if slots(self.slots.blocks()?) <= counted {
            return Ok(());
        }
        let holes = {
            let mut query = self.db.prepare_cached("SELECT slot FROM slot WHERE state = ?1")?;
            query.query_map([HOLE], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?
        };
        holes.into_iter().try_for_each(|hole| self.slots.give_back(hole))?;
        self.cut_tail()
    }

    /// Holes at the end of the file need no rows.
    fn cut_tail(&self) -> Result<(), Fault> {
        let last = |query| self.one(query, [], |row| row.get::<_, Option<i64>>(0));
        let end = last("SELECT max(slot) FROM slot WHERE state <> 0")?.flatten().unwrap_or(-1).saturating_add(1);
        self.run("DELETE FROM slot WHERE slot >= ?1", [end])?;
        self.slots.truncate(end)
    }

    fn free_slot(&self) -> Result<Option<i64>, Fault> {
        self.one("SELECT slot FROM slot WHERE state = ?1 LIMIT 1", [FREE], |row| row.get(0))
    }

    /// The slot to lose its run: data before metadata as long as there is little metadata, the oldest otherwise.
    fn victim(&self) -> Result<Option<i64>, Fault> {
        let oldest = |state: i64| {
            let query = "SELECT slot, used FROM slot WHERE state = ?1 ORDER BY used LIMIT 1";
            self.one(query, [state], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        };
        let (data, metadata) = (oldest(DATA)?, oldest(METADATA)?);
        let (Some(data), Some(metadata)) = (data, metadata) else { return Ok(data.or(metadata).map(|row| row.0)) };
        let count = self.one("SELECT sum FROM tally WHERE what = ?1", [METADATA], |row| row.get::<_, i64>(0))?;
        let is_much = count.unwrap_or(0) > self.budget.metadata_floor_slots();
        Ok(Some(if is_much && metadata.1 < data.1 { metadata.0 } else { data.0 }))
    }

    /// Takes more room from the disk; false if there is none.
    fn grow(&mut self, slots_max: i64) -> Result<bool, Fault> {
        let count = GROW_SLOTS.min(slots_max).min(self.disk_spare);
        if count <= 0 {
            return Ok(false);
        }
        let hole: Option<i64> = self.one("SELECT slot FROM slot WHERE state = ?1 LIMIT 1", [HOLE], |row| row.get(0))?;
        let range = match hole {
            Some(hole) => hole..hole.saturating_add(1),
            None => {
                let last: Option<i64> = self.one("SELECT max(slot) FROM slot", [], |row| row.get(0))?.flatten();
                let end = last.map_or(0, |last| last.saturating_add(1));
                end..end.saturating_add(count)
            }
        };
        match self.slots.allocate(range.clone()) {
            Ok(()) => {}
            // Other programs were faster.
            Err(Fault::DiskShort) => {
                self.disk_spare = 0;
                return Ok(false);
            }
            Err(fault) => return Err(fault),
        }
        self.disk_spare = self.disk_spare.saturating_sub(range.end - range.start);
        self.spare = self.spare.saturating_sub(range.end - range.start);
        for slot in range {
            self.run("INSERT OR REPLACE INTO slot (slot, state, used) VALUES (?1, ?2, 0)", (slot, FREE))?;
        }
        Ok(true)
    }

    /// A slot to write to. For a pinned run the limit does not count, only the disk.
    fn take(&mut self, is_pinned: bool) -> Result<Option<i64>, Fault> {
        let slots_max = if is_pinned { 1 } else { self.spare };
        let has_free = self.free_slot()?;
        let slot = match has_free {
            Some(slot) => Some(slot),
            None if self.grow(slots_max)? => self.free_slot()?,
            None => self.victim()?,
        };
        if is_pinned && slot.is_some() {
            // It leaves those that the limit counts.
            self.spare = self.spare.saturating_add(1);
        }
        Ok(slot)
    }

    /// Writes segments of a run; those that are kept already stay as they are. False if there is no room.
    pub(super) fn keep(&mut self, run: &Run) -> Result<bool, Fault> {
        let used = self.tick();
        let query = "SELECT slot, lens FROM slot WHERE pack = ?1 AND run = ?2";
        let known = self.one(query, (run.pack.0, run.run), |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let (slot, mut lens) = match known {
            Some((slot, lens)) => (slot, decode_lens(&lens)?),
            None => {
                let is_pinned = self.is_pinned(run.pack, run.run)?;
                let Some(slot) = self.take(is_pinned)? else { return Ok(false) };
                let state = run.class.state() + if is_pinned { PINNED } else { 0 };
                let statement = "UPDATE slot SET state = ?2, used = ?3, pack = ?4, run = ?5, lens = ?6 WHERE slot = ?1";
                let lens = Lens::default();
                self.run(statement, (slot, state, used, run.pack.0, run.run, encode_lens(&lens)))?;
                (slot, lens)
            }
        };
        for (segment, (part, len)) in run.parts.iter().zip(&mut lens).enumerate() {
            let Some(part) = part else { continue };
            if *len as usize != part.len() {
                self.slots.write(slot, segment, part)?;
                *len = u32::try_from(part.len()).unwrap_or(0);
            }
        }
        self.run("UPDATE slot SET lens = ?2, used = ?3 WHERE slot = ?1", (slot, encode_lens(&lens), used))?;
        Ok(true)
    }

    /// Notes that a run was read.
    pub(super) fn touch(&mut self, pack: ObjectId, run: i64) -> Result<(), Fault> {
        let used = self.tick();
        self.run("UPDATE slot SET used = ?3 WHERE pack = ?1 AND run = ?2", (pack.0, run, used))?;
        Ok(())
    }

    /// Drops segments that turned out to be bad; a run without segments loses its slot.
    pub(super) fn forget(&mut self, pack: ObjectId, run: i64, segments: u8) -> Result<(), Fault> {
        let query = "SELECT slot, lens FROM slot WHERE pack = ?1 AND run = ?2";
        let known = self.one(query, (pack.0, run), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let Some((slot, lens)) = known else { return Ok(()) };
        let mut lens = decode_lens(&lens)?;
        for (segment, len) in lens.iter_mut().enumerate() {
            if segments & 1 << segment != 0 {
                *len = 0;
            }
        }
        if lens == Lens::default() {
            self.release("slot = ?1", [slot]).map(drop)
        } else {
            self.run("UPDATE slot SET lens = ?2 WHERE slot = ?1", (slot, encode_lens(&lens))).map(drop)
        }
    }

    /// Makes slots free that satisfy the condition.
    pub(super) fn release(&self, condition: &str, params: impl Params) -> Result<usize, Fault> {
        let statement =
            format!("UPDATE slot SET state = {FREE}, pack = NULL, run = NULL, lens = NULL WHERE {condition}");
        self.run(&statement, params)
    }
}
