//! Every page of every snapshot, once: does it open, is it what its parent says, and does what it refers to exist?
//!
//! Pages are taken from a stack in batches, each sorted by pack and place, and fetched ahead: a repository far away is
//! asked seldom. A page that several snapshots share under the same claims is looked at once.

use crate::check::Kind;
use crate::check::Result;
use crate::check::Run;
use crate::check::problem::Claimed;
use crate::check::problem::Number;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::format::extents::ExtentPage;
use crate::format::page::Key;
use crate::format::page::NodePage;
use crate::format::record::Snapshot;
use crate::meta::Content;
use crate::repo::Error;
use crate::repo::pack_name;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::HashSet;

/// Pages fetched at once; few, because a hostile one can be 16 MiB long.
const READS_AT_ONCE: usize = 6;
/// Pages of a batch.
const BATCH_MAX: usize = 1024;
/// Inner pages of a batch: each may bring a thousand more.
const BATCH_INNER_MAX: usize = 16;

/// What whoever refers to a page says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// A page of nodes.
    Nodes {
        level: u8,
        nodes: u64,
        bytes: u64,
        first: Key,
        /// Key of what follows in the tree.
        until: Option<Key>,
    },
    /// A page of extents; the level of a root is not told.
    Extents { level: Option<u8>, len: u64 },
}

/// A page to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) page: ChunkRef,
    pub(super) claim: Claim,
}

/// A page that was opened.
pub(super) enum Page {
    Nodes(NodePage),
    Extents(ExtentPage),
}

impl Wanted {
    /// The root page of a snapshot.
    pub(super) fn root(snapshot: &Snapshot) -> Wanted {
        let Snapshot { level, nodes, bytes, .. } = *snapshot;
        let claim = Claim::Nodes { level, nodes, bytes, first: Key::default(), until: None };
        Wanted { page: snapshot.root, claim }
    }

    /// The root page of a file.
    pub(super) fn file(root: ChunkRef, len: u64) -> Wanted {
        Wanted { page: root, claim: Claim::Extents { level: None, len } }
    }

    pub(super) fn kind(&self) -> ChunkKind {
        if matches!(self.claim, Claim::Nodes { .. }) { ChunkKind::NodePage } else { ChunkKind::ExtentPage }
    }

    fn is_inner(&self) -> bool {
        matches!(self.claim, Claim::Nodes { level: 1.., .. })
    }

    /// Tells references apart by the page, its place and all that is claimed.
    pub(super) fn claimed(&self) -> Claimed {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.page.id.0).update(&self.page.hint.pack.0);
        for number in [self.page.len, self.page.hint.offset, self.page.hint.len] {
            hasher.update(&number.to_le_bytes());
        }
        match &self.claim {
            Claim::Nodes { level, nodes, bytes, first, until } => {
                hasher.update(&[1, *level]).update(&nodes.to_le_bytes()).update(&bytes.to_le_bytes());
                for part in [Some(first), until.as_ref()].into_iter().flatten().flat_map(|k| [&k.parent, &k.name]) {
                    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
                }
            }
            Claim::Extents { level, len } => {
                hasher.update(&[2, level.unwrap_or(u8::MAX)]).update(&len.to_le_bytes());
            }
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        half
    }

    /// Decodes the page and compares it with what is claimed.
    pub(super) fn open(&self, plain: &[u8]) -> std::result::Result<Page, FormatError> {
        match &self.claim {
            Claim::Nodes { level, nodes, bytes, first, until } => {
                let page = NodePage::decode(plain, self.page.len)?;
                let mismatch = |what| Err(FormatError::Mismatch { what });
                let (found_level, key) = match &page {
                    NodePage::Leaf(runs) => (0, runs.first().map(|r| (&r.parent, r.nodes.first().map(|n| &n.name)))),
                    NodePage::Inner(level, children) => {
                        (*level, children.first().map(|c| (&c.first.parent, Some(&c.first.name))))
                    }
                };
                if found_level != *level {
                    return mismatch("level of the page");
                }
                if page.nodes() != *nodes {
                    return mismatch("number of nodes of the page");
                }
                if page.bytes() != *bytes {
                    return mismatch("sum of sizes of the page");
                }
                if key.is_none_or(|(parent, name)| (parent, name) != (&first.parent, Some(&first.name))) {
                    return mismatch("first name of the page");
                }
                if until.as_ref().is_some_and(|until| !ends_before(&page, until)) {
                    return Err(FormatError::Order { what: "pages" });
                }
                Ok(Page::Nodes(page))
            }
            Claim::Extents { level, len } => {
                let page = ExtentPage::decode(plain, self.page.len)?;
                let found_level = if let ExtentPage::Inner(level, _) = &page { *level } else { 0 };
                if level.is_some_and(|level| level != found_level) || page.len() != *len {
                    return Err(FormatError::Mismatch { what: "page of the extent tree" });
                }
                Ok(Page::Extents(page))
            }
        }
    }
}

