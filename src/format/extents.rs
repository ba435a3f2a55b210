//! Pages of the extent tree of one file: leaves list extents, inner pages list pages.

use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::extent::Locator;
use crate::format::chunk::plain_len;
use crate::format::page::Encoded;
use crate::format::page::read_hints;
use crate::format::page::write_hints;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use crate::id::ObjectId;

/// Longest file.
pub const FILE_BYTES_MAX: u64 = 1 << 62;
/// Highest level of an inner page.
pub const LEVEL_MAX: u8 = 12;
const LEAF: u8 = 0;
/// Room that is taken before more extents are seen.
const EXTENTS_AT_ONCE: usize = 1024;

/// A child of an inner page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentChild {
    /// Bytes of the file below it.
    pub len: u64,
    /// The page.
    pub page: ChunkRef,
}

/// A decoded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtentPage {
    /// Extents, in file order.
    Leaf(Vec<Extent>),
    /// Pages of level - 1, in file order.
    Inner(u8, Vec<ExtentChild>),
}

impl ExtentPage {
    /// Bytes of the file that this page describes.
    pub fn len(&self) -> u64 {
        match self {
            ExtentPage::Leaf(extents) => extents.iter().map(Extent::len).sum(),
            ExtentPage::Inner(_, children) => children.iter().map(|c| c.len).sum(),
        }
    }

    /// True if it describes nothing (never written).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The page as bytes: what its id covers, and the hints.
    pub fn encode(&self) -> Encoded {
        let mut out = Vec::new();
        let mut hints = Vec::new();
        match self {
            ExtentPage::Leaf(extents) => {
                out.push(LEAF);
                out.put_varint(extents.len() as u64);
                for extent in extents {
                    match extent {
                        Extent::Data(chunk) => {
                            out.put_varint(u64::from(chunk.len) << 1);
                            out.extend_from_slice(&chunk.id.0);
                            hints.push(chunk.hint);
                        }
                        Extent::Hole(len) => out.put_varint(len << 1 | 1),
                    }
                }
            }
            ExtentPage::Inner(level, children) => {
                out.push(*level);
                out.put_varint(children.len() as u64);
                for child in children {
                    out.put_varint(child.len);
                    out.put_varint(child.page.len.into());
                    out.extend_from_slice(&child.page.id.0);
                    hints.push(child.page.hint);
                }
            }
        }
        Encoded { hints: write_hints(&hints), hashed: out }
    }

    /// Reads a page: `len` bytes covered by the id, hints behind them.
    pub fn decode(plain: &[u8], len: u32) -> Result<ExtentPage> {
        let (hashed, hints) = plain.split_at_checked(len as usize).ok_or(FormatError::Short { what: "extent page" })?;
        let mut hints = read_hints(hints)?.into_iter();
        let mut r = Reader::new(hashed);
        let level = r.u8("extent page")?;
        if level > LEVEL_MAX {
            return Err(FormatError::Limit { what: "page level", value: level.into(), max: LEVEL_MAX.into() });
        }
        let mut total: u64 = 0;
        let mut add = |len: u64| {
            total = total.saturating_add(len);
            match len {
                0 => Err(FormatError::Short { what: "extent" }),
                _ if total > FILE_BYTES_MAX => {
                    Err(FormatError::Limit { what: "file length", value: total, max: FILE_BYTES_MAX })
                }
                _ => Ok(()),
            }
        };
        let page = if level == LEAF {
            let count = r.count(1, "extents")?;
            let mut extents = Vec::with_capacity(count.min(EXTENTS_AT_ONCE));
            for _ in 0..count {
                let raw = r.varint("extent length")?;
                add(raw >> 1)?;
                // One byte could make sixty in memory.
                if raw & 1 == 1 && matches!(extents.last(), Some(Extent::Hole(_))) {
                    return Err(FormatError::Order { what: "holes" });
                }
                extents.push(if raw & 1 == 1 {
                    Extent::Hole(raw >> 1)
                } else {
                    let len = plain_len(raw >> 1)?;
                    Extent::Data(ChunkRef { len, id: ChunkId(r.array("chunk id")?), hint: next_hint(&mut hints)? })
                });
            }
            ExtentPage::Leaf(extents)
        } else {
            let count = r.count(34, "extent pages")?;
            let mut children = Vec::with_capacity(count);
            for _ in 0..count {
                let len = r.varint("page span")?;
                add(len)?;
                let page_len = plain_len(r.varint("page length")?)?;
                let page = ChunkRef { len: page_len, id: ChunkId(r.array("page id")?), hint: next_hint(&mut hints)? };
                children.push(ExtentChild { len, page });
            }
            ExtentPage::Inner(level, children)
        };
        r.end("extent page")?;
        no_more(hints)?;
        if page.is_empty() {
            return Err(FormatError::Short { what: "extent page" });
        }
        Ok(page)
    }
}

