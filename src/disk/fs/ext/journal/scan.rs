//! Goes through the transactions of a journal, oldest first.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Journal: Commit, Revocation and Descriptor
//! Blocks; Fast Commits.
//!
//! A transaction counts when its commit block is there. A revocation undoes all copies of a block that its own and
//! earlier transactions hold; as they are gone through in order, that is to forget what is known of it at that moment.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::crc32::crc32c_running;
use crate::disk::fs::ext::crc::crc32_high_first;
use crate::disk::fs::ext::journal::COMPAT_CHECKSUM;
use crate::disk::fs::ext::journal::Header;
use crate::disk::fs::ext::journal::INCOMPAT_ASYNC_COMMIT;
use crate::disk::fs::ext::journal::INCOMPAT_FAST_COMMIT;
use crate::disk::fs::ext::journal::INCOMPAT_WIDE;
use crate::disk::fs::ext::journal::Journal;
use crate::disk::fs::ext::journal::LOGGED_MAX;
use crate::disk::fs::ext::journal::Log;
use crate::disk::fs::ext::journal::Logged;
use crate::disk::fs::ext::journal::MAGIC;
use crate::disk::fs::ext::journal::WHAT;
use crate::disk::fs::ext::journal::tag;
use crate::disk::fs::ext::journal::tag::Tag;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOCATION: u32 = 5;

const CRC32: u8 = 1;
const FAST_HEAD: u16 = 9;

/// A transaction whose commit block has not been seen yet.
#[derive(Default)]
struct Open {
    /// Block in the journal, and what it is.
    tags: Vec<(u64, Tag)>,
    revocations: Vec<u64>,
    /// Descriptors, with the blocks that follow each: what a checksum over all of it is made of.
    blocks: Vec<u64>,
}

struct Scan<'a> {
    header: &'a Header,
    log: &'a Log,
    journal: &'a mut Journal,
    open: Open,
    sequence: u32,
    at: u64,
}

/// Fills `journal` with the blocks of all transactions that count.
pub(super) fn all(header: &Header, log: &Log, journal: &mut Journal) -> Result<()> {
    let mut scan = Scan { header, log, journal, open: Open::default(), sequence: header.sequence, at: header.start };
    // Each turn uses up a block; a ring that is full of them has an end too.
    let mut left = header.ring.end - header.ring.start;
    while let Some(used) = scan.block()? {
        left = match left.checked_sub(used) {
            Some(left) if left > 0 => left,
            _ => break,
        };
    }
    let end = scan.sequence;
    if has_fast_commits(header, log, end)? {
        journal.notes.push("The latest changes, in fast commits of its journal, are not shown.".to_owned());
    }
    Ok(())
}