/// True if the last key of a page stands before this one.
fn ends_before(page: &NodePage, until: &Key) -> bool {
    match page {
        NodePage::Leaf(runs) => {
            let last = runs.last().and_then(|run| Some((&run.parent, &run.nodes.last()?.name)));
            last.is_some_and(|(parent, name)| until.compare(parent, name).is_gt())
        }
        NodePage::Inner(_, children) => {
            children.last().is_some_and(|c| until.compare(&c.first.parent, &c.first.name).is_gt())
        }
    }
}

/// The pages below an inner page of nodes.
pub(super) fn children(page: &NodePage, claim: &Claim) -> Vec<Wanted> {
    let (NodePage::Inner(level, children), Claim::Nodes { until, .. }) = (page, claim) else { return Vec::new() };
    let next = children.iter().skip(1).map(|child| Some(child.first.clone())).chain([until.clone()]);
    let wanted = children.iter().zip(next).map(|(child, until)| {
        let (nodes, bytes, first) = (child.nodes, child.bytes, child.first.clone());
        Wanted { page: child.page, claim: Claim::Nodes { level: level - 1, nodes, bytes, first, until } }
    });
    wanted.collect()
}

/// The pages below an inner page of extents, and the chunks of a leaf.
pub(super) fn extents(page: &ExtentPage) -> (Vec<Wanted>, Vec<ChunkRef>) {
    match page {
        ExtentPage::Leaf(extents) => {
            let data = extents.iter().filter_map(|e| if let Extent::Data(chunk) = e { Some(*chunk) } else { None });
            (Vec::new(), data.collect())
        }
        ExtentPage::Inner(level, children) => {
            let claim = |len| Claim::Extents { level: Some(level - 1), len };
            let below = children.iter().map(|child| Wanted { page: child.page, claim: claim(child.len) });
            (below.collect(), Vec::new())
        }
    }
}

/// Why a page cannot be had.
pub(super) enum Lost {
    /// It is the fault of a pack that is gone or too short.
    Known(Number),
    /// It does not open where it should lie, or is not what is claimed.
    Bad { object: String, key: String, message: String },
}

