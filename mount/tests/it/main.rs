//! Real mounts through `/dev/fuse`, used the way programs use them.
#![allow(clippy::unwrap_used, missing_docs)]

mod caching;
mod content;
mod life;
mod listing;
mod opening;
mod shown;
mod strangers;
mod waiting;
