//! Finds out, by doing it once, what a store can do: for `init`, which writes it into the repository's header.

use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::Result;
use crate::store::Store;
use bytes::Bytes;

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// A second `put_new` of a name is refused. Some S3 servers take the condition and ignore it.
    pub create_only: bool,
    /// Objects may be removed; false with write-only credentials, and then the probe's object stays behind.
    pub can_delete: bool,
}

/// Tries the store out with one small object below `probe/`. Fails if what comes back is not what was written.
pub async fn probe(store: &dyn Store) -> Result<Probed> {
    let location = store.location();
    let random = getrandom::u64().map_err(|e| Error::new(ErrorKind::Other, "write", "", &location).because(e))?;
    let name = format!("probe/{random:016x}");
    let first = Bytes::from(format!("first {random:016x}"));
    let second = Bytes::from(format!("second {random:016x}"));
    store.put_new(&name, first.clone()).await?;
    // Who may only add gets no chance to overwrite, and hears so in words that also mean other things.
    let second_put = match store.put_new(&name, second.clone()).await {
        Ok(()) => Ok((false, &second)),
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok((true, &first)),
        Err(error) if error.kind == ErrorKind::Denied => Ok((false, &first)),
        Err(error) => Err(error),
    };
    let there = store.get(&name).await;
    let range = store.get_range(&name, 3..9).await;
    let deleted = store.delete(&name).await;
    let ((create_only, expected), there, range) = (second_put?, there?, range?);
    if there != *expected || range != expected.slice(3..9) {
        let said = "it does not give back what was written to it";
        return Err(Error::new(ErrorKind::Other, "read", &name, location).because(said));
    }
    let can_delete = match deleted {
        Ok(()) => true,
        Err(error) if error.kind == ErrorKind::Denied => false,
        Err(error) => return Err(error),
    };
    Ok(Probed { create_only, can_delete })
}
