//! Reading packs: all of some, or some chunks of all.

use crate::check::Kind;
use crate::check::Result;
use crate::check::Run;
use crate::check::pack;
use crate::check::pack::PackFault;
use crate::check::pack::PackFound;
use crate::crypto::Keys;
use crate::extent::ChunkRef;
use crate::format::chunk::Packed;
use crate::format::sealed::SEGMENT_BYTES;
use crate::id::ObjectId;
use crate::monitor::Event;
use crate::monitor::chain;
use crate::repo;
use crate::repo::Error;
use crate::repo::pack_name;
use crate::store::AnyStore;
use bytes::Bytes;
use futures::StreamExt;
use tokio::runtime::Handle;

/// Packs read at once: one comes while others are decoded.
const PACKS_AT_ONCE: usize = 3;
/// A pack up to this length is fetched by one request; longer ones are strange, and read piece by piece.
const WHOLE_BYTES_MAX: u64 = 40 << 20;
/// Chunks of a sample read at once.
const CHUNKS_AT_ONCE: usize = 8;

/// Looks at a pack in the store. Blocks, so it has a thread of its own.
fn examine(store: &AnyStore, keys: &Keys, runtime: &Handle, pack: ObjectId, len: u64) -> repo::Result<PackFound> {
    let name = pack_name(pack);
    if len > WHOLE_BYTES_MAX {
        return pack::examine(keys, pack, len, &mut |range| Ok(runtime.block_on(store.get_range(&name, range))?));
    }
    let whole: Bytes = runtime.block_on(store.get(&name))?;
    pack::examine(
        keys,
        pack,
        whole.len() as u64,
        &mut |range| Ok(whole.slice(range.start as usize..range.end as usize)),
    )
}

impl Run<'_> {
    /// Reads these packs, every byte.
    pub(super) async fn read_packs(&mut self, packs: Vec<(ObjectId, u64)>) -> Result<()> {
        let figures = self.figures;
        let (mut nodes, mut bytes) = (figures.records + figures.indexes + figures.pages, 0);
        nodes += packs.len() as u64;
        bytes += packs.iter().map(|(_, len)| len).sum::<u64>();
        self.monitor.event(Event::Total { nodes, bytes });
        let (store, keys) = (self.repo.store().clone(), self.repo.keys().clone());
        let reads = packs.into_iter().map(|(pack, len)| {
            let (store, keys, runtime) = (store.clone(), keys.clone(), Handle::current());
            let read = move || (pack, len, examine(&store, &keys, &runtime, pack, len));
            tokio::task::spawn_blocking(read)
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(PACKS_AT_ONCE);
        while let Some(read) = reads.next().await {
            self.go_on()?;
            let (pack, len, found) = read.map_err(|_| Error::TaskLost)?;
            self.done(1, len);
            match found {
                Ok(found) => self.take_pack(pack, len, found),
                Err(Error::Store(error)) => {
                    self.unreadable(&pack_name(pack), error)?;
                    let number = self.findings.add(&pack_name(pack), Kind::Unreadable, "", String::new());
                    self.findings.spoil(pack, 0..u64::MAX, number);
                    self.damaged_packs.push(pack);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.damaged_packs.sort_unstable();
        Ok(())
    }

    fn take_pack(&mut self, pack: ObjectId, len: u64, found: PackFound) {
        self.figures.objects_read += 1;
        self.figures.bytes_read += len;
        self.figures.chunks_read += found.chunks;
        let name = pack_name(pack);
        for fault in &found.faults {
            let key = match fault {
                PackFault::Chunk(id, ..) => format!("{name} {id}"),
                // What is known of its length was told already.
                PackFault::Length(_) | PackFault::Header(_) => name.clone(),
                other => format!("{name} {other}"),
            };
            let number = self.findings.add(&key, Kind::Damaged, &name, fault.to_string());
            fault.areas().into_iter().for_each(|area| self.findings.spoil(pack, area, number));
        }
        if !found.faults.is_empty() {
            self.damaged_packs.push(pack);
        }
        self.compare_directory(pack, &name, &found);
    }

    /// What the pack says is in it, and what the index says.
    fn compare_directory(&mut self, pack: ObjectId, name: &str, found: &PackFound) {
        let index = &self.inventory.index;
        if index.pack_len(pack).is_none() || !found.is_listed {
            return;
        }
        let is_known = |packed: &Packed| index.places(packed.chunk.id).any(|place| place == packed.chunk.hint);
        let unknown = found.directory.iter().filter(|packed| !is_known(packed)).count();
        let known = self.inventory.counts.get(&pack).copied().unwrap_or(0);
        let here = (found.directory.len() - unknown) as u64;
        if unknown > 0 || known != here {
            let message = format!(
                "holds {} chunks, {unknown} of which the index does not know; the index tells of {} that are not in it",
                found.directory.len(),
                known.saturating_sub(here)
            );
            self.findings.add(&format!("{name} index"), Kind::Contradiction, name, message);
        }
    }

    /// Reads chunks at exactly these places.
    pub(super) async fn read_chunks(&mut self, chosen: Vec<Packed>) -> Result<()> {
        let bytes = chosen.iter().map(|packed| u64::from(packed.chunk.hint.len)).sum();
        self.monitor.event(Event::Total { nodes: chosen.len() as u64, bytes });
        let chunks = self.chunks.clone();
        let reads = chosen.into_iter().map(|packed| {
            let chunks = chunks.clone();
            let read = async move { (packed, chunks.stored(packed.kind, &packed.chunk).await) };
            tokio::spawn(read)
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(CHUNKS_AT_ONCE);
        while let Some(read) = reads.next().await {
            self.go_on()?;
            let (Packed { chunk, .. }, read) = read.map_err(|_| Error::TaskLost)?;
            self.done(1, chunk.hint.len.into());
            match read {
                Ok(_) => self.figures.chunks_read += 1,
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(error) => self.take_chunk(&chunk, &error),
            }
        }
        self.damaged_packs.sort_unstable();
        self.damaged_packs.dedup();
        Ok(())
    }

    /// Notes a chunk that is not where it should be.
    fn take_chunk(&mut self, chunk: &ChunkRef, error: &Error) {
        const SEGMENT: u64 = SEGMENT_BYTES as u64;
        let pack = chunk.hint.pack;
        let name = pack_name(pack);
        let area = u64::from(chunk.hint.offset)..u64::from(chunk.hint.offset) + u64::from(chunk.hint.len);
        let place = area.start / SEGMENT;
        let message = format!("chunk {} in it cannot be read: {}", chunk.id, chain(error.inner()));
        let number = self.findings.add(&format!("{name} sample {place}"), Kind::Damaged, &name, message);
        self.findings.spoil(pack, area, number);
        self.damaged_packs.push(pack);
    }
}
