//! Reading a restored disk back: every chunk by its id, and the whole by its checksum.

use crate::format::disk::Disk;
use crate::restore::disk::DiskError;
use crate::restore::disk::blocks::add_range;
use crate::restore::disk::blocks::check;
use crate::restore::disk::fault::DiskProblem;
use crate::restore::disk::job::Job;
use crate::restore::disk::job::RANGES_MAX;
use crate::restore::disk::job::blocking;
use crate::restore::disk::job::pass;
use crate::target::DiskTarget;
use std::ops::Range;
use std::sync::Arc;

impl Job<'_> {
    /// Compares what is on the disk now with the snapshot. What is lost is known to differ.
    pub(super) async fn verify(&mut self, disk: Arc<DiskTarget>, about: &Disk) -> Result<(), DiskError> {
        disk.forget();
        let keys = self.browse.chunks().repo().keys().clone();
        let mut hasher = blake3::Hasher::new();
        let mut wrong: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < self.len() {
            self.check_cancelled()?;
            let (mut pieces, end) = self.pieces(at).await?;
            let tail = pieces.pop_if(|(range, _)| range.end > self.len());
            let (target, keys) = (disk.clone(), keys.clone());
            let checked = move || check(&target, &keys, &pieces, &mut hasher).map(|found| (found, hasher));
            let found;
            (found, hasher) = blocking(checked).await??;
            let tail = match tail {
                Some((tail, _)) => self.check_tail(&disk, tail.start).await?,
                None => None,
            };
            for range in found.into_iter().chain(tail).filter(|range| !self.is_lost(range)) {
                add_range(&mut wrong, range);
            }
            self.done(end - at);
            at = end;
        }
        for range in &wrong {
            self.tell(&DiskProblem::Differs { range: range.clone() });
        }
        let is_whole = wrong.is_empty() && self.summary.lost.is_empty();
        let is_right = about.checksum.is_none_or(|checksum| checksum == *hasher.finalize().as_bytes());
        if is_whole && !is_right {
            self.tell(&DiskProblem::Checksum);
        }
        self.summary.verified = is_whole && is_right;
        wrong.truncate(RANGES_MAX);
        self.summary.differs = wrong;
        Ok(())
    }

    /// Compares the first bytes of a chunk that goes on behind the end of the part; gives their range if they differ. An id
    /// is that of a whole chunk.
    async fn check_tail(&self, disk: &Arc<DiskTarget>, start: u64) -> Result<Option<Range<u64>>, DiskError> {
        let range = start..self.len();
        let len = (range.end - start) as usize;
        let expected = match self.browse.read(self.content, self.start() + start, len).await {
            Ok(expected) => expected,
            Err(error) => return pass(error).map(|()| Some(range)).map_err(DiskError::from),
        };
        let disk = disk.clone();
        let found = blocking(move || {
            let mut found = vec![0; len];
            disk.read_at(start, &mut found).map(|()| found)
        });
        Ok((found.await?? != expected).then_some(range))
    }

    fn is_lost(&self, range: &Range<u64>) -> bool {
        self.summary.lost.iter().any(|lost| lost.start <= range.start && range.end <= lost.end)
    }
}
