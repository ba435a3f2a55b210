//! Packs with parity, and rebuilding a damaged pack from what is left of it.

use crate::format::parity;
use crate::format::parity::ParityError;
use crate::format::parity::PerMille;
use crate::format::sealed::HEADER_BYTES;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::pack_name;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use crate::store::OBJECT_BYTES_MAX;
use bytes::Bytes;

/// A disk that gives a pack only in parts is asked for parts of this length.
const PIECE_BYTES: u64 = 4 << 10;

/// Where parity lies.
pub const PARITY_FOLDER: &str = "parity";

/// Name of the parity of a pack. It goes when the pack goes.
pub fn parity_name(pack: ObjectId) -> String {
    let id = pack.to_string();
    format!("{PARITY_FOLDER}/{}/{id}", &id[..2])
}

/// The pack whose parity an object is by its name.
pub fn parity_of(name: &str) -> Option<ObjectId> {
    let id = name.rsplit('/').next()?.parse().ok()?;
    (parity_name(id) == name).then_some(id)
}

/// What became of a damaged pack.
#[derive(Debug)]
pub enum Rebuilt {
    /// The bytes that were stored once; nothing is written yet.
    Whole(Bytes),
    /// It is what it should be, as far as its checksum tells.
    Sound,
    /// It has no parity.
    NoParity,
    /// Its parity does not help.
    Failed(ParityError),
}

impl Repo {
    /// The same repository, whose packs get this much parity from now on.
    pub fn with_parity(mut self, amount: Option<PerMille>) -> Repo {
        self.parity = amount;
        self
    }

    /// How much parity packs get.
    pub fn parity(&self) -> Option<PerMille> {
        self.parity
    }

    /// The parity object of a pack that is being stored.
    pub(super) async fn parity_for(&self, pack: ObjectId, object: Bytes) -> Result<Option<Bytes>> {
        let Some(amount) = self.parity else { return Ok(None) };
        let repository = self.config.repository;
        let encoding = tokio::task::spawn_blocking(move || parity::encode(repository, pack, &object, amount));
        Ok(Some(encoding.await.map_err(|_| Error::TaskLost)?.into()))
    }

    /// Stores parity. It is an extra: a pack without it is a pack.
    pub(super) async fn store_parity(&self, pack: ObjectId, parity: Bytes) {
        if let Err(error) = self.store.put_new(&parity_name(pack), parity).await {
            tracing::warn!(%pack, error = %crate::monitor::chain(&error), "A pack has no parity");
        }
    }

    /// Tries to compute a damaged pack anew. What comes out has the right checksum; nothing is written.
    pub async fn rebuild_pack(&self, pack: ObjectId) -> Result<Rebuilt> {
        let parity = match self.store.get(&parity_name(pack)).await {
            Ok(parity) => parity,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Rebuilt::NoParity),
            Err(error) => return Err(error.into()),
        };
        let left = self.what_is_left(pack).await?;
        let repository = self.config.repository;
        let there = left.clone();
        let work = tokio::task::spawn_blocking(move || parity::rebuild(repository, pack, &left, &parity));
        Ok(match work.await.map_err(|_| Error::TaskLost)? {
            Ok(object) if object == there => Rebuilt::Sound,
            Ok(object) => Rebuilt::Whole(object.into()),
            Err(error) => Rebuilt::Failed(error),
        })
    }

    /// A pack as far as the store gives it: zeros where it does not.
    async fn what_is_left(&self, pack: ObjectId) -> Result<Bytes> {
        let name = pack_name(pack);
        match self.store.get(&name).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Bytes::new()),
            Err(error) if error.kind == ErrorKind::Other => {}
            Err(error) => return Err(error.into()),
        }
        let len = self.store.head(&name).await?.len.min(OBJECT_BYTES_MAX);
        let mut left = Vec::new();
        while (left.len() as u64) < len {
            let at = left.len() as u64;
            let end = len.min(at + PIECE_BYTES);
            match self.store.get_range(&name, at..end).await {
                Ok(bytes) => left.extend_from_slice(&bytes),
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => {}
            }
            left.resize(end as usize, 0);
        }
        Ok(left.into())
    }

    /// Makes the parity of a whole pack, unless it has one that is whole. True if it was made, or would be, without `writes`.
    pub async fn add_parity(&self, pack: ObjectId, amount: PerMille, writes: bool) -> Result<bool> {
        let name = parity_name(pack);
        let repository = self.config.repository;
        let there = match self.store.get(&name).await {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let is_there = there.is_some();
        if there.is_some_and(|bytes| parity::check(Some(repository), pack, &bytes).is_ok()) {
            return Ok(false);
        }
        if !writes {
            return Ok(true);
        }
        let object = self.store.get(&pack_name(pack)).await?;
        if object.len() < HEADER_BYTES || crate::format::sealed::check_sum(&object).is_err() {
            return Ok(false);
        }
        let with = self.clone().with_parity(Some(amount));
        let Some(parity) = with.parity_for(pack, object).await? else { return Ok(false) };
        put_right(&self.store, &name, is_there, parity).await?;
        Ok(true)
    }
}

/// Stores an object that is missing, or damaged.
pub(crate) async fn put_right(store: &AnyStore, name: &str, is_there: bool, bytes: Bytes) -> Result<()> {
    match is_there {
        true => store.replace(name, bytes).await?,
        false => store.put_new(name, bytes).await?,
    }
    Ok(())
}
