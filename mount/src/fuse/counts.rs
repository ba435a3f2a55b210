//! How many requests the kernel made. Counts do not depend on how busy the machine is, so tests and benchmarks
//! assert them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

macro_rules! counts {
    ($($name:ident: $meaning:literal,)*) => {
        /// Requests served since the mount, by kind. Notices that need no answer (`forget`) are not counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counts {
            $(#[doc = $meaning] pub $name: u64,)*
        }

        impl Counts {
            /// All requests.
            #[must_use]
            pub fn total(&self) -> u64 {
                0 $(+ self.$name)*
            }

            /// The requests made since an earlier count.
            #[must_use]
            pub fn since(&self, earlier: &Counts) -> Counts {
                Counts { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }

        /// The counters behind [`Counts`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    lookup: "A name in a folder.",
    getattr: "Attributes of a node.",
    readlink: "Target of a link.",
    open: "Opening a file; one per mount where neither kernel nor drive wants to be asked.",
    opendir: "Opening a folder; one per mount where the kernel can do without.",
    read: "Content.",
    readdir: "Names of a folder.",
    readdirplus: "Names and attributes of a folder.",
    statfs: "The whole volume.",
    getxattr: "Value of an extended attribute.",
    listxattr: "Names of extended attributes.",
    lseek: "Next data or hole.",
    other: "Flush, access checks and the like, each refused once and not asked again.",
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