impl Run<'_> {
    /// Looks at all pages of these snapshots.
    pub(super) async fn trees(&mut self, snapshots: &[&Snapshot]) -> Result<()> {
        self.find_spare_roots(snapshots);
        let mut seen = HashSet::new();
        let mut stack: Vec<Wanted> = snapshots.iter().rev().map(|snapshot| Wanted::root(snapshot)).collect();
        stack.retain(|wanted| seen.insert(wanted.claimed()));
        while !stack.is_empty() {
            self.go_on()?;
            let batch = self.batch(&mut stack);
            let refs: Vec<ChunkRef> = batch.iter().map(|wanted| wanted.page).collect();
            self.chunks.pages_ahead(&refs);
            let chunks = self.chunks.clone();
            let reads = batch.into_iter().map(|wanted| {
                let (chunks, kind, page) = (chunks.clone(), wanted.kind(), wanted.page);
                let read = tokio::spawn(async move { chunks.stored(kind, &page).await });
                async move { (wanted, read.await.unwrap_or(Err(Error::TaskLost))) }
            });
            let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
            while let Some((wanted, read)) = reads.next().await {
                match self.page(&wanted, read).await? {
                    Ok(page) => self.look_at(&wanted, &page, &mut stack, &mut seen),
                    Err(lost) => self.lose(&wanted, lost),
                }
            }
        }
        Ok(())
    }

    /// The next pages from the stack, in the order of packs, as many as may be fetched ahead.
    fn batch(&self, stack: &mut Vec<Wanted>) -> Vec<Wanted> {
        let bytes_max = self.chunks.ahead_bytes_max() / 2;
        let (mut inner, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        while let Some(wanted) = stack.pop() {
            inner += usize::from(wanted.is_inner());
            bytes += u64::from(wanted.page.hint.len);
            batch.push(wanted);
            if batch.len() >= BATCH_MAX || inner >= BATCH_INNER_MAX || bytes >= bytes_max {
                break;
            }
        }
        batch.sort_unstable_by_key(|wanted| (wanted.page.hint.pack, wanted.page.hint.offset));
        batch
    }

    /// A page: as it was read at its hint, or wherever else the index knows it.
    pub(super) async fn page(
        &mut self,
        wanted: &Wanted,
        read: std::result::Result<Bytes, Error>,
    ) -> Result<std::result::Result<Page, Lost>> {
        let fault = match read {
            Ok(plain) => return Ok(wanted.open(&plain).map_err(|source| bad(wanted, &source))),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => error,
        };
        let places = self.inventory.index.places(wanted.page.id).filter(|place| *place != wanted.page.hint);
        for hint in places.collect::<Vec<_>>() {
            match self.chunks.stored(wanted.kind(), &ChunkRef { hint, ..wanted.page }).await {
                Ok(plain) => return Ok(wanted.open(&plain).map_err(|source| bad(wanted, &source))),
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => {}
            }
        }
        let lost = match self.inventory.resolve(&mut self.findings, &wanted.page) {
            Err(number) => Lost::Known(number),
            Ok(_) => unopened(wanted, &fault),
        };
        // A record brings the root page along, so not all is lost.
        let spare = self.spare_roots.get(&wanted.page.id).and_then(|snapshot| self.log.root_page(*snapshot));
        if let Some(plain) = spare.map(<[u8]>::to_vec) {
            self.number(lost);
            return Ok(wanted.open(&plain).map_err(|source| bad(wanted, &source)));
        }
        Ok(Err(lost))
    }

    fn number(&mut self, lost: Lost) -> Number {
        match lost {
            Lost::Known(number) => number,
            Lost::Bad { object, key, message } => self.findings.add(&key, Kind::Damaged, &object, message),
        }
    }

    fn find_spare_roots(&mut self, snapshots: &[&Snapshot]) {
        for snapshot in snapshots {
            let covered = self.log.root_page(snapshot.id).and_then(|plain| plain.get(..snapshot.root.len as usize));
            if covered.is_some_and(|c| self.repo.keys().chunk_id(ChunkKind::NodePage, c) == snapshot.root.id) {
                self.spare_roots.insert(snapshot.root.id, snapshot.id);
            }
        }
    }

    fn lose(&mut self, wanted: &Wanted, lost: Lost) {
        let number = self.number(lost);
        self.findings.lose_page(wanted.claimed(), number);
    }

    /// Takes in what a page says.
    fn look_at(&mut self, wanted: &Wanted, page: &Page, stack: &mut Vec<Wanted>, seen: &mut HashSet<Claimed>) {
        self.figures.pages += 1;
        self.done(1, wanted.page.hint.len.into());
        // What the page lies in is needed, whatever is found there.
        let _told_below = self.inventory.resolve(&mut self.findings, &wanted.page);
        let mut below = Vec::new();
        match page {
            Page::Nodes(page @ NodePage::Inner(..)) => below = children(page, &wanted.claim),
            Page::Nodes(NodePage::Leaf(runs)) => {
                for node in runs.iter().flat_map(|run| &run.nodes) {
                    self.figures.nodes += 1;
                    node.contents().for_each(|content| self.look_at_content(content, &mut below));
                }
            }
            Page::Extents(page) => {
                let (pages, data) = extents(page);
                below = pages;
                data.iter().for_each(|chunk| self.refer(chunk));
            }
        }
        below.retain(|wanted| seen.insert(wanted.claimed()));
        // The first one is wanted next.
        stack.extend(below.into_iter().rev());
    }

    fn look_at_content(&mut self, content: &Content, below: &mut Vec<Wanted>) {
        match content {
            Content::Empty | Content::Inline(_) => {}
            Content::Chunk(chunk) => self.refer(chunk),
            Content::Extents { root, len, .. } => below.push(Wanted::file(*root, *len)),
        }
    }

    fn refer(&mut self, chunk: &ChunkRef) {
        self.figures.references += 1;
        // A loss is noted by this.
        let _place = self.inventory.resolve(&mut self.findings, chunk);
    }
}

/// A page that does not open where it should lie.
fn unopened(wanted: &Wanted, fault: &Error) -> Lost {
    let object = pack_name(wanted.page.hint.pack);
    match fault.inner() {
        Error::Object { source: FormatError::Segment { index }, .. } => Lost::Bad {
            key: format!("{object} pages {index}"),
            message: format!("damaged: segment {index} of 64 KiB, with pages of snapshots in it, does not open"),
            object,
        },
        // The header: then nothing of the pack can be had.
        Error::Object { source: source @ (FormatError::Magic | FormatError::Newer { .. }), .. }
        | Error::Object { source: source @ (FormatError::Commitment | FormatError::Mismatch { .. }), .. } => {
            Lost::Bad { key: object.clone(), message: source.to_string(), object }
        }
        Error::Object { source, .. } => bad(wanted, source),
        other => Lost::Bad { key: object.clone(), message: crate::monitor::chain(other), object },
    }
}

/// A page that is not what it should be.
fn bad(wanted: &Wanted, source: &FormatError) -> Lost {
    let object = pack_name(wanted.page.hint.pack);
    let what = if wanted.kind() == ChunkKind::NodePage { "a page of a snapshot" } else { "a page of a file" };
    let message = format!("{what} in it cannot be read: {source}");
    Lost::Bad { key: format!("{object} page {} {source}", wanted.page.id), message, object }
}