/// The hint that belongs to the next reference.
pub(crate) fn next_hint(hints: &mut impl Iterator<Item = Locator>) -> Result<Locator> {
    hints.next().ok_or(FormatError::Short { what: "hints" })
}

/// Fails if hints are left over.
pub(crate) fn no_more(hints: impl ExactSizeIterator<Item = Locator>) -> Result<()> {
    match hints.len() {
        0 => Ok(()),
        count => Err(FormatError::Trailing { what: "hints", count }),
    }
}

/// A locator that leads nowhere: for references whose place is not known yet.
pub const NOWHERE: Locator = Locator { pack: ObjectId([0; 16]), offset: 0, len: 0 };

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunk(n: u8) -> ChunkRef {
        let hint = Locator { pack: ObjectId([n / 2; 16]), offset: u32::from(n) * 1000, len: 500 };
        ChunkRef { id: ChunkId([n; 32]), len: u32::from(n) + 1, hint }
    }

    #[test]
    fn both_pages_round_trip() {
        let leaf = ExtentPage::Leaf(vec![Extent::Data(chunk(1)), Extent::Hole(1 << 40), Extent::Data(chunk(2))]);
        let inner = ExtentPage::Inner(1, vec![ExtentChild { len: 1 << 41, page: chunk(3) }]);
        let longest = ExtentPage::Leaf(vec![Extent::Hole(FILE_BYTES_MAX)]);
        let highest = ExtentPage::Inner(LEVEL_MAX, vec![ExtentChild { len: FILE_BYTES_MAX, page: chunk(3) }]);
        for page in [leaf, inner, longest, highest] {
            let Encoded { hashed, hints } = page.encode();
            let plain = [&hashed[..], &hints].concat();
            assert_eq!(ExtentPage::decode(&plain, hashed.len() as u32).unwrap(), page);
            for len in 0..plain.len() {
                assert!(ExtentPage::decode(&plain[..len], hashed.len() as u32).is_err());
            }
        }
    }

    #[test]
    fn absurd_lengths_are_refused() {
        for page in [
            ExtentPage::Leaf(vec![Extent::Hole(FILE_BYTES_MAX), Extent::Hole(1)]),
            ExtentPage::Leaf(vec![Extent::Hole(0)]),
            ExtentPage::Leaf(vec![Extent::Hole(0), Extent::Data(chunk(1))]),
            ExtentPage::Inner(1, vec![ExtentChild { len: FILE_BYTES_MAX + 1, page: chunk(3) }]),
            ExtentPage::Inner(LEVEL_MAX + 1, vec![ExtentChild { len: 1, page: chunk(3) }]),
            ExtentPage::Leaf(vec![Extent::Hole(1), Extent::Hole(1)]),
            ExtentPage::Leaf(vec![]),
            ExtentPage::Inner(200, vec![ExtentChild { len: 1, page: chunk(3) }]),
        ] {
            let Encoded { hashed, hints } = page.encode();
            assert!(ExtentPage::decode(&[&hashed[..], &hints].concat(), hashed.len() as u32).is_err());
        }
    }
}
