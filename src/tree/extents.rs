//! The extent tree of one file: writing it in file order, and finding the extents of a range.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::format::extents::ExtentChild;
use crate::format::extents::ExtentPage;
use crate::meta::Content;
use crate::tree::PageSink;
use crate::tree::Pages;
use crate::tree::Stop;
use std::ops::Range;

const LEAF_EXTENTS_MIN: usize = 64;
const LEAF_EXTENTS_MAX: usize = 1024;
const INNER_CHILDREN_MIN: usize = 32;
const INNER_CHILDREN_MAX: usize = 1024;

/// True for one id in 256: pages end behind such chunks and pages.
fn ends_page(chunk: &ChunkRef) -> bool {
    chunk.id.0[31] == 0
}

/// Builds the extent tree of one file.
#[derive(Debug, Default)]
pub struct ExtentTreeBuilder {
    open: Vec<Extent>,
    leaves: Vec<ExtentChild>,
    len: u64,
    data: u64,
}

impl ExtentTreeBuilder {
    /// Bytes of the file so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first extent.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the next extent. Neighbouring holes become one.
    pub fn push<S: PageSink>(&mut self, extent: Extent, sink: &mut S) -> Result<(), S::Error> {
        self.len += extent.len();
        match (extent, self.open.last_mut()) {
            (Extent::Hole(more), Some(Extent::Hole(len))) => *len += more,
            (Extent::Hole(0), _) => {}
            (Extent::Hole(_), _) => self.open.push(extent),
            (Extent::Data(chunk), _) => {
                self.data += u64::from(chunk.len);
                self.open.push(extent);
                let count = self.open.len();
                if (ends_page(&chunk) && count >= LEAF_EXTENTS_MIN) || count >= LEAF_EXTENTS_MAX {
                    self.close_leaf(sink)?;
                }
            }
        }
        Ok(())
    }

    fn close_leaf<S: PageSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let leaf = ExtentPage::Leaf(std::mem::take(&mut self.open));
        let page = sink.put(ChunkKind::ExtentPage, &leaf.encode())?;
        self.leaves.push(ExtentChild { len: leaf.len(), page });
        Ok(())
    }

    /// The content of the file: nothing, one chunk, or a tree.
    pub fn finish<S: PageSink>(mut self, sink: &mut S) -> Result<Content, S::Error> {
        if self.leaves.is_empty() {
            match self.open[..] {
                [] => return Ok(Content::Empty),
                [Extent::Data(chunk)] => return Ok(Content::Chunk(chunk)),
                _ => {}
            }
        }
        if !self.open.is_empty() {
            self.close_leaf(sink)?;
        }
        let mut level = 0;
        let mut children = self.leaves;
        while children.len() > 1 {
            level += 1;
            let mut parents = Vec::new();
            let mut open = Vec::new();
            let count = children.len();
            for (i, child) in children.into_iter().enumerate() {
                open.push(child);
                let ends = ends_page(&child.page) && open.len() >= INNER_CHILDREN_MIN;
                if ends || open.len() >= INNER_CHILDREN_MAX || i + 1 == count {
                    let inner = ExtentPage::Inner(level, std::mem::take(&mut open));
                    let page = sink.put(ChunkKind::ExtentPage, &inner.encode())?;
                    parents.push(ExtentChild { len: inner.len(), page });
                }
            }
            children = parents;
        }
        let root = children.first().map(|child| child.page).expect("a leaf was closed, so there is a page");
        Ok(Content::Extents { root, len: self.len, data: self.data })
    }
}

/// An extent and where it begins in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// What is there.
    pub extent: Extent,
}

impl Piece {
    /// Offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.extent.len()
    }
}

/// Calls `take` with every extent that overlaps `range`, in file order, until it returns false.
pub fn pieces<P: Pages + ?Sized>(
    pages: &P,
    content: &Content,
    range: Range<u64>,
    take: &mut dyn FnMut(Piece) -> bool,
) -> Result<(), Stop> {
    match content {
        Content::Empty | Content::Inline(_) => {}
        Content::Chunk(chunk) => {
            if range.start < chunk.len.into() && range.end > range.start {
                take(Piece { offset: 0, extent: Extent::Data(*chunk) });
            }
        }
        Content::Extents { root, len, .. } => {
            let page = pages.extent_page(root)?;
            if page.len() != *len {
                return Err(FormatError::Mismatch { what: "length of the extent tree" }.into());
            }
            descend(pages, &page, 0, &range, take)?;
        }
    }
    Ok(())
}

/// Walks one page; false once `take` has had enough.
fn descend<P: Pages + ?Sized>(
    pages: &P,
    page: &ExtentPage,
    mut offset: u64,
    range: &Range<u64>,
    take: &mut dyn FnMut(Piece) -> bool,
) -> Result<bool, Stop> {
    match page {
        ExtentPage::Leaf(extents) => {
            for extent in extents {
                let piece = Piece { offset, extent: *extent };
                if piece.offset >= range.end {
                    return Ok(false);
                }
                if piece.end() > range.start && !take(piece) {
                    return Ok(false);
                }
                offset = piece.end();
            }
        }
        ExtentPage::Inner(level, children) => {
            for child in children {
                if offset >= range.end {
                    return Ok(false);
                }
                if offset + child.len > range.start {
                    let below = pages.extent_page(&child.page)?;
                    if below_level(&below) + 1 != *level || below.len() != child.len {
                        return Err(FormatError::Mismatch { what: "page of the extent tree" }.into());
                    }
                    if !descend(pages, &below, offset, range, take)? {
                        return Ok(false);
                    }
                }
                offset += child.len;
            }
        }
    }
    Ok(true)
}

fn below_level(page: &ExtentPage) -> u8 {
    match page {
        ExtentPage::Leaf(_) => 0,
        ExtentPage::Inner(level, _) => *level,
    }
}
