//! The home of every needed chunk: the one pack that has to stay for its sake. A chunk can lie in several packs; all
//! who see the same packs and the same log choose the same home, so that no two prunes clear away for each other.
//!
//! Both inputs are sorted streams, so memory goes with the number of packs, never with the number of chunks.

use crate::plan::words::Standing;
use std::collections::BTreeMap;

/// One chunk in one pack, as an index object or the directory of a pack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line<C, P> {
    /// The chunk.
    pub chunk: C,
    /// Where it lies.
    pub pack: P,
}

/// Where the needed chunks are at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homes<C, P> {
    /// How many needed chunks are at home in each pack. Packs that are not named need not stay.
    pub at_home: BTreeMap<P, u64>,
    /// Needed chunks that lie in swept packs only: they must be copied out before a swept pack is removed.
    pub rescue: Vec<Line<C, P>>,
    /// Needed chunks that lie in no pack that is there: damage.
    pub lost: Vec<C>,
}

impl<C, P: Ord> Homes<C, P> {
    /// True if something needed is at home in the pack.
    pub fn has(&self, pack: &P) -> bool {
        self.at_home.contains_key(pack)
    }
}

/// Finds the homes. `lines` and `needed` are sorted by chunk; `needed` may repeat itself. `standing` tells where a pack
/// stands, or nothing if it is not there. The lines must be all that the index has.
pub fn homes<C: Ord + Copy, P: Ord + Copy>(
    lines: impl IntoIterator<Item = Line<C, P>>,
    needed: impl IntoIterator<Item = C>,
    standing: impl Fn(P) -> Option<Standing>,
) -> Homes<C, P> {
    let mut found = Homes { at_home: BTreeMap::new(), rescue: Vec::new(), lost: Vec::new() };
    for (chunk, home) in each_home(lines, needed, standing) {
        match home {
            Some((Standing::Swept, pack)) => found.rescue.push(Line { chunk, pack }),
            Some((_, pack)) => *found.at_home.entry(pack).or_default() += 1,
            None => found.lost.push(chunk),
        }
    }
    found
}

/// The best place of each needed chunk, one by one: [`homes`] for who needs to know which chunks.
///
/// To empty badly used packs, let `standing` say that they are marked: the chunks whose best place is still one of them
/// have to be moved, all others have a better home.
pub fn each_home<C: Ord + Copy, P: Ord + Copy>(
    lines: impl IntoIterator<Item = Line<C, P>>,
    needed: impl IntoIterator<Item = C>,
    standing: impl Fn(P) -> Option<Standing>,
) -> impl Iterator<Item = (C, Option<(Standing, P)>)> {
    let mut lines = lines.into_iter().peekable();
    let mut last = None;
    needed.into_iter().filter(move |chunk| last.replace(*chunk) != Some(*chunk)).map(move |chunk| {
        while lines.next_if(|line| line.chunk < chunk).is_some() {}
        let mut best: Option<(Standing, P)> = None;
        while let Some(line) = lines.next_if(|line| line.chunk == chunk) {
            let place = standing(line.pack).map(|standing| (standing, line.pack));
            best = match (best, place) {
                (Some(best), Some(place)) => Some(best.min(place)),
                (best, place) => best.or(place),
            };
        }
        (chunk, best)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_packs_come_first_then_marked_ones_and_swept_ones_are_no_home() {
        let standing = |pack: char| match pack {
            'a' | 'b' => Some(Standing::Free),
            'm' => Some(Standing::Marked),
            's' => Some(Standing::Swept),
            _ => None,
        };
        let lines =
            [(1, 'm'), (1, 'b'), (1, 'a'), (2, 's'), (2, 'm'), (3, 's'), (3, 'x'), (4, 'a'), (5, 'x'), (7, 'b')];
        let lines = lines.map(|(chunk, pack)| Line { chunk, pack });
        let found = homes(lines, [1, 1, 2, 3, 5, 6], standing);
        assert_eq!(found.at_home, BTreeMap::from([('a', 1), ('m', 1)]));
        assert_eq!(found.rescue, [Line { chunk: 3, pack: 's' }]);
        assert_eq!(found.lost, [5, 6]);
        assert!(found.has(&'a') && !found.has(&'b'));
    }

    #[test]
    fn a_damaged_pack_is_a_home_only_if_there_is_no_other() {
        let standing = |pack: char| Some(if pack == 'd' { Standing::Damaged } else { Standing::Swept });
        let lines = [(1, 'd'), (1, 's'), (2, 'd'), (2, 'e'), (3, 'd')].map(|(chunk, pack)| Line { chunk, pack });
        let found = homes(lines, [1, 3], standing);
        assert_eq!((found.at_home, found.rescue), ([('d', 1)].into(), vec![Line { chunk: 1, pack: 's' }]));
    }
}
