//! The writing half of an open cache: batches of work, each one transaction whose mark in the log is bounded.
//!
//! Others wait for a batch a few seconds at the most and drop their own then. Nothing here is on the path of a reader.

use crate::cache::Class;
use crate::cache::budget::Budget;
use crate::cache::budget::RUN_SEGMENTS;
use crate::cache::budget::SEGMENT_BYTES;
use crate::cache::fault::Fault;
use crate::cache::folder::Folder;
use crate::cache::ledger::Ledger;
use crate::cache::ledger::Run;
use crate::cache::ledger::Tally;
use crate::cache::ledger::tally;
use crate::cache::objects::Key;
use crate::cache::pins::RANGES_AT_ONCE;
use crate::cache::pins::pins;
use crate::cache::schema;
use crate::cache::schema::WRITER_WAIT;
use crate::cache::slots::Slots;
use crate::id::ObjectId;
use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long readers may keep the log from being emptied.
const LOG_WAIT: Duration = Duration::from_millis(500);

/// One thing to do.
#[derive(Debug)]
pub(super) enum Work {
    Keep(Run),
    KeepObject(Key, Bytes),
    Forget(ObjectId, i64, u8),
    ForgetObject(Key),
    Touch(ObjectId, i64),
    TouchObject(Key),
}

/// Figures of what is kept.
pub(super) struct Counts {
    pub(super) tally: Tally,
    pub(super) objects: u64,
    /// What the database holds for pins.
    pub(super) pinned_row_bytes: u64,
}

/// A connection that writes.
pub(super) struct Writer {
    pub(super) db: Connection,
    slots: Arc<Slots>,
    folder: Folder,
    /// The limit of this process, if it is not the one of all.
    limit: Option<u64>,
}

impl Writer {
    pub(super) fn new(db: Connection, slots: Arc<Slots>, folder: Folder, limit: Option<u64>) -> Writer {
        Writer { db, slots, folder, limit }
    }

    /// The bound that holds for this process.
    pub(super) fn budget(&self) -> Result<Budget, Fault> {
        Ok(Budget { limit: self.limit.map_or_else(|| schema::limit(&self.db), Ok)? })
    }

    /// Empties the log if it has grown; nothing may be written while it cannot be.
    fn bound_log(&self, budget: Budget) -> Result<(), Fault> {
        if self.folder.log_bytes() <= budget.log_bytes_before_batch() {
            return Ok(());
        }
        self.db.busy_timeout(LOG_WAIT)?;
        let emptied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.db.busy_timeout(WRITER_WAIT)?;
        emptied?;
        let is_small = self.folder.log_bytes() <= budget.log_bytes_before_batch();
        is_small.then_some(()).ok_or(Fault::Busy)
    }

