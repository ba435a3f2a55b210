//! Passwords of an open repository: one object each, written once. A password is changed by adding a slot and then
//! removing one, so that at any moment at least one opens.
//!
//! Nothing stored is written anew, and no key changes: who once had a slot *and* its password keeps what they opened.
//! There is no lock: of two machines that remove each other's slot, the one that looks last puts its own back.

use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::crypto::random;
use crate::format::slot;
use crate::format::slot::Unlocked;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Repo;
use crate::repo::Result;
use crate::repo::copies;
use crate::repo::copy_name;
use crate::repo::slot_name;
use crate::repo::unlock::try_slot;
use crate::store::ErrorKind;
use bytes::Bytes;

/// A password slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub id: ObjectId,
    /// When it was stored, by the clock of the store, seconds since 1970.
    pub made_secs: i64,
}

/// What became of a password that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The slot of the new password.
    pub slot: ObjectId,
    /// False if it was there already: an earlier change died before it removed anything.
    pub is_new: bool,
    /// The slots that are gone.
    pub removed: Vec<ObjectId>,
}

impl Repo {
    /// The slot that opened the repository.
    pub fn slot(&self) -> ObjectId {
        self.slot
    }

    /// All slots, the oldest first.
    pub async fn slots(&self) -> Result<Vec<Slot>> {
        let named = |stored: crate::store::Stored| {
            let id = stored.name.strip_prefix("keys/")?.parse().ok()?;
            Some(Slot { id, made_secs: stored.modified_secs })
        };
        let mut slots: Vec<Slot> = self.store.list("keys").await?.into_iter().filter_map(named).collect();
        slots.sort_by_key(|slot| (slot.made_secs, slot.id));
        Ok(slots)
    }

    /// Adds a password slot and returns its id.
    pub async fn add_password(&self, password: &Password, cost: Cost, now_secs: i64) -> Result<ObjectId> {
        let slot = ObjectId(random());
        let object = slot::encode(&self.config, slot, self.keys.master(), password, cost, now_secs)
            .map_err(|source| Error::Object { object: slot_name(slot), source })?;
        let (name, object) = (slot_name(slot), Bytes::from(object));
        self.store.put_new(&name, object.clone()).await?;
        copies::put(&self.store, &name, object).await;
        Ok(slot)
    }

    /// The slots that a password opens. Slots that are damaged are opened by none.
    pub async fn slots_opened_by(&self, password: &Password) -> Result<Vec<ObjectId>> {
        let mut opened = Vec::new();
        for Slot { id, .. } in self.slots().await? {
            match try_slot(self.store.get(&slot_name(id)).await, id, self.config, password).await {
                Ok(Unlocked::Key(..)) => opened.push(id),
                Ok(Unlocked::WrongPassword) | Err(Error::Object { .. }) => {}
                Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Removes a slot, but never the one that opened the repository: so that a password that works remains.
    pub async fn remove_slot(&self, slot: ObjectId) -> Result<()> {
        if slot == self.slot {
            return Err(Error::SlotInUse { slot });
        }
        self.remove_keeping(slot, self.slot).await
    }

    /// Puts `new` in the place of `old`: adds its slot, opens it, and only then removes all slots that `old` opens. May die
    /// anywhere: until the last step both open the repository, and the same call goes on from there.
    pub async fn change_password(&self, old: &Password, new: &Password, cost: Cost, now_secs: i64) -> Result<Changed> {
        if old.matches(new) {
            return Err(Error::SamePassword);
        }
        let leaving = self.slots_opened_by(old).await?;
        let known = self.slots_opened_by(new).await?.first().copied();
        let slot = match known {
            Some(slot) => slot,
            None => self.add_password(new, cost, now_secs).await?,
        };
        let stored = self.store.get(&slot_name(slot)).await;
        if !matches!(try_slot(stored, slot, self.config, new).await?, Unlocked::Key(..)) {
            return Err(Error::WrongPassword);
        }
        for old_slot in &leaving {
            let removed = self.remove_keeping(*old_slot, slot).await;
            removed.map_err(|source| Error::OldPasswordStays { slot: *old_slot, source: Box::new(source) })?;
        }
        Ok(Changed { slot, is_new: known.is_none(), removed: leaving })
    }

    async fn remove_keeping(&self, slot: ObjectId, keep: ObjectId) -> Result<()> {
        let kept = self.store.get(&slot_name(keep)).await?;
        // The bytes may come from the cache: only the store knows whether they are there.
        self.store.head(&slot_name(keep)).await?;
        // A removed password never comes back: its second copy goes first, so that whoever finds a copy and then no slot
        // finds neither; and once more, for who made one meanwhile.
        let (first, second) = (slot_name(slot), copy_name(&slot_name(slot)));
        self.store.delete(&second).await?;
        self.store.delete(&first).await?;
        self.store.delete(&second).await?;
        if !self.slots().await?.iter().any(|left| left.id == keep) {
            self.store.put_new(&slot_name(keep), kept.clone()).await?;
            copies::put(&self.store, &slot_name(keep), kept).await;
        }
        Ok(())
    }
}
