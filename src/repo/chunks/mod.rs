//! Chunks and pages, decoded, checked against their ids and kept in memory; each decoded once however many wait.

mod flights;
mod views;

pub use views::KeptHere;
pub use views::View;

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::chunk;
use crate::format::extents::ExtentPage;
use crate::format::group;
use crate::format::group::Group;
use crate::format::group::InOrder;
use crate::format::group::Members;
use crate::format::page::NodePage;
use crate::format::sealed::ObjectType;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::chunks::flights::Flight;
use crate::repo::chunks::flights::gone_pack;
use crate::repo::chunks::views::Kept;
use crate::repo::fetch::Fetch;
use crate::repo::fetch::may_lie_elsewhere;
use crate::repo::finder::Finder;
use crate::repo::lru::ByteLru;
use crate::repo::pack_name;
use crate::repo::span::Span;
use crate::tree::Loaded;
use crate::tree::Stop;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::runtime::Handle;

/// Bounds of the memory caches.
#[derive(Debug, Clone, Copy)]
pub struct ChunksOptions {
    /// Opened segments of packs, unpacked groups, decoded chunks and decoded pages, all together.
    pub memory_bytes: usize,
}

impl Default for ChunksOptions {
    fn default() -> ChunksOptions {
        ChunksOptions { memory_bytes: 64 << 20 }
    }
}

/// A chunk up to this length is decoded by the thread that asks, if its bytes are in memory. (A group that another program made can
/// be longer.)
const DECODE_NOW_BYTES_MAX: u32 = 128 << 10;
/// Groups that are unpacked at once: a prime, as offsets may have a measure.
const TURNS: usize = 31;
/// zstd level of what is left of a group, whatever it was before: no repository knows the levels of its writers.
const GROUP_LEVEL: i32 = 3;
/// Segments of one request of [`Chunks::fetch_along`]: half a MiB takes no longer than a round trip.
const ALONG_SEGMENTS: u64 = 8;

/// Reads chunks of one repository.
pub struct Chunks {
    repo: Repo,
    runtime: Handle,
    data_bytes_max: usize,
    fetch: Arc<Fetch>,
    data: ByteLru<ChunkId, Bytes>,
    /// By pack, offset and length: whoever reads one small file will read its neighbours.
    groups: ByteLru<(ObjectId, u64, u64), Arc<Group>>,
    turns: [Mutex<()>; TURNS],
    nodes: ByteLru<ChunkId, Arc<Loaded>>,
    extents: ByteLru<ChunkId, Arc<ExtentPage>>,
    flights: Mutex<HashMap<ChunkId, Flight>>,
    finder: Finder,
}

impl Chunks {
    /// A reader. Must be called within a tokio runtime, which will do the waiting.
    pub fn new(repo: &Repo, options: &ChunksOptions) -> Arc<Chunks> {
        let part = options.memory_bytes / 8;
        let runtime = Handle::current();
        let fetch = Fetch::new(repo, runtime.clone(), part * 3);
        Arc::new(Chunks {
            repo: repo.clone(),
            runtime,
            data_bytes_max: part * 2,
            fetch,
            data: ByteLru::new(part * 2),
            groups: ByteLru::new(part / 2),
            turns: Default::default(),
            nodes: ByteLru::new(part * 2),
            extents: ByteLru::new(part / 2),
            flights: Mutex::default(),
            finder: Finder::new(repo),
        })
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The runtime that does the waiting.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The bytes of a data chunk, if they need no waiting.
    pub fn data_now(&self, wanted: &ChunkRef) -> Option<Bytes> {
        if let Some(bytes) = self.data.get(&wanted.id) {
            return Some(bytes);
        }
        if self.is_flying(wanted) {
            // Somebody decodes it already.
            return None;
        }
        let bytes = self.decode_now(ChunkKind::Data, wanted)?;
        self.data.put(wanted.id, bytes.clone(), bytes.len());
        Some(bytes)
    }

    /// The bytes of a data chunk for a reader that must not set anything off, if they are in memory: nothing is
    /// fetched, not even ahead.
    pub fn data_at_hand(&self, wanted: &ChunkRef) -> Option<Bytes> {
        self.data_within(wanted, |span| self.fetch.at_hand(span))
    }

    fn data_within(&self, wanted: &ChunkRef, encoded: impl Fn(Span) -> Option<Bytes>) -> Option<Bytes> {
        if let Some(bytes) = self.data.get(&wanted.id) {
            return Some(bytes);
        }
        let read = |span| {
            self.grouped(ChunkKind::Data, wanted, &span).or_else(|| {
                let encoded = encoded(span)?;
                self.open(ChunkKind::Data, wanted, &span, &encoded).ok()
            })
        };
        let bytes =
            read(self.span(ChunkKind::Data, wanted)).or_else(|| read(self.old_span(ChunkKind::Data, wanted)?))?;
        self.data.put(wanted.id, bytes.clone(), bytes.len());
        Some(bytes)
    }

    /// What memory and the cache on disk have. Everything asked of it may block for as long as the disk takes.
    pub fn kept(&self) -> KeptHere<'_> {
        KeptHere::new(self)
    }

