//! Volumes: block devices made out of others, by cutting, joining or encrypting.

pub mod luks;
pub mod lvm;
