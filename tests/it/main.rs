//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod backup;
mod cold;
mod contract;
mod drive;
mod house;
mod servers;
mod store;
mod synth;
