//! From a location to a store that is ready for use.

use crate::store::AnyStore;
use crate::store::Cloud;
use crate::store::Limited;
use crate::store::Location;
use crate::store::Result;
use crate::store::Retrying;
use crate::store::StoreOptions;
use crate::store::class::storage_class;
use crate::store::cloud;
use crate::store::folder::Folder;
use crate::store::http::Connector;
use crate::store::lock::Locker;
use crate::store::lock::Writer;
use crate::store::options::bad_option;
use crate::store::remote::Remote;
use crate::store::throttle::Throttle;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;

/// The memories of this process, by name.
static MEMORIES: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// Opens a store. A cloud is not asked anything yet, so only a folder can be [`NotFound`] here; credentials that are
/// missing altogether are [`Denied`] at once.
///
/// Clouds take endpoint and credentials from the standard variables of their environment (`AWS_*`, `GOOGLE_*`,
/// `AZURE_*`) and from the settings of `options`, which win; S3 also from a profile of the AWS tools, which comes last.
///
/// [`NotFound`]: crate::store::ErrorKind::NotFound
/// [`Denied`]: crate::store::ErrorKind::Denied
pub fn open(location: &Location, options: &StoreOptions) -> Result<AnyStore> {
    options.traffic.limit(options.limit_upload, options.limit_download);
    let throttle = Arc::<Throttle>::default();
    if options.storage_class.is_some() && !matches!(location, Location::Bucket { .. }) {
        return Err(bad_option("storage_class", "only clouds have classes of storage"));
    }
    if options.object_lock.is_some() && !matches!(location, Location::Bucket { cloud: Cloud::S3, .. }) {
        return Err(bad_option(
            "object_lock",
            "only S3 has Object Lock; elsewhere a rule of the bucket can do the same",
        ));
    }
    let store: AnyStore = match location {
        Location::Folder(path) => Arc::new(Folder::open(path, options)?),
        Location::Memory(name) => {
            let mut memories = MEMORIES.lock().expect("no panic while holding the lock");
            let memory = memories.entry(name.clone()).or_default().clone();
            Arc::new(Remote::new(location.to_string(), memory, None))
        }
        Location::Bucket { cloud, bucket, prefix } => {
            let class = options.storage_class.as_deref().map(|class| storage_class(*cloud, class)).transpose()?;
            let connector = Connector::new(options, throttle.clone());
            let prefix = Path::parse(prefix).expect("a location holds only prefixes that are paths");
            let clients = cloud::clients(*cloud, bucket, &location.to_string(), options, connector)?;
            let mut remote = Remote::new(location.to_string(), below(&prefix, clients.bucket), class);
            if let Some(locking) = clients.locking {
                let locker =
                    Locker { lock: locking.lock, signer: locking.signer, client: locking.http, prefix: prefix.clone() };
                let (make, prefix) = (locking.writer, prefix.clone());
                let writer = Writer::new(Box::new(move || make().map(|bucket| below(&prefix, bucket))));
                remote = remote.locking(writer, locker);
            }
            Retrying::new(Arc::new(remote), options.retry_secs_max)
        }
    };
    Ok(Limited::cautious(store, options.requests_max, throttle))
}

/// A bucket as it is seen from a prefix on.
fn below(prefix: &Path, bucket: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    match prefix.as_ref() {
        "" => bucket,
        _ => Arc::new(PrefixStore::new(bucket, prefix.clone())),
    }
}
