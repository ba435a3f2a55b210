//! A repository: opened with a password, read by chunk, grown by pack, known by its log.
//!
//! # While X runs, Y may ...
//! | X | another backup | mount / restore | forget, prune |
//! |---|---|---|---|
//! | backup | yes: packs have random names, each writer has its own chain | yes: nothing is seen before its record | yes: it looks twice, see [`plan`](crate::plan) |
//! | mount | yes | yes | yes: a moved chunk is found through the index; of a snapshot that was forgotten, what is pruned ends |
//!
//! *Write order*: packs, then the index object that names them, then the record. Whatever happens before the record
//! is invisible. *Reading* needs no index: pages carry hints; the index is loaded when a hint is stale.
//!
//! *With a cache* ([`Memory`]), what was read before is not asked for again. It is believed no more than the store: all of
//! it is opened with the keys, and asked for anew if it does not open.

mod chunks;
mod copies;
mod error;
mod fetch;
mod finder;
mod index;
mod locks;
mod log;
mod lru;
mod orphans;
mod pack;
mod packer;
mod parity;
mod remembered;
mod segments;
mod slots;
mod span;
mod streams;
mod unlock;

pub use chunks::Chunks;
pub use chunks::ChunksOptions;
pub use chunks::KeptHere;
pub use chunks::View;
pub use copies::COPIES_FOLDER;
pub use copies::copy_name;
pub use error::Error;
pub use error::Result;
pub use index::KnownChunks;
pub use index::index_object;
pub use index::index_objects;
pub use index::store_index;
pub use locks::extend_locks;
pub use log::Author;
pub use log::Log;
pub use log::LogProblem;
pub use orphans::directories;
pub use orphans::orphans;
pub use pack::FinishedPack;
pub use pack::PackWriter;
pub use packer::Packer;
pub use parity::PARITY_FOLDER;
pub use parity::Rebuilt;
pub use parity::parity_name;
pub use parity::parity_of;
pub(crate) use parity::put_right;
pub use remembered::Freshness;
pub use remembered::Memory;
pub use slots::Changed;
pub use slots::Slot;

use crate::cache::Cache;
use crate::cache::Class;
use crate::chunker::Chunker;
use crate::chunker::Sizes;
use crate::crypto::Keys;
use crate::crypto::MasterKey;
use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::crypto::random;
use crate::format::config::Config;
use crate::format::parity::PerMille;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::ObjectType;
use crate::format::slot;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use crate::repo::remembered::Remembering;
use crate::repo::unlock::read_config;
use crate::repo::unlock::unlock;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use bytes::Bytes;
use log::RawLog;
use std::sync::Arc;

/// Name of the object every repository begins with.
pub const CONFIG_NAME: &str = "config";

/// Name of a password slot.
pub fn slot_name(slot: ObjectId) -> String {
    format!("keys/{slot}")
}

/// Name of a pack.
pub fn pack_name(pack: ObjectId) -> String {
    let id = pack.to_string();
    format!("packs/{}/{id}", &id[..2])
}

/// The pack an object is by its name.
pub fn pack_of(name: &str) -> Option<ObjectId> {
    let id = name.rsplit('/').next()?.parse().ok()?;
    (pack_name(id) == name).then_some(id)
}