    fn decode_now(&self, kind: ChunkKind, wanted: &ChunkRef) -> Option<Bytes> {
        if wanted.len > DECODE_NOW_BYTES_MAX {
            return None;
        }
        let span = self.span(kind, wanted);
        self.grouped(kind, wanted, &span).or_else(|| self.open(kind, wanted, &span, &self.fetch.now(span)?).ok())
    }

    /// The bytes of a chunk whose group was unpacked lately.
    fn grouped(&self, kind: ChunkKind, wanted: &ChunkRef, span: &Span) -> Option<Bytes> {
        let group = (kind == ChunkKind::Data).then(|| self.groups.get(&(span.pack, span.offset, span.len)))??;
        group.take(self.repo.keys(), kind, wanted.id, wanted.len).ok().map(Bytes::copy_from_slice)
    }

    /// The bytes of a chunk out of the encoded ones at this place.
    fn open(
        &self,
        kind: ChunkKind,
        wanted: &ChunkRef,
        span: &Span,
        encoded: &[u8],
    ) -> std::result::Result<Bytes, FormatError> {
        if !group::is_group(encoded) || kind != ChunkKind::Data {
            return chunk::open(self.repo.keys(), kind, wanted.id, wanted.len, encoded).map(Bytes::from);
        }
        self.unpacked(span, encoded)?.take(self.repo.keys(), kind, wanted.id, wanted.len).map(Bytes::copy_from_slice)
    }

    /// The group at this place. Neighbours are often wanted at once: the first unpacks it, the others wait.
    fn unpacked(&self, span: &Span, encoded: &[u8]) -> std::result::Result<Arc<Group>, FormatError> {
        let place = (span.pack, span.offset, span.len);
        let _turn = self.turns[span.offset as usize % TURNS].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(group) = self.groups.get(&place) {
            return Ok(group);
        }
        let group = Arc::new(Group::decode(encoded)?);
        self.groups.put(place, group.clone(), group.memory_bytes());
        Ok(group)
    }

    /// The bytes of a data chunk.
    pub async fn data(self: &Arc<Self>, wanted: &ChunkRef) -> Result<Bytes> {
        self.begin_data(wanted).await
    }

    /// The same, begun at once and not when it is first waited for.
    pub fn begin_data(self: &Arc<Self>, wanted: &ChunkRef) -> impl Future<Output = Result<Bytes>> + Send + use<> {
        let (this, wanted) = (self.clone(), *wanted);
        let here = self.data.get(&wanted.id);
        let joined = here.is_none().then(|| self.flight(ChunkKind::Data, &wanted));
        async move {
            match (here, joined) {
                (None, Some(joined)) => this.landed(joined, ChunkKind::Data, &wanted).await,
                (here, _) => here.ok_or(Error::TaskLost),
            }
        }
    }

    /// Starts to fetch a data chunk that will be wanted soon.
    pub fn prefetch(self: &Arc<Self>, wanted: &ChunkRef) {
        if self.data.get(&wanted.id).is_none() {
            drop(self.flight(ChunkKind::Data, wanted));
        }
    }

    /// Starts to decode a data chunk that will be wanted soon, if its bytes are in memory already.
    pub fn decode_ahead(self: &Arc<Self>, wanted: &ChunkRef) {
        if self.data.get(&wanted.id).is_none() && self.fetch.has(self.span(ChunkKind::Data, wanted)) {
            drop(self.flight(ChunkKind::Data, wanted));
        }
    }

