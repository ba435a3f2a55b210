//! Which packs are read when not all are: a part of all by their ids, the same ones every time, or some by chance.

use crate::check::Data;
use crate::check::Run;
use crate::id::ObjectId;
use std::str::FromStr;

/// Some of the packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// Part `n` of `m`, from 1 on: all parts together are all packs.
    Part {
        /// Which.
        n: u64,
        /// Of how many.
        m: u64,
    },
    /// So many of a hundred bytes, by chance.
    Percent(f64),
    /// So many bytes, by chance; at least one pack.
    Bytes(u64),
}

/// A text that is not a subset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no subset: write a part like 2/10, a share like 5%, or a size like 1GiB")]
pub struct SubsetError {
    /// The text.
    pub text: String,
}

impl FromStr for Subset {
    type Err = SubsetError;

    /// Reads `n/m` and `p%`; a size is the caller's business.
    fn from_str(text: &str) -> Result<Subset, SubsetError> {
        let fault = || SubsetError { text: text.to_owned() };
        if let Some((n, m)) = text.split_once('/') {
            let (n, m) = (n.trim().parse().map_err(|_| fault())?, m.trim().parse().map_err(|_| fault())?);
            return if (1..=m).contains(&n) { Ok(Subset::Part { n, m }) } else { Err(fault()) };
        }
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(fault)?;
        if percent > 0.0 && percent <= 100.0 { Ok(Subset::Percent(percent)) } else { Err(fault()) }
    }
}

impl Subset {
    /// Chooses among packs and their lengths, given in any order.
    pub(super) fn choose(self, packs: Vec<(ObjectId, u64)>, seed: u64) -> Vec<(ObjectId, u64)> {
        let total: u64 = packs.iter().map(|(_, len)| len).sum();
        let limit = match self {
            Subset::Part { n, m } => {
                let part = |pack: &ObjectId| pack.0.iter().take(8).fold(0u64, |sum, &b| sum << 8 | u64::from(b)) % m;
                return packs.into_iter().filter(|(pack, _)| part(pack) == n - 1).collect();
            }
            Subset::Percent(percent) => (total as f64 * percent / 100.0) as u64,
            Subset::Bytes(bytes) => bytes,
        };
        let lot = |pack: &ObjectId| {
            let mut hasher = blake3::Hasher::new();
            *hasher.update(&seed.to_le_bytes()).update(&pack.0).finalize().as_bytes()
        };
        let mut packs = packs;
        packs.sort_by_cached_key(|(pack, _)| lot(pack));
        let mut sum = 0;
        packs
            .into_iter()
            .take_while(|(_, len)| {
                (sum == 0 || sum < limit) && {
                    sum += len;
                    true
                }
            })
            .collect()
    }
}

impl Run<'_> {
    /// The packs to be read, in the order of their names. If only some snapshots are checked, only what they need.
    pub(super) fn chosen(&self, data: &Data) -> Vec<(ObjectId, u64)> {
        let is_wanted = |pack: &ObjectId| self.is_whole || self.inventory.is_needed(*pack);
        let listed = self.inventory.listed.iter().map(|(pack, len)| (*pack, *len));
        let packs: Vec<_> = listed.filter(|(pack, _)| is_wanted(pack)).collect();
        let mut chosen = match data {
            Data::Subset(subset, seed) => subset.choose(packs, *seed),
            _ => packs,
        };
        chosen.sort_unstable();
        chosen
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn packs() -> Vec<(ObjectId, u64)> {
        let id = |n: u64| {
            let hash = blake3::hash(&n.to_le_bytes());
            ObjectId(*hash.as_bytes().first_chunk().unwrap())
        };
        (0..1000).map(|n| (id(n), 100)).collect()
    }

    #[test]
    fn parts_are_all_packs_and_each_once() {
        let parts = (1..=7).flat_map(|n| Subset::Part { n, m: 7 }.choose(packs(), 0));
        let mut all: Vec<_> = parts.collect();
        all.sort_unstable();
        let mut expected = packs();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn chance_is_told_by_its_seed_and_keeps_to_the_size() {
        let some = |subset: Subset, seed| subset.choose(packs(), seed);
        assert_eq!(some(Subset::Percent(5.0), 1), some(Subset::Percent(5.0), 1));
        assert_ne!(some(Subset::Percent(5.0), 1), some(Subset::Percent(5.0), 2));
        assert_eq!(some(Subset::Percent(5.0), 1).len(), 50);
        assert_eq!(some(Subset::Percent(100.0), 1).len(), 1000);
        assert_eq!(some(Subset::Bytes(1), 3).len(), 1);
        assert_eq!(some(Subset::Bytes(950), 3).len(), 10);
    }

    #[test]
    fn subsets_are_read() {
        assert_eq!("2/10".parse(), Ok(Subset::Part { n: 2, m: 10 }));
        assert_eq!("2.5%".parse(), Ok(Subset::Percent(2.5)));
        for bad in ["0/3", "4/3", "0%", "101%", "x", "1/0", "-1/2", "%", "NaN%", ""] {
            assert!(bad.parse::<Subset>().is_err(), "{bad}");
        }
    }
}
