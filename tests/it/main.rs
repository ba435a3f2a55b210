//! Everything tested from outside, in one binary.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout)] // figures, for whoever asks with --nocapture

mod backup;
mod cli;
mod cold;
mod contract;
mod damage;
mod drive;
mod house;
mod journey;
mod program;
mod servers;
mod store;
mod synth;
mod truth;
