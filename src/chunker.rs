//! Content-defined cutting: FastCDC with a gear table that is secret to the repository.
//!
//! Source: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication"
//! (USENIX ATC 2016), normalised chunking of level 2. `h = (h << 1) + gear[byte]`, starting from 0 at `min` bytes;
//! a cut falls after the byte where the top `bits` of `h` are all zero: `log2(avg) + 2` bits below `avg`,
//! `log2(avg) - 2` bits from there on (logarithms rounded down), and at `max` at the latest. Golden vectors pin the cut
//! points.

/// Smallest, intended and largest chunk in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No chunk is smaller, except the last of a file.
    pub min: u32,
    /// Target: most chunks end soon behind it.
    pub avg: u32,
    /// No chunk is larger.
    pub max: u32,
}

impl Sizes {
    /// What `init` records unless told otherwise: chunks of 210 KiB on average. A read at random, which falls into long
    /// chunks more often than into short ones, then fetches 280 KiB in whole segments.
    pub const DEFAULT: Sizes = Sizes { min: 128 << 10, avg: 184 << 10, max: 1 << 20 };

    /// True if a chunker can work with these: 64 <= min < avg < max <= 16 MiB.
    pub fn is_valid(&self) -> bool {
        64 <= self.min && self.min < self.avg && self.avg < self.max && self.max <= 16 << 20
    }
}

/// Cuts data at content-defined places.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunker {
    gear: Box<[u64; 256]>,
    sizes: Sizes,
    mask_before: u64,
    mask_after: u64,
}

impl Chunker {
    /// `sizes` must be valid.
    pub fn new(gear: Box<[u64; 256]>, sizes: Sizes) -> Chunker {
        debug_assert!(sizes.is_valid());
        let bits = sizes.avg.ilog2();
        let top = |bits: u32| !(u64::MAX >> bits);
        Chunker { gear, sizes, mask_before: top(bits + 2), mask_after: top(bits - 2) }
    }

    /// The sizes it cuts to.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Length of the first chunk of `data`. `data` must hold `sizes.max` bytes or all that is left of the file.
    pub fn cut(&self, data: &[u8]) -> usize {
        let [min, avg, max] = [self.sizes.min, self.sizes.avg, self.sizes.max].map(|n| n as usize);
        if data.len() <= min {
            return data.len();
        }
        let avg = avg.min(data.len());
        let max = max.min(data.len());
        let mut hash = 0u64;
        for (start, end, mask) in [(min, avg, self.mask_before), (avg, max, self.mask_after)] {
            for (i, &byte) in data[start..end].iter().enumerate() {
                hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
                if hash & mask == 0 {
                    return start + i + 1;
                }
            }
        }
        max
    }
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunker {{ gear: ***, sizes: {:?} }}", self.sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: &[u8]) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(seed).finalize_xof().fill(&mut out);
        out
    }

    fn chunker_of(sizes: Sizes) -> Chunker {
        let bytes = noise(2048, b"gear");
        let mut gear = Box::new([0; 256]);
        for (word, raw) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = raw.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        }
        Chunker::new(gear, sizes)
    }

    fn chunker() -> Chunker {
        chunker_of(Sizes { min: 1 << 10, avg: 4 << 10, max: 16 << 10 })
    }

    fn cuts(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        while !data.is_empty() {
            let len = chunker.cut(data);
            found.push(len);
            data = &data[len..];
        }
        found
    }

    #[test]
    fn golden_cuts() {
        let found = cuts(&chunker(), &noise(60_000, b"data"));
        assert_eq!(found, GOLDEN, "cut points changed: deduplication against old snapshots would be lost");
    }

    const GOLDEN: &[usize] = &[4540, 4727, 4099, 4880, 5749, 4498, 4130, 4169, 5258, 4388, 4476, 5284, 3802];

    #[test]
    fn chunks_of_the_usual_sizes_are_as_long_as_said() {
        let found = cuts(&chunker_of(Sizes::DEFAULT), &noise(96 << 20, b"data"));
        let (sum, squares) = found.iter().fold((0, 0), |(sum, squares), len| (sum + len, squares + len * len));
        let (mean, met_at_random) = ((sum / found.len()) >> 10, (squares / sum) >> 10);
        assert!((200..220).contains(&mean), "{mean} KiB");
        assert!((206..226).contains(&met_at_random), "{met_at_random} KiB");
    }

    #[test]
    fn an_insertion_moves_only_nearby_cuts() {
        let chunker = chunker();
        let data = noise(1 << 20, b"data");
        let changed = [&data[..500_000], b"inserted", &data[500_000..]].concat();
        let tail = |data: &[u8]| {
            let mut at = data.len();
            cuts(&chunker, data)
                .iter()
                .rev()
                .map(|len| {
                    at -= len;
                    data.len() - at
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (before, after) = (tail(&data), tail(&changed));
        assert!(before.difference(&after).count() < before.len() * 6 / 10);
        assert!(cuts(&chunker, &data).iter().all(|&len| len <= 16 << 10));
        assert_eq!(cuts(&chunker, &[0; 40_000]).iter().sum::<usize>(), 40_000);
    }
}
