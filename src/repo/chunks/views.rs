//! Pages as those see them who ask about a tree: what memory has, what a question brought, what the disk has.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::extents::ExtentPage;
use crate::id::ChunkId;
use crate::repo::chunks::Chunks;
use crate::repo::span::Span;
use crate::tree::Loaded;
use crate::tree::Pages;
use crate::tree::Stop;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

impl Pages for Chunks {
    fn node_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<Loaded>, Stop> {
        if let Some(page) = self.nodes.get(&wanted.id) {
            return Ok(page);
        }
        let miss = Stop::Miss(ChunkKind::NodePage, *wanted);
        let plain = self.decode_now(ChunkKind::NodePage, wanted).ok_or(miss)?;
        Ok(self.keep_nodes(wanted, &plain)?)
    }

    fn extent_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<ExtentPage>, Stop> {
        self.extents.get(&wanted.id).ok_or(Stop::Miss(ChunkKind::ExtentPage, *wanted))
    }
}

/// What memory and the cache on disk have: for who must not set anything off.
pub struct KeptHere<'a> {
    chunks: &'a Chunks,
}

impl<'a> KeptHere<'a> {
    pub(super) fn new(chunks: &'a Chunks) -> KeptHere<'a> {
        KeptHere { chunks }
    }

    /// The bytes of a data chunk.
    pub fn data(&self, wanted: &ChunkRef) -> Option<Bytes> {
        self.chunks.data_within(wanted, |span| self.chunks.fetch.kept(span))
    }

    /// Whether these data chunks are here. The cache on disk may turn out to be wrong when they are read.
    pub fn has(&self, wanted: &[ChunkRef]) -> bool {
        let unknown = wanted.iter().filter(|chunk| self.chunks.data.get(&chunk.id).is_none());
        let (moved, others): (Vec<&ChunkRef>, Vec<_>) =
            unknown.partition(|chunk| self.chunks.old_span(ChunkKind::Data, chunk).is_some());
        let are_kept = |spans: &mut dyn Iterator<Item = Span>| self.chunks.fetch.are_kept(spans);
        are_kept(&mut others.into_iter().map(|chunk| self.chunks.span(ChunkKind::Data, chunk)))
            && moved.into_iter().all(|chunk| {
                let now = self.chunks.span(ChunkKind::Data, chunk);
                let places = [Some(now), self.chunks.old_span(ChunkKind::Data, chunk)];
                places.into_iter().flatten().any(|place| are_kept(&mut std::iter::once(place)))
            })
    }

    fn page(&self, kind: ChunkKind, wanted: &ChunkRef) -> std::result::Result<Bytes, Stop> {
        let places = [Some(self.chunks.span(kind, wanted)), self.chunks.old_span(kind, wanted)];
        let read = |place| self.chunks.open(kind, wanted, &place, &self.chunks.fetch.kept(place)?).ok();
        places.into_iter().flatten().find_map(read).ok_or(Stop::Miss(kind, *wanted))
    }
}

impl Pages for KeptHere<'_> {
    fn node_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<Loaded>, Stop> {
        if let Some(page) = self.chunks.nodes.get(&wanted.id) {
            return Ok(page);
        }
        let plain = self.page(ChunkKind::NodePage, wanted)?;
        Ok(self.chunks.keep_nodes(wanted, &plain)?)
    }

    fn extent_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<ExtentPage>, Stop> {
        if let Some(page) = self.chunks.extents.get(&wanted.id) {
            return Ok(page);
        }
        let plain = self.page(ChunkKind::ExtentPage, wanted)?;
        Ok(self.chunks.keep_extents(wanted, &plain)?)
    }
}

/// Pages that a question needed: kept until it is answered, whatever the caches throw out meanwhile.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) nodes: HashMap<ChunkId, Arc<Loaded>>,
    pub(super) extents: HashMap<ChunkId, Arc<ExtentPage>>,
}

/// What a question sees: the caches, and what was fetched for it.
pub struct View<'a> {
    chunks: &'a Chunks,
    kept: &'a Kept,
}

impl<'a> View<'a> {
    pub(super) fn new(chunks: &'a Chunks, kept: &'a Kept) -> View<'a> {
        View { chunks, kept }
    }
}

impl Pages for View<'_> {
    fn node_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<Loaded>, Stop> {
        match self.kept.nodes.get(&wanted.id) {
            Some(page) => Ok(page.clone()),
            None => self.chunks.node_page(wanted),
        }
    }

    fn extent_page(&self, wanted: &ChunkRef) -> std::result::Result<Arc<ExtentPage>, Stop> {
        match self.kept.extents.get(&wanted.id) {
            Some(page) => Ok(page.clone()),
            None => self.chunks.extent_page(wanted),
        }
    }
}
