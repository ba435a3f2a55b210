//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod ahead;
mod backup;
mod bucket;
mod cache;
mod cache_trouble;
mod cli;
mod clouds;
mod cold;
mod contract;
mod damage;
mod drive;
mod drives;
mod faults;
mod format;
mod fuzz_replay;
mod golden;
mod house;
mod images_restore;
mod journey;
mod kill;
mod link;
mod listing;
mod network;
mod offline;
mod previews;
mod program;
mod s3;
mod servers;
mod shared;
mod sources;
mod store;
mod synth;
mod truth;
mod warm;
mod weather;