/// Name of an index object.
pub fn index_name(index: ObjectId) -> String {
    format!("index/{index}")
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repo {
    store: AnyStore,
    config: Config,
    keys: Keys,
    slot: ObjectId,
    cache: Option<Arc<Cache>>,
    parity: Option<PerMille>,
    /// What it was opened with only thanks to a second copy.
    copied: Vec<String>,
}

/// What `init` fixes.
#[derive(Debug, Clone, Copy)]
pub struct InitOptions {
    /// Chunk sizes.
    pub sizes: Sizes,
    /// Cost of the password.
    pub cost: Cost,
    /// True if the store was found to enforce create-only puts.
    pub create_only: bool,
    /// Seconds since 1970.
    pub now_secs: i64,
}

impl Repo {
    /// Makes a new repository. The config is written last: before it there is nothing that could be opened.
    pub async fn init(store: AnyStore, password: &Password, options: &InitOptions) -> Result<Repo> {
        Repo::init_with(store, password, options, MasterKey::generate()).await
    }

    /// Makes a new repository beside another one, with the sizes and the master key of that: equal content has equal chunks and
    /// pages, with equal names, in both, so that copies between them find what is there already. Whoever has a password of
    /// one can read the other if they get at its objects.
    pub async fn init_beside(
        store: AnyStore,
        password: &Password,
        options: &InitOptions,
        other: &Repo,
    ) -> Result<Repo> {
        let options = InitOptions { sizes: other.config.sizes, ..*options };
        Repo::init_with(store, password, &options, other.keys.master().clone()).await
    }

    async fn init_with(store: AnyStore, password: &Password, options: &InitOptions, master: MasterKey) -> Result<Repo> {
        // A repository that has lost its config is one all the same.
        let (first, second) = (store.head(CONFIG_NAME), copy_name(CONFIG_NAME));
        let (first, second) = futures::join!(first, store.head(&second));
        for found in [first, second] {
            match found {
                Ok(_) => return Err(Error::Exists { location: store.location() }),
                Err(e) if e.kind == ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        let config = Config {
            repository: RepositoryId(random()),
            sizes: options.sizes,
            created_secs: options.now_secs,
            create_only: options.create_only,
        };
        let slot = ObjectId(random());
        let object = slot::encode(&config, slot, &master, password, options.cost, options.now_secs);
        let object = object.map_err(|source| Error::Object { object: slot_name(slot), source })?;
        let object = Bytes::from(object);
        store.put_new(&slot_name(slot), object.clone()).await?;
        let clear = Bytes::from(config.encode());
        match store.put_new(CONFIG_NAME, clear.clone()).await {
            Err(e) if e.kind == ErrorKind::AlreadyExists => {
                return Err(Error::Exists { location: store.location() });
            }
            done => done?,
        }
        let name = slot_name(slot);
        futures::join!(copies::put(&store, CONFIG_NAME, clear), copies::put(&store, &name, object));
        Ok(Repo::new(store, config, Keys::new(config.repository, master), slot))
    }

    fn new(store: AnyStore, config: Config, keys: Keys, slot: ObjectId) -> Repo {
        Repo { store, config, keys, slot, cache: None, parity: None, copied: Vec::new() }
    }

    /// Opens a repository: config and slot names in one round trip, the slots in a second.
    pub async fn open(store: AnyStore, password: &Password) -> Result<Repo> {
        let (config, slots) = futures::join!(store.get(CONFIG_NAME), store.list("keys"));
        unlock(&store, read_config(&store, config).await?, slots?, password).await
    }

    /// Opens a repository and reads its log, both in the same two round trips.
    pub async fn open_with_log(store: AnyStore, password: &Password) -> Result<(Repo, Log)> {
        let (config, slots, raw) = futures::join!(store.get(CONFIG_NAME), store.list("keys"), RawLog::list(&store));
        let config = read_config(&store, config).await?;
        let mut raw = raw?;
        let (repo, ()) = futures::join!(unlock(&store, config, slots?, password), raw.fetch_heads(&store));
        let repo = repo?;
        let log = Log::from_raw(&repo, raw).await?;
        Ok((repo, log))
    }

    /// The same with a memory: asks only for what is not known yet. If what is remembered does not open without any
    /// problem, everything is asked anew: the repository may be another one by now, or the memory wrong.
    pub async fn open_remembered(store: AnyStore, memory: &Memory, password: &Password) -> Result<(Repo, Log)> {
        let remembering = Remembering::opening(store.clone(), memory);
        let mut opened = Repo::open_with_log(remembering.clone(), password).await;
        let is_settled = match &opened {
            Ok((_, log)) => log.problems.is_empty() && !log.is_empty(),
            // Nobody answers: that was waited for once.
            Err(error) => error.is_transient(),
        };
        if memory.freshness != Freshness::Offline && remembering.was_used() && !is_settled {
            let ask = Memory { freshness: Freshness::Ask, ..memory.clone() };
            opened = Repo::open_with_log(Remembering::opening(store.clone(), &ask), password).await;
        }
        let (mut repo, log) = opened?;
        repo.store = Remembering::opened(store, memory);
        repo.cache = Some(memory.cache.clone());
        Ok((repo, log))
    }

    /// Stores a sealed pack. Packs of files may go to a cheaper class of storage; pages are read to show anything at all,
    /// so they never do, and the cache keeps them: the next backup compares with them, the next drive shows them.
    pub async fn store_pack(&self, pack: ObjectId, object_type: ObjectType, object: Bytes) -> Result<()> {
        let name = pack_name(pack);
        let is_data = object_type == ObjectType::DataPack;
        let put = async {
            match is_data {
                true => self.store.put_bulk(&name, object.clone()).await?,
                false => self.store.put_new(&name, object.clone()).await?,
            }
            Ok(())
        };
        let ((), parity) = futures::try_join!(put, self.parity_for(pack, object.clone()))?;
        if let Some(parity) = parity {
            self.store_parity(pack, parity).await;
        }
        if let (false, Some(cache)) = (is_data, &self.cache) {
            cache.keep_object(&self.store.location(), &name, object.slice(..HEADER_BYTES));
            cache.keep(pack, Class::Metadata, 0, object.slice(HEADER_BYTES..object.len() - CHECKSUM_BYTES));
        }
        Ok(())
    }

    /// Names of config and password slot, if only their second copies could be read.
    pub fn copied(&self) -> &[String] {
        &self.copied
    }

    /// Where its objects are.
    pub fn store(&self) -> &AnyStore {
        &self.store
    }

    /// The cache for what is read from it, if there is one.
    pub fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// Its fixed parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Its chunker for file contents.
    pub fn chunker(&self) -> Chunker {
        Chunker::new(self.keys.gear(), self.config.sizes)
    }
}