    /// Starts to fetch what will be wanted soon, without decoding it: neighbours in a pack by one request, gaps read
    /// through. Demand goes first.
    pub fn fetch_ahead(self: &Arc<Self>, wanted: &[ChunkRef]) {
        let spans = wanted.iter().filter(|chunk| self.data.get(&chunk.id).is_none());
        self.fetch.ahead(spans.map(|chunk| self.span(ChunkKind::Data, chunk)));
    }

    /// The same for pages of nodes.
    pub fn pages_ahead(self: &Arc<Self>, wanted: &[ChunkRef]) {
        let spans = wanted.iter().filter(|page| self.nodes.get(&page.id).is_none());
        self.fetch.ahead(spans.map(|page| self.span(ChunkKind::NodePage, page)));
    }

    /// Fetches a chunk now, and by the same request what was stored behind it: for what is stored in the order in which
    /// it will be wanted, step by step.
    pub fn fetch_along(self: &Arc<Self>, wanted: &ChunkRef) {
        if self.data.get(&wanted.id).is_none() {
            self.fetch.along(self.span(ChunkKind::Data, wanted), ALONG_SEGMENTS);
        }
    }

    /// What fetching a chunk ahead moves, bytes, if it is asked for after this other one.
    pub fn ahead_cost(&self, wanted: &ChunkRef, after: Option<&ChunkRef>) -> u64 {
        let span_of = |chunk: &ChunkRef| self.span(ChunkKind::Data, chunk);
        span_of(wanted).cost_after(after.map(span_of).as_ref())
    }

    /// Brings chunks or pages into the cache and keeps them there under a label, best given in the order of their
    /// packs. Returns the bytes that were fetched.
    pub async fn pin(&self, label: &str, now_secs: i64, kind: ChunkKind, wanted: &[ChunkRef]) -> Result<u64> {
        loop {
            match self.fetch.pin(label, now_secs, wanted.iter().map(|chunk| self.span(kind, chunk))).await {
                // Some of it was moved: all that is known of where to is needed now.
                Err(e) if may_lie_elsewhere(&e) => {
                    let is_news = gone_pack(&e).is_some_and(|pack| self.finder.note_gone(pack));
                    if !self.finder.read_all().await? && !is_news {
                        return Err(e);
                    }
                }
                done => return done,
            }
        }
    }

    /// The bytes of a chunk or page, hints and all, exactly where its reference says: no other place is tried, and
    /// it is not kept. For who wants to know whether that place is whole.
    pub async fn stored(&self, kind: ChunkKind, wanted: &ChunkRef) -> Result<Bytes> {
        let encoded = self.fetch.read(span(kind, wanted.hint)).await?;
        let opened = InOrder::default().open(self.repo.keys(), kind, wanted, &encoded);
        opened.map(Bytes::from).map_err(|source| Error::Object { object: pack_name(wanted.hint.pack), source })
    }

    /// The encoded bytes of chunks, or of a page, exactly at this place, without others that are encoded with them, once they were
    /// decoded and found to be what their ids say: for who stores them elsewhere. With the ids and lengths of those that are there,
    /// in order; an error if none is.
    pub async fn encoded(
        &self,
        kind: ChunkKind,
        wanted: &[(ChunkId, u32)],
        place: Locator,
    ) -> Result<(Members, Bytes)> {
        let encoded = self.fetch.read(span(kind, place)).await?;
        let (members, fewer) = group::only(self.repo.keys(), kind, wanted, &encoded, GROUP_LEVEL)
            .map_err(|source| Error::Object { object: pack_name(place.pack), source })?;
        Ok((members, fewer.map_or(encoded, Bytes::from)))
    }

    /// Starts to fetch chunks and pages, kept or not, as [`Chunks::fetch_ahead`] does.
    pub fn encoded_ahead(self: &Arc<Self>, wanted: impl Iterator<Item = (ChunkKind, ChunkRef)>) {
        self.fetch.ahead(wanted.map(|(kind, chunk)| span(kind, chunk.hint)));
    }

