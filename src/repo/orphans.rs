//! Packs that no index names: left by a run that was killed. Each says itself what is in it.

use crate::format::FormatError;
use crate::format::chunk;
use crate::format::chunk::Packed;
use crate::format::index::IndexedPack;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::Header;
use crate::format::sealed::ObjectType;
use crate::format::sealed::Opener;
use crate::format::sealed::SEALED_SEGMENT_BYTES;
use crate::format::sealed::SEGMENT_BYTES;
use crate::format::sealed::TRAILER_BYTES;
use crate::format::sealed::read_trailer;
use crate::repo::Error;
use crate::repo::KnownChunks;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::pack_name;
use crate::repo::pack_of;
use futures::Stream;
use futures::StreamExt;

/// Directories read at once.
const READS_AT_ONCE: usize = 8;

/// Finds packs that no index names and reads their directories. Damaged ones are passed over: nothing needs them.
pub async fn orphans(repo: &Repo) -> Result<Vec<(IndexedPack, Vec<Packed>)>> {
    let indexed = KnownChunks::load(repo).await?.into_packs();
    let listed = repo.store().list("packs").await?;
    let unknown = listed.into_iter().filter_map(|stored| {
        let pack = pack_of(&stored.name)?;
        (!indexed.contains(&pack)).then_some(IndexedPack { pack, len: stored.len })
    });
    let mut reads = directories(repo, unknown.collect());
    let mut found = Vec::new();
    while let Some((pack, directory)) = reads.next().await {
        match directory {
            Ok(directory) => found.push((pack, directory)),
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => {
                tracing::warn!(pack = %pack.pack, error = %crate::monitor::chain(&e), "Pack without index is damaged")
            }
        }
    }
    Ok(found)
}

/// What each of these packs says is in it, one after the other as they are asked for.
pub fn directories(
    repo: &Repo,
    packs: Vec<IndexedPack>,
) -> impl Stream<Item = (IndexedPack, Result<Vec<Packed>>)> + Unpin + Send + use<> {
    let repo = repo.clone();
    let reads = packs.into_iter().map(move |pack| {
        let repo = repo.clone();
        async move { (pack, read_directory(&repo, pack).await) }
    });
    futures::stream::iter(reads).buffered(READS_AT_ONCE).boxed()
}

/// The directory of one pack, without its payload.
async fn read_directory(repo: &Repo, pack: IndexedPack) -> Result<Vec<Packed>> {
    let name = pack_name(pack.pack);
    let fault = |source| Error::Object { object: name.clone(), source };
    let clear = repo.store().get_range(&name, 0..HEADER_BYTES as u64).await?;
    let header = Header::decode(&clear).map_err(fault)?;
    if !matches!(header.object_type, ObjectType::DataPack | ObjectType::MetaPack) {
        return Err(fault(FormatError::Mismatch { what: "object type" }));
    }
    if header.object_len() != pack.len {
        return Err(fault(FormatError::Length { expected: header.object_len(), found: pack.len }));
    }
    let opener = Opener::new(repo.keys(), header.object_type, Some(pack.pack), &clear).map_err(fault)?;
    let count = header.segments();
    let mut tail = open_from(repo, &name, &opener, count.saturating_sub(2)).await?;
    let (payload_len, directory_len) = read_trailer_of(&tail).map_err(fault)?;
    let start = payload_len;
    let first = payload_len / SEGMENT_BYTES as u64;
    if first < count.saturating_sub(2) {
        tail = open_from(repo, &name, &opener, first).await?;
    }
    let base = header.plain_len - tail.len() as u64;
    let from = start.checked_sub(base).and_then(|n| usize::try_from(n).ok());
    let range = from.map(|from| from..from.saturating_add(directory_len as usize));
    let directory =
        range.and_then(|range| tail.get(range)).ok_or(fault(FormatError::Short { what: "pack directory" }))?;
    chunk::decode_directory(directory, pack.pack, payload_len).map_err(fault)
}

/// Lengths of payload and directory; bounded by the caller's look into the plaintext.
fn read_trailer_of(tail: &[u8]) -> std::result::Result<(u64, u64), FormatError> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>().ok_or(FormatError::Short { what: "trailer" })?;
    read_trailer(trailer)
}

/// Plaintext from a segment to the end of the pack.
async fn open_from(repo: &Repo, name: &str, opener: &Opener, first: u64) -> Result<Vec<u8>> {
    let range = opener.header().segment_range(first..opener.header().segments());
    let body = repo.store().get_range(name, range).await?;
    let mut plain = Vec::with_capacity(body.len());
    for (index, sealed) in (first..).zip(body.chunks(SEALED_SEGMENT_BYTES)) {
        let start = plain.len();
        plain.extend_from_slice(sealed);
        let opened = opener.open(index, &mut plain[start..]);
        let len = opened.map_err(|source| Error::Object { object: name.to_owned(), source })?.len();
        plain.truncate(start + len);
    }
    Ok(plain)
}
