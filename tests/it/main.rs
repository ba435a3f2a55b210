//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used)]

mod cli;
mod program;