    /// Stored bytes that may be fetched ahead and not be read yet.
    pub fn ahead_bytes_max(&self) -> u64 {
        self.fetch.ahead_bytes_max()
    }

    /// Bytes that may be decoded ahead and not be read yet.
    pub fn decoded_bytes_max(&self) -> u64 {
        // Chunks reach beyond what is asked for on both sides, and the one being read is kept as well.
        self.data_bytes_max as u64 / 4
    }

    /// Brings a page into memory.
    async fn load(self: &Arc<Self>, kind: ChunkKind, wanted: &ChunkRef, kept: &mut Kept) -> Result<()> {
        let plain = self.fly(kind, wanted).await?;
        self.keep(kind, wanted, &plain, kept)
    }

    /// Makes a page known whose bytes came with a record, if they are what they should be.
    pub fn offer_root(&self, wanted: &ChunkRef, plain: &[u8]) {
        let covered = plain.get(..wanted.len as usize);
        if covered.is_some_and(|c| self.repo.keys().chunk_id(ChunkKind::NodePage, c) == wanted.id) {
            // If it does not decode it will be fetched, and the fault named then.
            let _unreadable = self.keep(ChunkKind::NodePage, wanted, plain, &mut Kept::default());
        }
    }

    fn keep(&self, kind: ChunkKind, wanted: &ChunkRef, plain: &[u8], kept: &mut Kept) -> Result<()> {
        let object = pack_name(wanted.hint.pack);
        let fault = |source| Error::Object { object, source };
        match kind {
            ChunkKind::ExtentPage => {
                kept.extents.insert(wanted.id, self.keep_extents(wanted, plain).map_err(fault)?);
            }
            _ => {
                kept.nodes.insert(wanted.id, self.keep_nodes(wanted, plain).map_err(fault)?);
            }
        }
        Ok(())
    }

    fn keep_nodes(&self, wanted: &ChunkRef, plain: &[u8]) -> std::result::Result<Arc<Loaded>, FormatError> {
        let page = Arc::new(Loaded::new(NodePage::decode(plain, wanted.len)?));
        self.nodes.put(wanted.id, page.clone(), page.memory_bytes());
        Ok(page)
    }

    fn keep_extents(&self, wanted: &ChunkRef, plain: &[u8]) -> std::result::Result<Arc<ExtentPage>, FormatError> {
        let page = Arc::new(ExtentPage::decode(plain, wanted.len)?);
        self.extents.put(wanted.id, page.clone(), plain.len() * 2);
        Ok(page)
    }

    /// Asks a question about a tree, fetching the pages it turns out to need.
    pub async fn ask<T>(
        self: &Arc<Self>,
        mut question: impl FnMut(&View<'_>) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        let mut kept = Kept::default();
        loop {
            match question(&View::new(self, &kept)) {
                Ok(answer) => return Ok(answer),
                Err(Stop::Miss(kind, wanted)) => self.load(kind, &wanted, &mut kept).await?,
                Err(Stop::Bad(source)) => {
                    return Err(Error::Object { object: "page of a snapshot".to_owned(), source });
                }
            }
        }
    }

    fn span(&self, kind: ChunkKind, wanted: &ChunkRef) -> Span {
        span(kind, self.finder.place(wanted))
    }

    /// Where the chunk was before it was moved, if it was: the cache may have it from then.
    fn old_span(&self, kind: ChunkKind, wanted: &ChunkRef) -> Option<Span> {
        (self.finder.place(wanted) != wanted.hint).then(|| span(kind, wanted.hint))
    }

    async fn read_at(&self, kind: ChunkKind, wanted: &ChunkRef, place: Locator) -> Result<Bytes> {
        let span = span(kind, place);
        if let Some(bytes) = self.grouped(kind, wanted, &span) {
            return Ok(bytes);
        }
        let encoded = self.fetch.read(span).await?;
        self.open(kind, wanted, &span, &encoded)
            .map_err(|source| Error::Object { object: pack_name(place.pack), source })
    }
}

fn span(kind: ChunkKind, place: Locator) -> Span {
    let object_type = if kind.is_metadata() { ObjectType::MetaPack } else { ObjectType::DataPack };
    Span { pack: place.pack, object_type, offset: place.offset.into(), len: place.len.into() }
}
