//! From a password to a key: config and slots, tried one by one; second copies only if nothing else opens.

use crate::crypto::Keys;
use crate::crypto::MasterKey;
use crate::crypto::password::Password;
use crate::format::config::Config;
use crate::format::slot;
use crate::format::slot::Unlocked;
use crate::id::ObjectId;
use crate::repo::CONFIG_NAME;
use crate::repo::COPIES_FOLDER;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copies;
use crate::repo::copy_name;
use crate::repo::slot_name;
use crate::store;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use crate::store::Stored;
use bytes::Bytes;

/// The config, and whether it is the second copy.
pub(super) type FoundConfig = (Config, bool);

pub(super) async fn read_config(store: &AnyStore, first: store::Result<Bytes>) -> Result<FoundConfig> {
    let fault = match decode_config(store, first) {
        Ok(config) => return Ok((config, false)),
        // No repository, or one that has lost it.
        Err(Error::NoRepository { location }) => {
            let second = store.get(&copy_name(CONFIG_NAME)).await;
            return second
                .ok()
                .and_then(|bytes| Config::decode(&bytes).ok())
                .map(|config| (config, true))
                .ok_or(Error::NoRepository { location });
        }
        Err(fault) => fault,
    };
    let second = copies::get(store, CONFIG_NAME, &fault).await;
    second.and_then(|bytes| Config::decode(&bytes).ok()).map(|config| (config, true)).ok_or(fault)
}

fn decode_config(store: &AnyStore, config: store::Result<Bytes>) -> Result<Config> {
    match config {
        Err(e) if e.kind == ErrorKind::NotFound => Err(Error::NoRepository { location: store.location() }),
        Err(e) => Err(e.into()),
        Ok(bytes) => Config::decode(&bytes).map_err(|source| Error::Object { object: CONFIG_NAME.to_owned(), source }),
    }
}

/// What came of trying the password on some slots.
#[derive(Default)]
struct Tried {
    opened: Option<(ObjectId, MasterKey)>,
    refused: Vec<ObjectId>,
    faults: Vec<(ObjectId, Error)>,
}

/// Tries the password on every slot; on second copies only if nothing else opens.
pub(super) async fn unlock(
    store: &AnyStore,
    found: FoundConfig,
    slots: Vec<Stored>,
    password: &Password,
) -> Result<Repo> {
    let (config, is_copy) = found;
    let ids: Vec<ObjectId> = slots.iter().filter_map(|stored| slot_of(&stored.name)).collect();
    let first = try_slots(store, config, &ids, slot_name, password).await;
    let mut copied: Vec<String> = is_copy.then(|| CONFIG_NAME.to_owned()).into_iter().collect();
    let Tried { mut opened, mut refused, mut faults } = first;
    if opened.is_none() && faults.iter().all(|(_, fault)| copies::may_help(fault)) {
        let listed = store.list(&format!("{COPIES_FOLDER}/keys")).await.unwrap_or_default();
        let ids = listed.iter().filter_map(|stored| slot_of(stored.name.strip_prefix(COPIES_FOLDER)?.get(1..)?));
        let ids: Vec<ObjectId> = ids.filter(|id| !refused.contains(id)).collect();
        let second = try_slots(store, config, &ids, |id| copy_name(&slot_name(id)), password).await;
        copied.extend(second.opened.iter().map(|(id, _)| slot_name(*id)));
        opened = second.opened;
        faults.retain(|(id, _)| !second.refused.contains(id));
        refused.extend(second.refused);
    }
    if let Some((slot, master)) = opened {
        let keys = Keys::new(config.repository, master);
        return Ok(Repo { copied, ..Repo::new(store.clone(), config, keys, slot) });
    }
    match faults.pop() {
        Some((_, error)) if !refused.is_empty() => Err(Error::SlotUnreadable { source: Box::new(error) }),
        Some((_, error)) => Err(error),
        None if !refused.is_empty() => Err(Error::WrongPassword),
        None => Err(Error::NoSlot { location: store.location() }),
    }
}

/// The password slot an object is by its name.
fn slot_of(name: &str) -> Option<ObjectId> {
    name.strip_prefix("keys/")?.parse().ok()
}

async fn try_slots(
    store: &AnyStore,
    config: Config,
    ids: &[ObjectId],
    name: impl Fn(ObjectId) -> String,
    password: &Password,
) -> Tried {
    let name = &name;
    let reads = futures::future::join_all(ids.iter().map(|id| async move { store.get(&name(*id)).await }));
    let mut tried = Tried::default();
    for (id, bytes) in ids.iter().zip(reads.await) {
        match try_slot(bytes, *id, config, password).await {
            Ok(Unlocked::Key(master, _)) => {
                tried.opened = Some((*id, master));
                break;
            }
            Ok(Unlocked::WrongPassword) => tried.refused.push(*id),
            Err(error) => tried.faults.push((*id, error)),
        }
    }
    tried
}

/// Derives and opens away from the async threads: Argon2 takes a while.
pub(super) async fn try_slot(
    bytes: store::Result<Bytes>,
    id: ObjectId,
    config: Config,
    password: &Password,
) -> Result<Unlocked> {
    let bytes = bytes?;
    let password = password.clone();
    let unlocked = tokio::task::spawn_blocking(move || slot::unlock(&bytes, id, &config, &password)).await;
    unlocked.map_err(|_| Error::TaskLost)?.map_err(|source| Error::Object { object: slot_name(id), source })
}
