//! Who needs what: each pack with what is at home in it, from the index, a listing, the log, and what is needed.

use crate::format::index::IndexedPack;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::plan::homes::Homes;
use crate::plan::homes::Line;
use crate::plan::homes::each_home;
use crate::plan::words::Standing;
use crate::plan::words::Words;
use crate::prune::Listed;
use crate::prune::lines::Lines;
use crate::prune::lines::Row;
use crate::prune::needed::Needed;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::io;

/// Lost chunks that are told by name.
const LOST_MAX: usize = 100;

/// A pack that is there and that the index names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Encoded bytes of all chunks in it.
    pub(super) all: u64,
    /// Encoded bytes of the needed ones that are at home in it.
    pub(super) home: u64,
    /// How many of them.
    pub(super) chunks: u64,
}

impl Usage {
    pub(super) fn unused(&self) -> u64 {
        self.all - self.home
    }
}

/// Where everything that is needed lies.
pub(super) struct Picture {
    /// By the numbers of packs.
    pub(super) usages: Vec<Usage>,
    /// By the numbers of packs; `None` for those that are not there.
    pub(super) standings: Vec<Option<Standing>>,
    /// Needed chunks that lie nowhere, or only in packs that are gone: damage. Some of them.
    pub(super) lost: Vec<ChunkId>,
    /// How many there are.
    pub(super) lost_count: u64,
}

/// A place of a chunk. The same for all who look: packs are compared by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: u32,
    row: Row,
}

/// Packs in the order of their ids: the rank of each number.
fn ranks(lines: &Lines) -> Vec<u32> {
    let mut order: Vec<(ObjectId, usize)> = lines.packs.iter().zip(0..).map(|(pack, n)| (pack.pack, n)).collect();
    order.sort_unstable();
    let mut ranks = vec![0; order.len()];
    for (rank, (_, number)) in (0..).zip(order) {
        ranks[number] = rank;
    }
    ranks
}

/// Tells of every needed chunk where its home is; `standings` by the numbers of packs.
fn visit_homes(
    lines: &Lines,
    needed: &Needed,
    standings: &[Option<Standing>],
    mut visit: impl FnMut([u8; 32], Option<(Standing, Row)>) -> io::Result<()>,
) -> io::Result<()> {
    let ranks = ranks(lines);
    lines.visit(|rows| {
        needed.visit(|ids| {
            let rows = rows.map(|row| Line { chunk: row.chunk().0, pack: Place { rank: ranks[row.number()], row } });
            let homes = each_home(rows, ids, |place| standings[place.row.number()]);
            for (chunk, home) in homes {
                visit(chunk, home.map(|(standing, place)| (standing, place.row)))?;
            }
            Ok(())
        })
    })??
}

impl Picture {
    pub(super) fn take(lines: &Lines, needed: &Needed, listed: &Listed, words: &Words) -> io::Result<Picture> {
        let standing =
            |named: &IndexedPack| match (listed.get(&named.pack)?.len == named.len, words.standing(named.pack)) {
                (false, standing) if standing != Standing::Swept => Some(Standing::Damaged),
                (_, standing) => Some(standing),
            };
        let standings: Vec<Option<Standing>> = lines.packs.iter().map(standing).collect();
        let mut usages = vec![Usage::default(); standings.len()];
        lines.visit(|rows| rows.for_each(|row| usages[row.number()].all += row.len()))?;
        let (mut lost, mut lost_count) = (Vec::new(), 0);
        visit_homes(lines, needed, &standings, |chunk, home| {
            match home {
                Some((_, row)) => {
                    let usage = &mut usages[row.number()];
                    usage.home += row.len();
                    usage.chunks += 1;
                }
                None => {
                    lost_count += 1;
                    if lost.len() < LOST_MAX {
                        lost.push(ChunkId(chunk));
                    }
                }
            }
            Ok(())
        })?;
        Ok(Picture { usages, standings, lost, lost_count })
    }

    /// The same in the words of the protocol. Swept packs are no home.
    pub(super) fn homes(&self, lines: &Lines) -> Homes<[u8; 32], ObjectId> {
        let used = (0..).zip(&self.usages).filter(|(number, usage): &(usize, _)| {
            usage.chunks > 0 && self.standings[*number] != Some(Standing::Swept)
        });
        let at_home: BTreeMap<ObjectId, u64> =
            used.map(|(number, usage)| (lines.packs[number].pack, usage.chunks)).collect();
        Homes { at_home, rescue: Vec::new(), lost: Vec::new() }
    }

    /// Bytes that are needed.
    pub(super) fn needed_bytes(&self) -> u64 {
        self.usages.iter().map(|usage| usage.home).sum()
    }

    /// Hands over the needed chunks that lie in swept packs only.
    pub(super) fn rescue(
        &self,
        lines: &Lines,
        needed: &Needed,
        mut take: impl FnMut(Row) -> io::Result<()>,
    ) -> io::Result<()> {
        visit_homes(lines, needed, &self.standings, |_, home| match home {
            Some((Standing::Swept, row)) => take(row),
            _ => Ok(()),
        })
    }

    /// Hands over the needed chunks that have no better home than one of these packs.
    pub(super) fn empty(
        &self,
        lines: &Lines,
        needed: &Needed,
        emptied: &HashSet<usize>,
        mut take: impl FnMut(Row) -> io::Result<()>,
    ) -> io::Result<()> {
        let standing = |(number, standing): (usize, &Option<Standing>)| match standing {
            Some(Standing::Free) if emptied.contains(&number) => Some(Standing::Marked),
            other => *other,
        };
        let standings: Vec<Option<Standing>> = self.standings.iter().enumerate().map(standing).collect();
        visit_homes(lines, needed, &standings, |_, home| match home {
            Some((_, row)) if emptied.contains(&row.number()) => take(row),
            _ => Ok(()),
        })
    }
}