impl Scan<'_> {
    fn ring_len(&self) -> u64 {
        self.header.ring.end - self.header.ring.start
    }

    /// The block `n` after this one, round the ring.
    fn after(&self, at: u64, n: u64) -> u64 {
        self.header.ring.start + (at - self.header.ring.start + n) % self.ring_len()
    }

    /// One block of the journal's own. Returns how many blocks that were, or `None` at the end.
    fn block(&mut self) -> Result<Option<u64>> {
        let block = self.log.block(self.at)?;
        let f = Fields::new(&block, WHAT, self.log.place(self.at)?);
        if f.be32(0)? != MAGIC || f.be32(8)? != self.sequence {
            return Ok(None);
        }
        let used = match f.be32(4)? {
            DESCRIPTOR if self.has_good_tail(&f)? => self.descriptor(&f)?,
            REVOCATION if self.has_good_tail(&f)? => {
                self.open.revocations.push(self.at);
                1
            }
            COMMIT if self.is_good_commit(&f)? => {
                self.commit()?;
                1
            }
            DESCRIPTOR | REVOCATION | COMMIT => {
                let note =
                    format!("Its journal is damaged from transaction {} on; what follows is not shown.", self.sequence);
                self.journal.notes.push(note);
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.at = self.after(self.at, used);
        Ok(Some(used))
    }

    fn descriptor(&mut self, f: &Fields) -> Result<u64> {
        let tags = tag::all(self.header, f)?;
        let count = tags.len() as u64;
        if count >= self.ring_len() || self.open.tags.len() + tags.len() > LOGGED_MAX {
            return Err(f.damaged("a transaction is too long"));
        }
        for (tag, n) in tags.into_iter().zip(1..) {
            let place = self.after(self.at, n);
            self.open.tags.push((place, tag));
        }
        if self.header.compat & COMPAT_CHECKSUM != 0 {
            let all: Vec<u64> = (0..=count).map(|n| self.after(self.at, n)).collect();
            self.open.blocks.extend(all);
        }
        Ok(count + 1)
    }

    /// The transaction counts: its blocks are the newest, its revocations undo what they name.
    fn commit(&mut self) -> Result<()> {
        let open = std::mem::take(&mut self.open);
        for (place, tag) in open.tags {
            let at = self.log.place(place)?;
            let logged = Logged { at, sequence: self.sequence, checksum: tag.checksum, is_escaped: tag.is_escaped };
            self.journal.logged.insert(tag.number, logged);
        }
        for place in open.revocations {
            self.revoke(place)?;
        }
        if self.journal.logged.len() > LOGGED_MAX {
            return Err(Error::damaged(WHAT, 0, "it holds too many blocks"));
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    fn revoke(&mut self, place: u64) -> Result<()> {
        let block = self.log.block(place)?;
        let f = Fields::new(&block, WHAT, self.log.place(place)?);
        let is_wide = self.header.has(INCOMPAT_WIDE);
        let end = f.be32(12)? as usize;
        if end > f.len() {
            return Err(f.damaged("a revocation block is too long"));
        }
        let len = if is_wide { 8 } else { 4 };
        for at in (16..end).step_by(len).filter(|at| at + len <= end) {
            let number = if is_wide { f.be64(at)? } else { u64::from(f.be32(at)?) };
            self.journal.logged.remove(&number);
        }
        Ok(())
    }

    /// The checksum at the end of a descriptor or revocation block.
    fn has_good_tail(&self, f: &Fields) -> Result<bool> {
        if !self.header.has_checksums() {
            return Ok(true);
        }
        let at = f.len().saturating_sub(4);
        let sum = crc32c_running(crc32c_running(self.journal.seed, f.bytes(0, at)?), &[0; 4]);
        Ok(sum == f.be32(at)?)
    }

    fn is_good_commit(&self, f: &Fields) -> Result<bool> {
        let stored = f.be32(16)?;
        if self.header.has_checksums() {
            let parts = [f.bytes(0, 16)?, &[0; 4], f.rest(20)?];
            return Ok(parts.iter().fold(self.journal.seed, |crc, part| crc32c_running(crc, part)) == stored);
        }
        let has_sum = f.u8(12)? == CRC32 && f.u8(13)? == 4;
        if self.header.compat & COMPAT_CHECKSUM == 0 || !has_sum {
            // A commit that did not wait for its blocks is worth nothing without a checksum.
            return Ok(!self.header.has(INCOMPAT_ASYNC_COMMIT));
        }
        let mut sum = !0;
        for place in &self.open.blocks {
            sum = crc32_high_first(sum, &self.log.block(*place)?);
        }
        Ok(sum == stored)
    }
}

/// Whether changes that belong to transaction `sequence` lie behind the ring.
fn has_fast_commits(header: &Header, log: &Log, sequence: u32) -> Result<bool> {
    let first = header.ring.end.saturating_add(1);
    if !header.has(INCOMPAT_FAST_COMMIT) || first >= header.fast_end {
        return Ok(false);
    }
    let block = log.block(first)?;
    let f = Fields::new(&block, WHAT, log.place(first)?);
    Ok(f.u16(0)? == FAST_HEAD && f.u32(8)? == sequence)
}
