//! What a repository says, path by path, to be compared with what it should say; and objects that a test may damage.

use crate::house::password;
use async_trait::async_trait;
use bygone::browse::Browse;
use bygone::id::SnapshotId;
use bygone::meta::Kind;
use bygone::monitor::chain;
use bygone::path::Show;
use bygone::repo::Chunks;
use bygone::repo::ChunksOptions;
use bygone::repo::Error;
use bygone::repo::Log;
use bygone::repo::Repo;
use bygone::store::AnyStore;
use bygone::store::ErrorKind;
use bygone::store::Store;
use bygone::store::Stored;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

/// Nothing a test asks for takes longer, however damaged the repository.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One snapshot as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Hash of metadata and content of every node that could be read.
    pub(crate) nodes: BTreeMap<Vec<u8>, blake3::Hash>,
    /// What could not be read, and why.
    pub(crate) faults: Vec<String>,
}

/// A repository as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) snapshots: BTreeMap<SnapshotId, Told>,
    /// What is wrong with the log.
    pub(crate) problems: Vec<String>,
}

impl Said {
    /// Everything that was reported.
    pub(crate) fn complaints(&self) -> Vec<&String> {
        self.snapshots.values().flat_map(|told| &told.faults).chain(&self.problems).collect()
    }
}

/// Opens the repository and reads every byte of every snapshot; must come to an end.
pub(crate) async fn listen(store: AnyStore) -> Result<Said, Error> {
    let listening = async {
        let (repo, log) = Repo::open_with_log(store, &password()).await?;
        Ok(listen_to(&repo, &log).await)
    };
    tokio::time::timeout(DEADLINE, listening).await.expect("reading comes to an end")
}

/// The same of an open repository.
pub(crate) async fn listen_to(repo: &Repo, log: &Log) -> Said {
    let chunks = Chunks::new(repo, &ChunksOptions::default());
    let mut said = Said { problems: log.problems.iter().map(|p| chain(p)).collect(), ..Said::default() };
    for snapshot in log.snapshots() {
        said.snapshots.insert(snapshot.id, read_snapshot(&Browse::open(&chunks, log, snapshot)).await);
    }
    said
}

/// Every node and every file of one snapshot.
pub(crate) async fn read_snapshot(browse: &Browse) -> Told {
    let mut told = Told::default();
    for rank in 0..browse.tree().nodes {
        let found = match browse.at(rank).await {
            Ok(found) => found.expect("the rank is within the tree"),
            Err(error) => {
                told.faults.push(format!("node {rank}: {}", chain(&error)));
                continue;
            }
        };
        let (path, node) = (found.path(), found.node());
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?} {:?} {}", node.kind, node.meta, node.size()).as_bytes());
        if node.kind == Kind::File {
            let mut at = 0;
            let mut data = browse.data(&node.content);
            let fault = loop {
                match data.next().await {
                    Ok(Some((offset, bytes))) => {
                        hasher.update(&vec![0; usize::try_from(offset - at).unwrap()]);
                        hasher.update(&bytes);
                        at = offset + bytes.len() as u64;
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            if let Some(error) = fault {
                told.faults.push(format!("{}: {}", Show(&path), chain(&error)));
                continue;
            }
        }
        told.nodes.insert(path, hasher.finalize());
    }
    told
}

/// Objects in memory, to be damaged.
#[derive(Debug, Default)]
pub(crate) struct Objects(Mutex<BTreeMap<String, Bytes>>);

impl Objects {
    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.0.lock().unwrap()
    }

    /// A copy of its own.
    pub(crate) fn copy(&self) -> Arc<Objects> {
        Arc::new(Objects(Mutex::new(self.map().clone())))
    }

    /// Names of all objects that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.map().keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// An object that is there.
    pub(crate) fn bytes(&self, name: &str) -> Bytes {
        self.map()[name].clone()
    }

    /// Puts an object there, whatever was there before; `None` removes it.
    pub(crate) fn set(&self, name: &str, bytes: Option<Bytes>) {
        match bytes {
            Some(bytes) => self.map().insert(name.to_owned(), bytes),
            None => self.map().remove(name),
        };
    }

    fn find(&self, name: &str) -> bygone::store::Result<Bytes> {
        let found = self.map().get(name).cloned();
        found.ok_or_else(|| bygone::store::Error::new(ErrorKind::NotFound, "read", name, "objects"))
    }
}

#[async_trait]
impl Store for Objects {
    fn location(&self) -> String {
        "objects".to_owned()
    }

    async fn get(&self, name: &str) -> bygone::store::Result<Bytes> {
        self.find(name)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> bygone::store::Result<Bytes> {
        let bytes = self.find(name)?;
        let len = bytes.len() as u64;
        if range.start >= len && range.end > len {
            return Err(bygone::store::Error::new(ErrorKind::Truncated, "read", name, "objects"));
        }
        Ok(bytes.slice(range.start as usize..range.end.min(len) as usize))
    }

    async fn put_new(&self, name: &str, bytes: Bytes) -> bygone::store::Result<()> {
        let mut map = self.map();
        match map.get(name) {
            Some(there) if *there != bytes => {
                Err(bygone::store::Error::new(ErrorKind::AlreadyExists, "write", name, "objects"))
            }
            _ => {
                map.insert(name.to_owned(), bytes);
                Ok(())
            }
        }
    }

    async fn list(&self, prefix: &str) -> bygone::store::Result<Vec<Stored>> {
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let map = self.map();
        let found = map.iter().filter(|(name, _)| name.starts_with(&below));
        Ok(found.map(|(name, b)| Stored { name: name.clone(), len: b.len() as u64, modified_secs: 0 }).collect())
    }

    async fn head(&self, name: &str) -> bygone::store::Result<Stored> {
        Ok(Stored { name: name.to_owned(), len: self.find(name)?.len() as u64, modified_secs: 0 })
    }

    async fn delete(&self, name: &str) -> bygone::store::Result<()> {
        self.map().remove(name);
        Ok(())
    }

    async fn extend_lock(&self, _: &str) -> bygone::store::Result<()> {
        Ok(())
    }
}
