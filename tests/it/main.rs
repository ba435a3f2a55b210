//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod backup;
mod cli;
mod cold;
mod contract;
mod damage;
mod drive;
mod format;
mod fuzz_replay;
mod golden;
mod house;
mod journey;
mod listing;
mod program;
mod servers;
mod store;
mod synth;
mod truth;
