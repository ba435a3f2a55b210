//! The sorted, content-defined page tree of a snapshot, and the extent tree of a large file: building and reading.
//!
//! Pure and synchronous. A writer hands finished pages to a [`PageSink`]; a reader asks a [`Pages`] for pages, and if
//! one is not at hand the question ends with [`Stop::Miss`]: the caller fetches that page and asks again. So the same
//! code serves a thread that must not wait and a task that may.
//!
//! Always true: equal sequences of nodes give equal pages, wherever a page ends is decided by keys alone, and what a
//! reader returns is consistent with the counts and first keys of the pages above it or an error.

mod build;
mod diff;
mod extents;
mod read;
mod what;

pub use build::NodeTreeBuilder;
pub use build::PageSink;
pub use build::Root;
pub use diff::Change;
pub use diff::Diff;
pub use extents::ExtentTreeBuilder;
pub use extents::Piece;
pub use extents::pieces;
pub use read::Found;
pub use read::Loaded;
pub use read::NodeTree;
pub use read::Pages;
pub use read::Stop;
pub use what::What;
pub use what::content_id;

#[cfg(test)]
pub(crate) mod tests;
