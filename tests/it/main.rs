//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod ahead;
mod append_only;
mod backup;
mod bad_disk;
mod bucket;
mod cache;
mod cache_trouble;
mod check;
mod cli;
mod clouds;
mod cold;
mod contract;
mod copy;
#[cfg(target_arch = "x86_64")]
mod crash;
mod damage;
mod disks;
mod drive;
mod drives;
mod everything;
mod faults;
mod footing;
mod forge;
mod forget;
mod format;
mod fuzz_replay;
mod golden;
mod golden_disk;
mod groups;
mod history;
mod hostile;
mod house;
mod images_restore;
mod inspect;
#[cfg(target_arch = "x86_64")]
mod interleave;
mod journey;
mod keys;
mod kill;
mod link;
mod listing;
mod moved;
mod network;
mod object_lock;
mod offline;
mod partitions;
#[cfg(target_arch = "x86_64")]
mod powercut;
mod previews;
mod program;
mod prune;
mod readers;
mod repair;
mod rollback;
mod s3;
#[cfg(target_arch = "x86_64")]
mod scene;
mod servers;
mod shared;
mod sim;
mod sources;
mod spared;
mod store;
mod synth;
#[cfg(target_arch = "x86_64")]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod trouble;
mod truth;
mod volumes;
mod warm;
mod weather;