    /// One transaction, kept only if it succeeds.
    fn within<T>(&mut self, deed: impl FnOnce(&mut Ledger<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let budget = self.budget()?;
        self.bound_log(budget)?;
        let txn = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ledger = Ledger::new(&txn, &self.slots, &self.folder, budget)?;
        let done = deed(&mut ledger)?;
        ledger.finish()?;
        txn.commit()?;
        Ok(done)
    }

    /// Repeats a deed in transactions of its own until it says that it is done.
    fn until_done(&mut self, mut deed: impl FnMut(&mut Ledger<'_>) -> Result<bool, Fault>) -> Result<(), Fault> {
        while !self.within(&mut deed)? {}
        Ok(())
    }

    /// Brings all within the limit and gives the rest back to the disk.
    pub(super) fn trim(&mut self) -> Result<(), Fault> {
        self.until_done(|ledger| ledger.trim(0))
    }

    /// The same, unless somebody else writes just now: the next batch does it then.
    pub(super) fn trim_now(&mut self) -> Result<(), Fault> {
        self.db.busy_timeout(LOG_WAIT)?;
        let trimmed = self.trim();
        self.db.busy_timeout(WRITER_WAIT)?;
        match trimmed {
            Err(Fault::Busy) => Ok(()),
            other => other,
        }
    }

    /// Does some of the work, in order, and removes it from the front.
    pub(super) fn batch(&mut self, work: &mut Vec<Work>) -> Result<(), Fault> {
        let budget = self.budget()?;
        let count = fitting(work, budget);
        let now: Vec<Work> = work.drain(..count).collect();
        let incoming = now.iter().map(incoming_bytes).sum();
        self.until_done(|ledger| {
            if !ledger.trim(incoming)? {
                return Ok(false);
            }
            for work in &now {
                if let Work::KeepObject(key, bytes) = work {
                    ledger.keep_object(key, bytes)?;
                }
            }
            ledger.measure(0)?;
            now.iter().try_for_each(|work| apply(ledger, work))?;
            Ok(true)
        })
    }

    /// Keeps whole runs for good, as many transactions as it takes.
    pub(super) fn write_pinned(&mut self, label: &str, runs: &[Run]) -> Result<(), Fault> {
        for some in runs.chunks(self.budget()?.batch_rows()) {
            self.until_done(|ledger| {
                if !ledger.trim(0)? {
                    return Ok(false);
                }
                let pin = ledger.pin_number(label)?;
                for run in some {
                    ledger.pin_runs(pin, run.pack, &(run.run..run.run + 1))?;
                    if !ledger.keep(run)? {
                        return Err(Fault::DiskShort);
                    }
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Marks runs as pinned, those that are there and those to come.
    pub(super) fn pin(
        &mut self,
        label: &str,
        place: &str,
        now_secs: i64,
        ranges: &[(ObjectId, Range<i64>)],
    ) -> Result<(), Fault> {
        self.within(|ledger| ledger.make_pin(label, place, now_secs))?;
        for some in ranges.chunks(RANGES_AT_ONCE) {
            self.within(|ledger| {
                let pin = ledger.pin_number(label)?;
                some.iter().try_for_each(|(pack, runs)| ledger.pin_runs(pin, *pack, runs))
            })?;
        }
        Ok(())
    }

    /// Takes note of whether all is there that a label is to keep.
    pub(super) fn note_whole(&mut self, label: &str, is_whole: bool) -> Result<(), Fault> {
        self.within(|ledger| ledger.note_whole(label, is_whole))
    }

    /// Drops a label.
    pub(super) fn unpin(&mut self, label: &str) -> Result<(), Fault> {
        let pin = self.within(|ledger| ledger.pin_number(label))?;
        self.until_done(|ledger| ledger.unpin_some(pin))?;
        self.note_whole(label, true)?;
        self.trim()
    }

    /// Drops everything, or all but what is pinned, and gives its room back.
    pub(super) fn clear(&mut self, pinned_too: bool) -> Result<(), Fault> {
        if pinned_too {
            for pin in pins(&self.db)? {
                self.unpin(&pin.label)?;
            }
        }
        self.until_done(|ledger| ledger.clear_some())?;
        self.until_done(|ledger| ledger.give_back_free())?;
        self.trim()?;
        // The database is shortened on disk by this alone; if somebody reads just now, a later batch does it.
        let _later = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }

    /// What there is.
    pub(super) fn counts(&self) -> Result<Counts, Fault> {
        let ledger = Ledger::new(&self.db, &self.slots, &self.folder, self.budget()?)?;
        let tally = tally(&self.db)?;
        let objects: i64 = self.db.query_row("SELECT count(*) FROM object", [], |row| row.get(0))?;
        let objects = u64::try_from(objects).unwrap_or(0);
        Ok(Counts { tally, objects, pinned_row_bytes: ledger.pinned_row_bytes(&tally)? })
    }

    /// Changes the limit for everybody.
    pub(super) fn set_limit(&mut self, limit: u64) -> Result<(), Fault> {
        self.within(|ledger| schema::set_limit(ledger.db, limit))?;
        self.trim()
    }
}

/// How many of these one transaction can do.
fn fitting(work: &[Work], budget: Budget) -> usize {
    let (mut rows, mut bytes) = (0, 0);
    for (i, work) in work.iter().enumerate() {
        rows += 1;
        bytes += incoming_bytes(work);
        if i > 0 && (rows > budget.batch_rows() || bytes > budget.batch_object_bytes()) {
            return i;
        }
    }
    work.len()
}

/// What the database grows by.
fn incoming_bytes(work: &Work) -> u64 {
    match work {
        Work::KeepObject(_, bytes) => bytes.len() as u64 + bytes.len() as u64 / 256 + (8 << 10),
        _ => 0,
    }
}

fn apply(ledger: &mut Ledger<'_>, work: &Work) -> Result<(), Fault> {
    match work {
        Work::Keep(run) => ledger.keep(run).map(drop),
        Work::Forget(pack, run, segments) => ledger.forget(*pack, *run, *segments),
        Work::Touch(pack, run) => ledger.touch(*pack, *run),
        Work::TouchObject(key) => ledger.touch_object(key),
        Work::ForgetObject(key) => ledger.forget_object(key),
        Work::KeepObject(..) => Ok(()),
    }
}

/// Cuts consecutive sealed segments into runs. A piece that is shorter than a segment can only be the last.
pub(super) fn cut_into_runs(pack: ObjectId, class: Class, first_segment: u64, sealed: &Bytes) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, start) in (0..sealed.len()).step_by(SEGMENT_BYTES).enumerate() {
        let segment = first_segment.saturating_add(i as u64);
        let Ok(run) = i64::try_from(segment / RUN_SEGMENTS) else { break };
        let part = sealed.slice(start..(start + SEGMENT_BYTES).min(sealed.len()));
        if runs.last().is_none_or(|last| last.run != run) {
            runs.push(Run { pack, run, class, parts: Default::default() });
        }
        if let Some(last) = runs.last_mut() {
            last.parts[(segment % RUN_SEGMENTS) as usize] = Some(part);
        }
    }
    runs
}
