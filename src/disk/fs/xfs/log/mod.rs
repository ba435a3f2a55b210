//! The log: whether the file system was unmounted, and if not, the changes that stand only here.
//!
//! Source: "XFS Algorithms & Data Structures", chapter 10 "Journaling Log".
//!
//! The log is a ring of blocks of 512 bytes. Each begins with the number of the turn in which it was written (a record's
//! first block with a magic number, then the turn). The head is where the turn drops by one. A clean log ends with a
//! record of one operation that says "unmount". Any other is replayed in memory, from the tail that its last record
//! names; of what cannot be replayed for sure, nothing is.

mod inode_item;
mod record;
mod replay;
mod ring;
mod transaction;

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::NodeId;
use crate::disk::fs::xfs::overlay::Overlay;
use crate::disk::fs::xfs::volume::Volume;
use record::Record;
use replay::Replay;
use ring::Ring;
use std::collections::BTreeSet;
use std::ops::Range;
use transaction::Open;

/// Longest record with its headers, in blocks, and as much again: so far back is looked for the last one.
const SEARCH_BLOCKS: u64 = 2 * (512 + 8);
/// So many records may have been written in part when all stopped.
const TORN_RECORDS_MAX: usize = 16;

/// What the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is only in the log.
    Clean,
    /// Changes were only in the log, and are shown.
    Replayed,
    /// Changes are only in the log, and are not shown.
    Dirty,
    /// The log is on a device of its own.
    External,
}

/// The log, read once.
pub(super) struct Log {
    pub(super) state: State,
    /// What it changes.
    pub(super) overlay: Overlay,
    /// Inodes whose mappings or attributes were being changed.
    pub(super) unsettled: BTreeSet<NodeId>,
    /// What of the log was needed.
    pub(super) places: Vec<Range<u64>>,
}

impl Log {
    fn without_changes(state: State, places: Vec<Range<u64>>) -> Log {
        Log { state, overlay: Overlay::default(), unsettled: BTreeSet::new(), places }
    }

    /// Reads the log of a file system.
    pub(super) fn read(volume: &Volume) -> Result<Log> {
        let Some(start) = volume.superblock.log_start else {
            return Ok(Log::without_changes(State::External, Vec::new()));
        };
        let read = Ring::of(volume, start).and_then(|ring| read(volume, &ring));
        match read {
            Err(Error::Damaged { .. } | Error::Unsupported { .. }) => {
                Ok(Log::without_changes(State::Dirty, Vec::new()))
            }
            other => other,
        }
    }
}

/// The last record before `head`, if one is near.
fn last_record(ring: &Ring<'_>, head: u64) -> Result<Option<Record>> {
    for back in 1..=SEARCH_BLOCKS.min(ring.blocks - 1) {
        if let Some(record) = Record::at(ring, ring.before(head, back))? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn ends_at(ring: &Ring<'_>, record: &Record, head: u64) -> bool {
    (record.number + record.blocks()) % ring.blocks == head % ring.blocks
}

/// Whether the last record before `head` says "unmount" and ends there.
fn is_unmounted(ring: &Ring<'_>, head: u64) -> Result<bool> {
    let Some(record) = last_record(ring, head)? else {
        return Ok(false);
    };
    if record.operations != 1 || !ends_at(ring, &record, head) {
        return Ok(false);
    }
    record.data(ring, false)?.map_or(Ok(false), |data| transaction::is_unmount(&data))
}

fn read(volume: &Volume, ring: &Ring<'_>) -> Result<Log> {
    let newest = ring.turn(0)?;
    // All zeros, as if nothing had ever been written.
    if newest == 0 {
        return Ok(Log::without_changes(State::Clean, ring.looked_at()));
    }
    let end = ring.end_of_turn(newest)?;
    if is_unmounted(ring, end)? {
        return Ok(Log::without_changes(State::Clean, ring.looked_at()));
    }
    if volume.superblock.has_unknown_log {
        return Err(Error::unsupported("XFS log with features that are not known"));
    }
    let needs_checksum = volume.superblock.has_crc;
    let mut head = ring.first_gap(newest, end)?;
    for _ in 0..TORN_RECORDS_MAX {
        let Some(record) = last_record(ring, head)? else {
            break;
        };
        if !ends_at(ring, &record, head) || record.data(ring, needs_checksum)?.is_none() {
            head = record.number;
            continue;
        }
        if is_unmounted(ring, head)? {
            return Ok(Log::without_changes(State::Clean, ring.looked_at()));
        }
        // What was written of the newest turn may all be torn.
        let turn = if head > end { newest.saturating_sub(1) } else { newest };
        return replay(volume, ring, record.tail, head % ring.blocks, turn);
    }
    Err(Error::damaged("XFS log", ring.at, "it has no whole record at its end"))
}

/// Calls `take` with the data of each record from `tail` to `head`, and with the number of its operations.
fn records(
    volume: &Volume,
    ring: &Ring<'_>,
    (tail, head): (u64, u64),
    newest: u32,
    take: &mut dyn FnMut(&[u8], u32) -> Result<()>,
) -> Result<()> {
    let wrong = |why| Error::damaged("XFS log record", ring.at, why);
    let mut left = ring.distance(tail, head);
    while left > 0 {
        let number = ring.before(head, left);
        let record = Record::at(ring, number)?.ok_or(wrong("there is none where one should begin"))?;
        let turn = if number < head || head == 0 { newest } else { newest.saturating_sub(1) };
        if !record.is_little_endian {
            return Err(Error::unsupported("XFS log of a big-endian machine"));
        }
        if record.turn != turn || record.blocks() > left {
            return Err(wrong("it is of another turn"));
        }
        let data = record.data(ring, volume.superblock.has_crc)?.ok_or(wrong("its checksum is wrong"))?;
        take(&data, record.operations)?;
        left -= record.blocks();
    }
    Ok(())
}

fn replay(volume: &Volume, ring: &Ring<'_>, tail: u64, head: u64, newest: u32) -> Result<Log> {
    if tail >= ring.blocks {
        return Err(Error::damaged("XFS log", ring.at, "its tail lies outside"));
    }
    let mut places = ring.looked_at();
    let mut replay = Replay::default();
    let mut open = Open::default();
    records(volume, ring, (tail, head), newest, &mut |data, operations| {
        open.record(data, operations, &mut |items| replay.note_cancelled(&items))
    })?;
    let mut open = Open::default();
    records(volume, ring, (tail, head), newest, &mut |data, operations| {
        open.record(data, operations, &mut |items| replay.apply(volume, &items))
    })?;
    let (overlay, unsettled) = replay.finish();
    let byte = |number: u64| ring.at + number * u64::from(ring::BLOCK_BYTES);
    let (end, around) = if tail <= head { (head, 0) } else { (ring.blocks, head) };
    places.extend([byte(tail)..byte(end), byte(0)..byte(around)].into_iter().filter(|place| !place.is_empty()));
    Ok(Log { state: State::Replayed, overlay, unsettled, places })
}
