//! Decisions about a repository, as pure functions: no store, no clock, no log; those who decide bring what is known.

pub mod keep;
