//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used)]

mod contract;
mod servers;
mod store;
