//! Config, password slots and records: the first from the second copy, and the second from the first.

use crate::check;
use crate::format::FORMAT_VERSION;
use crate::format::MAGIC;
use crate::repair::Job;
use crate::repair::Result;
use crate::repair::What;
use crate::repo::CONFIG_NAME;
use crate::repo::COPIES_FOLDER;
use crate::repo::copy_name;
use crate::repo::put_right;
use crate::store::AnyStore;
use crate::store::ErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeSet;

/// Pairs read at once.
const READS_AT_ONCE: usize = 16;

/// What a store has under a name.
enum Found {
    Missing,
    /// There, and not given, or not what it should be.
    Damaged,
    /// Not for this program to judge.
    Newer,
    Whole(Bytes),
}

/// Puts back what is damaged or missing, and makes missing second copies. Where both differ and both could be right, or
/// both are damaged, nothing is done: a check tells.
pub async fn copies(job: &mut Job<'_>) -> Result<()> {
    let store = job.repo.store().clone();
    // The firsts first: a slot that is being removed loses its copy before.
    let mut firsts: BTreeSet<String> = BTreeSet::from([CONFIG_NAME.to_owned()]);
    for folder in ["keys", "log"] {
        firsts.extend(store.list(folder).await?.into_iter().map(|stored| stored.name).filter(|name| has_copy(name)));
    }
    let mut seconds = BTreeSet::new();
    for stored in store.list(COPIES_FOLDER).await? {
        let first = stored.name.strip_prefix(COPIES_FOLDER).and_then(|rest| rest.strip_prefix('/'));
        seconds.extend(first.filter(|name| has_copy(name)).map(str::to_owned));
    }
    let names: Vec<String> = firsts.union(&seconds).cloned().collect();
    let reads = names.into_iter().map(|name| {
        let (store, repo) = (store.clone(), job.repo.clone());
        async move {
            let copy = copy_name(&name);
            let (first, second) = futures::join!(store.get(&name), store.get(&copy));
            let judge = |got| judge(got, |bytes| check::object(&repo, &name, bytes).is_empty());
            let both = (judge(first), judge(second));
            (name, both)
        }
    });
    let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
    while let Some((name, (first, second))) = reads.next().await {
        job.go_on()?;
        pair(job, &store, &name, first?, second?).await?;
    }
    Ok(())
}

fn has_copy(name: &str) -> bool {
    let slot = name.strip_prefix("keys/").and_then(|id| id.parse::<crate::id::ObjectId>().ok());
    name == CONFIG_NAME || slot.is_some() || check::record_of(name).is_some()
}

fn judge(got: crate::store::Result<Bytes>, is_whole: impl Fn(&Bytes) -> bool) -> Result<Found> {
    match got {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) if error.kind == ErrorKind::Other || error.kind == ErrorKind::Truncated => Ok(Found::Damaged),
        Err(error) => Err(error.into()),
        Ok(bytes) if is_whole(&bytes) => Ok(Found::Whole(bytes)),
        Ok(bytes) if is_newer(&bytes) => Ok(Found::Newer),
        Ok(_) => Ok(Found::Damaged),
    }
}

fn is_newer(bytes: &[u8]) -> bool {
    let version = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk());
    version.is_some_and(|version| u16::from_le_bytes(*version) > FORMAT_VERSION)
}

async fn pair(job: &mut Job<'_>, store: &AnyStore, name: &str, first: Found, second: Found) -> Result<()> {
    let copy = copy_name(name);
    match (first, second) {
        (Found::Whole(bytes), second @ (Found::Missing | Found::Damaged)) => {
            job.did(What::Copied, name);
            if job.dry_run {
                return Ok(());
            }
            put_right(store, &copy, matches!(second, Found::Damaged), bytes).await?;
            // A slot may have been removed meanwhile: then the copy goes, too.
            if name.starts_with("keys/") && store.head(name).await.is_err_and(|error| error.kind == ErrorKind::NotFound)
            {
                store.delete(&copy).await?;
            }
        }
        (first @ (Found::Missing | Found::Damaged), Found::Whole(bytes)) => {
            job.did(What::PutBack, name);
            if !job.dry_run {
                put_right(store, name, matches!(first, Found::Damaged), bytes).await?;
                // Whoever removes a slot removes the copy first: then it must not come back.
                if name.starts_with("keys/")
                    && store.head(&copy).await.is_err_and(|error| error.kind == ErrorKind::NotFound)
                {
                    store.delete(name).await?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
