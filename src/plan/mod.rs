//! The protocol.
pub mod chain;
pub mod footing;
pub mod homes;
pub mod prune;
pub mod words;
