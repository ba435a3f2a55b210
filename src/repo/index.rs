//! All chunks of the repository as its index objects tell, in a sorted table of 44 bytes a chunk.

use crate::crypto::random;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::index::Index;
use crate::format::sealed;
use crate::format::sealed::ObjectType;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::index_name;
use crate::store;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

/// Index objects read at once.
const READS_AT_ONCE: usize = 8;

/// Where chunks lie. The kind is part of a chunk's id, so ids alone tell chunks apart.
#[derive(Debug, Default)]
pub struct KnownChunks {
    packs: Vec<ObjectId>,
    lens: HashMap<ObjectId, u64>,
    lines: Vec<Line>,
    /// Index objects that could not be read; what they name will be stored again.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    id: ChunkId,
    pack: u32,
    offset: u32,
    len: u32,
}

impl KnownChunks {
    /// Reads every index object. Unreadable ones are skipped and named in `problems`.
    pub async fn load(repo: &Repo) -> Result<KnownChunks> {
        KnownChunks::load_telling(repo, |_, _, _| {}).await
    }

    /// The same, and tells of each index object its name, its bytes, and what it says, or why it says nothing.
    pub async fn load_telling(
        repo: &Repo,
        mut tell: impl FnMut(&str, &[u8], std::result::Result<&Index, &Error>) + Send,
    ) -> Result<KnownChunks> {
        let objects = index_objects(repo).await?;
        let reads = objects.into_iter().map(|id| async move { (id, read_index(repo, id).await) }).collect::<Vec<_>>();
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut known = KnownChunks::default();
        let mut numbers = HashMap::new();
        while let Some((id, read)) = reads.next().await {
            let name = index_name(id);
            let (bytes, index) = match read {
                Ok((bytes, index)) => (bytes, index.map_err(|source| Error::Object { object: name.clone(), source })),
                Err(e) => (Bytes::new(), Err(Error::from(e))),
            };
            match index {
                Ok(index) => {
                    tell(&name, &bytes, Ok(&index));
                    known.add(&index, &mut numbers);
                }
                Err(e) if e.is_transient() => return Err(e),
                Err(e) => {
                    tell(&name, &bytes, Err(&e));
                    known.problems.push(format!("{name}: {}", crate::monitor::chain(&e)));
                }
            }
        }
        known.lines.sort_unstable();
        known.lines.dedup();
        known.lines.shrink_to_fit();
        Ok(known)
    }

    fn add(&mut self, index: &Index, numbers: &mut HashMap<ObjectId, u32>) {
        self.lens.extend(index.packs.iter().map(|pack| (pack.pack, pack.len)));
        self.lines.reserve(index.chunks.len());
        for packed in &index.chunks {
            let Locator { pack, offset, len } = packed.chunk.hint;
            let number = *numbers.entry(pack).or_insert_with(|| {
                self.packs.push(pack);
                u32::try_from(self.packs.len() - 1).expect("fewer than 2^32 packs")
            });
            self.lines.push(Line { id: packed.chunk.id, pack: number, offset, len });
        }
    }

    /// Every pack that an index names.
    pub fn into_packs(self) -> HashSet<ObjectId> {
        self.packs.into_iter().collect()
    }

    /// Every pack that an index names, with the length it should have.
    pub fn packs(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        self.lens.iter().map(|(pack, len)| (*pack, *len))
    }

    /// How many chunks each pack holds, as the index tells.
    pub fn counts(&self) -> HashMap<ObjectId, u64> {
        let mut counts = vec![0; self.packs.len()];
        self.lines.iter().for_each(|line| counts[line.pack as usize] += 1);
        self.packs.iter().copied().zip(counts).collect()
    }

    /// Length of the object that a pack should be.
    pub fn pack_len(&self, pack: ObjectId) -> Option<u64> {
        self.lens.get(&pack).copied()
    }

    /// Number of places known.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Every place where a chunk lies.
    pub fn places(&self, id: ChunkId) -> impl Iterator<Item = Locator> + '_ {
        let start = self.lines.partition_point(|line| line.id < id);
        let lines = self.lines[start..].iter().take_while(move |line| line.id == id);
        lines.map(|line| Locator { pack: self.packs[line.pack as usize], offset: line.offset, len: line.len })
    }

    /// A reference to a chunk that is there already.
    pub fn get(&self, id: ChunkId, len: u32) -> Option<ChunkRef> {
        self.places(id).next().map(|hint| ChunkRef { id, len, hint })
    }
}

/// The index objects that are there.
pub async fn index_objects(repo: &Repo) -> Result<BTreeSet<ObjectId>> {
    let names = repo.store().list("index").await?;
    Ok(names.iter().filter_map(|stored| stored.name.strip_prefix("index/")?.parse().ok()).collect())
}

/// What one index object says.
pub async fn index_object(repo: &Repo, id: ObjectId) -> Result<Index> {
    let (_, index) = read_index(repo, id).await?;
    index.map_err(|source| Error::Object { object: index_name(id), source })
}

/// Stores an index object under a name of its own.
pub async fn store_index(repo: &Repo, mut index: Index) -> Result<ObjectId> {
    let id = ObjectId(random());
    let object = sealed::seal(repo.keys(), ObjectType::Index, id, &index.encode(), &[], 0);
    repo.store().put_new(&index_name(id), object.into()).await?;
    Ok(id)
}

/// The bytes of an index object, and what they say.
async fn read_index(repo: &Repo, id: ObjectId) -> store::Result<(Bytes, std::result::Result<Index, FormatError>)> {
    let bytes = repo.store().get(&index_name(id)).await?;
    let index = sealed::open(repo.keys(), ObjectType::Index, Some(id), &bytes)
        .and_then(|opened| Index::decode(opened.payload()));
    Ok((bytes, index))
}
