//! The chain of clusters of one file, walked once to its end: a few marks on the way make every place of it near.

use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::fat::table::Link;
use crate::disk::fs::fat::table::Table;

/// Marks kept of a chain.
const MARKS_MAX: usize = 4096;

/// A chain that ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Number of clusters, at least 1.
    pub(crate) len: u32,
    /// Every 2^`shift`th cluster, from the first on.
    marks: Vec<u32>,
    shift: u32,
}

impl Chain {
    /// Walks the chain that begins with the cluster `first`, which is there. One that does not end well is damaged.
    pub(crate) fn walk(table: &mut Table, first: u32) -> Result<Chain> {
        let mut chain = Chain { len: 0, marks: Vec::new(), shift: 0 };
        // Brent: in a cycle, the cluster remembered at a power of two is met again.
        let (mut remembered, mut next_power) = (first, 1u32);
        let mut cluster = first;
        loop {
            chain.push(cluster);
            match table.link(cluster)? {
                Link::End => break,
                Link::Next(next) if next == remembered => return Err(damaged(table, cluster, "its chain is a ring")),
                Link::Next(next) => cluster = next,
                Link::Free => return Err(damaged(table, cluster, "its chain goes on in a free cluster")),
                Link::Bad => return Err(damaged(table, cluster, "its chain goes on in a bad cluster")),
                Link::Nowhere => return Err(damaged(table, cluster, "its chain leads nowhere")),
            }
            if chain.len == next_power {
                (remembered, next_power) = (cluster, next_power.saturating_mul(2));
            }
        }
        chain.marks.shrink_to_fit();
        Ok(chain)
    }

    fn push(&mut self, cluster: u32) {
        if self.len & ((1 << self.shift) - 1) == 0 {
            if self.marks.len() == MARKS_MAX {
                let mut index = 0u32;
                self.marks.retain(|_| {
                    index += 1;
                    index & 1 == 1
                });
                self.shift += 1;
            }
            self.marks.push(cluster);
        }
        // A chain has no more clusters than there are, or it would be a ring.
        self.len = self.len.saturating_add(1);
    }

    /// The last mark up to the `index`th cluster: which cluster is how many-th.
    pub(crate) fn mark(&self, index: u32) -> Option<(u32, u32)> {
        let nearest = (index >> self.shift).min(u32::try_from(self.marks.len()).ok()?.checked_sub(1)?);
        Some((nearest << self.shift, *self.marks.get(nearest as usize)?))
    }
}

fn damaged(table: &Table, cluster: u32, why: &'static str) -> Error {
    Error::damaged("file allocation table", table.page_of(cluster).start, why)
}
