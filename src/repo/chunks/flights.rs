//! Fetching a chunk or page: once however many wait for it, and wherever it lies by now.

use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Result;
use crate::repo::chunks::Chunks;
use crate::repo::fetch::is_offline;
use crate::repo::fetch::may_lie_elsewhere;
use crate::repo::pack_of;
use crate::store::ErrorKind;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::Shared;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// A chunk on its way.
pub(super) type Flight = Shared<BoxFuture<'static, std::result::Result<Bytes, Arc<Error>>>>;

impl Chunks {
    pub(super) async fn fly(self: &Arc<Self>, kind: ChunkKind, wanted: &ChunkRef) -> Result<Bytes> {
        self.landed(self.flight(kind, wanted), kind, wanted).await
    }

    /// Waits for a flight. The failure of one that others had begun is not believed: it may be older than this reader.
    pub(super) async fn landed(self: &Arc<Self>, joined: Joined, kind: ChunkKind, wanted: &ChunkRef) -> Result<Bytes> {
        let landed = match (joined.flight.await, joined.is_ours) {
            (Err(_), false) => self.flight(kind, wanted).flight.await,
            (landed, _) => landed,
        };
        landed.map_err(Error::Shared)
    }

    /// True if the chunk is on its way.
    pub(super) fn is_flying(&self, wanted: &ChunkRef) -> bool {
        self.flights().contains_key(&wanted.id)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<ChunkId, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of this chunk or starts one.
    pub(super) fn flight(self: &Arc<Self>, kind: ChunkKind, wanted: &ChunkRef) -> Joined {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&wanted.id) {
            return Joined { flight: flight.clone(), is_ours: false };
        }
        let (this, wanted) = (self.clone(), *wanted);
        let task = self.runtime.spawn(async move {
            // Made here: a runtime that ends drops tasks within `spawn`, where the list is locked.
            let _flown = Flown { chunks: this.clone(), id: wanted.id };
            let result = this.fetch_chunk(kind, &wanted).await;
            if let (Ok(bytes), ChunkKind::Data) = (&result, kind) {
                this.data.put(wanted.id, bytes.clone(), bytes.len());
            }
            result.map_err(Arc::new)
        });
        let flight = async move { task.await.unwrap_or_else(|_| Err(Arc::new(Error::TaskLost))) }.boxed().shared();
        flights.insert(wanted.id, flight.clone());
        Joined { flight, is_ours: true }
    }

    /// Reads where the chunk probably lies; if it does not, wherever else the index says.
    async fn fetch_chunk(&self, kind: ChunkKind, wanted: &ChunkRef) -> Result<Bytes> {
        // What the cache has may be from before the chunk was moved, or from afterwards.
        let leaves_hope = |e: &Error| {
            if let Some(pack) = gone_pack(e) {
                self.finder.note_gone(pack);
            }
            may_lie_elsewhere(e) || is_offline(e)
        };
        let mut tried = vec![self.finder.place(wanted)];
        let first = match self.read_at(kind, wanted, tried[0]).await {
            Err(e) if leaves_hope(&e) => e,
            other => return other,
        };
        let cause = crate::monitor::chain(&first);
        tracing::info!(chunk = %wanted.id, cause, "Chunk is not where it was, asking the index");
        loop {
            let place = match self.finder.another(wanted, &tried).await {
                Ok(Some(place)) => place,
                Err(e) if !is_offline(&e) => return Err(e),
                _ => return Err(first),
            };
            match self.read_at(kind, wanted, place).await {
                Err(e) if leaves_hope(&e) => tried.push(place),
                other => return other,
            }
        }
    }
}

/// The pack that is not there any more, if that is the fault.
pub(super) fn gone_pack(error: &Error) -> Option<ObjectId> {
    match error.inner() {
        Error::Store(e) if e.kind == ErrorKind::NotFound => pack_of(&e.name),
        _ => None,
    }
}

/// A flight, and whether it was begun for who holds this.
pub(super) struct Joined {
    flight: Flight,
    is_ours: bool,
}

/// Strikes a chunk off the list, however its flight ended.
struct Flown {
    chunks: Arc<Chunks>,
    id: ChunkId,
}

impl Drop for Flown {
    fn drop(&mut self) {
        self.chunks.flights().remove(&self.id);
    }
}
